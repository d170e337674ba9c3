"""Packs: runs that share shapes and static settings, and are trained by one process.

On an accelerator the members of a pack are rows of one compiled program; on a CPU they take turns run after run, and
share its compilation. A pack exists in memory and in the message to a worker alone: each member is an ordinary run.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax

from guidedflow import environments
from guidedflow.algorithms import ALGORITHMS
from guidedflow.environments.vector import Simulators, open_simulators
from guidedflow.errors import InputError
from guidedflow.evaluation.rollout import evaluate
from guidedflow.keys import Stream
from guidedflow.results import rows
from guidedflow.runs.trained import Trained
from guidedflow.settings import from_plain, to_plain
from guidedflow.sweeps.grid import Planned, Source
from guidedflow.sweeps.left import Judging, Left
from guidedflow.training.loop import train_together
from guidedflow.training.member import Order
from guidedflow.training.plan import Plan


@dataclass(frozen=True)
class Pack:
    """Runs of one shape that have come to the same step, and how they are evaluated in the end."""

    runs: tuple[Planned, ...]
    judging: Judging

    def plain(self) -> dict[str, Any]:
        """As JSON's own types, for a worker."""
        return {
            "runs": [
                {
                    "task": run.task,
                    "algorithm": {"name": run.name, **to_plain(run.algorithm)},
                    "plan": to_plain(run.plan),
                    "out": str(run.out),
                    "source": to_plain(run.source),
                }
                for run in self.runs
            ],
            "judging": {
                "episodes": self.judging.episodes,
                "seed": self.judging.seed,
                "stream": self.judging.stream.name,
            },
        }

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "Pack":
        """What `plain` described."""
        runs = []
        for run in plain["runs"]:
            settings = dict(run["algorithm"])
            algorithm = from_plain(ALGORITHMS[settings.pop("name")], settings)
            plan, source = from_plain(Plan, run["plan"]), from_plain(Source, run["source"])
            runs.append(Planned(run["task"], algorithm, plan, Path(run["out"]), source))
        judging = plain["judging"]
        return cls(tuple(runs), Judging(judging["episodes"], judging["seed"], Stream[judging["stream"]]))


@dataclass(frozen=True)
class Outcome:
    """How one run ended: `error` is one sentence, or None where all is done."""

    out: str
    error: str | None = None


def group(left: Sequence[Left], judging: Judging, workers: int) -> list[Pack]:
    """Packs of what is left: runs of one shape, spread evenly over the workers; evaluations stand alone."""
    shapes: dict[Hashable, list[Planned]] = {}
    for each in left:
        if each.kind != "nothing":
            shapes.setdefault(_shape(each), []).append(each.run)
    packs = []
    for runs in shapes.values():
        size = -(-len(runs) // workers)
        packs += [Pack(tuple(runs[start : start + size]), judging) for start in range(0, len(runs), size)]
    return packs


def _shape(left: Left) -> Hashable:
    """What runs must share to train as one program: all but folders, seeds and float settings."""
    run = left.run
    return left.kind, left.step, run.task, run.source, replace(run.plan, seed=0), jax.tree.structure(run.algorithm)


def carry_out(pack: Pack, together: bool) -> Iterator[Outcome]:
    """Train and evaluate the runs of a pack, and tell how each ended as soon as it did.

    With `together` they are rows of one program; where memory does not suffice, of two smaller ones, and so on.
    """
    first = pack.runs[0]
    try:
        dataset = first.source.open(first.task)
    except InputError as error:
        yield from (Outcome(str(run.out), str(error)) for run in pack.runs)
        return
    groups = [list(pack.runs)] if together else [[run] for run in pack.runs]
    simulators: Simulators | None = None
    try:
        while groups:
            runs = groups.pop(0)
            orders = [Order(run.algorithm, run.plan, run.out, resume=True, command=run.command()) for run in runs]
            try:
                results = train_together(orders, dataset, normalize_observations=first.source.normalize_observations)
            except InputError as error:
                results = [error] * len(runs)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error) or len(runs) == 1:
                    raise
                half = len(runs) // 2
                groups[:0] = [runs[:half], runs[half:]]
                continue
            for run, result in zip(runs, results, strict=True):
                if isinstance(result, Trained) and pack.judging.episodes and environments.known(run.task):
                    simulators = simulators or open_simulators(run.task, run.plan.workers, None, run.plan.frame_stack)
                    judge(result, pack.judging, simulators)
                yield Outcome(str(run.out), _error(result))
    finally:
        if simulators is not None:
            simulators.close()


def judge(trained: Trained, judging: Judging, simulators: Simulators) -> None:
    """Roll out every policy of a run, and write the rows of all at once."""
    found = []
    for name, policy in trained.policies().items():
        acting = trained.configuration.in_units(policy)
        result = evaluate(
            acting, simulators, task=trained.task, seeds=trained.seeds, episodes=judging.episodes, seed=judging.seed,
            stream=judging.stream, task_ids=environments.task_ids(trained.task),
        )  # fmt: skip
        found += result.labelled(policy=name, step=trained.step, source=judging.source).rows
    rows.append(trained.run.evaluations, found)


def _error(result: Trained | InputError) -> str | None:
    """Why a run is not whole: it stopped, or seeds of it are dead."""
    if isinstance(result, InputError):
        return str(result)
    return "; ".join(death.sentence for death in result.dead.values()) or None
