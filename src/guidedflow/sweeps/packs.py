"""Packs: runs that share shapes and static settings, and are trained by one process.

On an accelerator the members of a pack are rows of one compiled program; on a CPU they take turns run after run, and
share its compilation. A pack exists in memory and in the message to a worker alone: each member is an ordinary run.
"""

import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax

from guidedflow import environments
from guidedflow.algorithms import ALGORITHMS
from guidedflow.data.dataset import Dataset
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.environments.vector import Simulators, open_simulators
from guidedflow.errors import InputError
from guidedflow.evaluation.rollout import evaluate
from guidedflow.keys import Stream
from guidedflow.results import rows
from guidedflow.runs.lock import InUse
from guidedflow.runs.trained import Trained
from guidedflow.settings import from_plain, to_plain
from guidedflow.sweeps.grid import Planned, Source
from guidedflow.sweeps.left import Judging, Left, left
from guidedflow.training.loop import train_together
from guidedflow.training.member import Order
from guidedflow.training.plan import Plan

PATIENCE = 180.0
"""Seconds that a worker waits for runs that another process holds, such as one that was lost and saves.

Longer than network file systems keep the locks of a machine that has gone.
"""


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


def group(found: Sequence[Left], judging: Judging, workers: int) -> list[Pack]:
    """Packs of what is left: runs of one shape, spread evenly over the workers; evaluations stand alone."""
    shapes: dict[Hashable, list[Planned]] = {}
    for each in found:
        if each.kind != "nothing":
            shapes.setdefault(_shape(each), []).append(each.run)
    packs = []
    for runs in shapes.values():
        size = -(-len(runs) // workers)
        packs += [Pack(tuple(runs[start : start + size]), judging) for start in range(0, len(runs), size)]
    return packs


def _shape(left: Left) -> Hashable:
    """What runs must share to train as one program: all but folders, seeds, float settings and the discount."""
    run = left.run
    plan = replace(run.plan, seed=0, discount=0.0)
    return left.kind, left.step, run.task, run.source, plan, jax.tree.structure(run.algorithm)


def carry_out(pack: Pack, together: bool) -> Iterator[Outcome]:
    """Do what is left of the runs of a pack, and report how each ended as soon as it did.

    A pack whose worker was lost is carried out again, so what is left is read from the folders. With `together` runs
    are rows of one program; where memory does not suffice, of two smaller ones, and so on. Runs that another process
    holds are waited for.
    """
    first = pack.runs[0]
    try:
        dataset = first.source.open(first.task)
    except InputError as error:
        found = left(pack.runs, pack.judging)
        yield from (Outcome(str(each.run.out), None if each.kind == "nothing" else str(error)) for each in found)
        return
    ended, groups = _groups(pack.runs, pack.judging, dataset, together)
    yield from ended
    simulators: Simulators | None = None
    deadline = time.monotonic() + PATIENCE
    try:
        while groups:
            runs = groups.pop(0)
            orders = [Order(run.algorithm, run.plan, run.out, resume=True, command=run.command()) for run in runs]
            try:
                results = train_together(orders, dataset, normalize_observations=first.source.normalize_observations)
            except InputError as error:
                if isinstance(error, InUse) and time.monotonic() < deadline:
                    time.sleep(1)
                    ended, more = _groups(runs, pack.judging, dataset, together)
                    yield from ended
                    groups += more
                    continue
                results = [error] * len(runs)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error) or len(runs) == 1:
                    raise
                half = len(runs) // 2
                groups[:0] = [runs[:half], runs[half:]]
                continue
            for run, result in zip(runs, results, strict=True):
                if isinstance(result, Trained) and left([run], pack.judging)[0].kind == "evaluate":
                    simulators = simulators or open_simulators(run.task, run.plan.workers, None, run.plan.frame_stack)
                    judge(result, pack.judging, simulators)
                yield Outcome(str(run.out), _error(result))
            deadline = time.monotonic() + PATIENCE
    finally:
        if simulators is not None:
            simulators.close()


def _groups(
    runs: Sequence[Planned], judging: Judging, dataset: Dataset | Mapped, together: bool
) -> tuple[list[Outcome], list[tuple[Planned, ...]]]:
    """How the runs ended of which nothing is left, and the others in groups of those that train as one program."""
    found = left(runs, judging)
    ended = [Outcome(str(each.run.out)) for each in found if each.kind == "nothing"]
    groups = [each.runs for each in group(found, judging, 1 if together else len(runs))]
    if isinstance(dataset, Dataset) and not dataset.goal_conditioned:
        return ended, groups
    alike = [
        tuple(run for run in runs if run.plan.discount == discount)
        for runs in groups
        for discount in dict.fromkeys(run.plan.discount for run in runs)
    ]  # what is drawn of other data depends on the discount
    return ended, alike


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
