"""What is left to do of a sweep, told from the folders of its runs alone."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from guidedflow import environments
from guidedflow.evaluation.rollout import SOURCES
from guidedflow.keys import Stream
from guidedflow.results import rows
from guidedflow.runs import checkpoint
from guidedflow.sweeps.grid import Planned

Kind = Literal["train", "evaluate", "nothing"]


@dataclass(frozen=True)
class Left:
    """What is left of one run: the step that it has come to, and what to do next."""

    run: Planned
    step: int
    kind: Kind


@dataclass(frozen=True)
class Judging:
    """The episodes that every finished run is evaluated on."""

    episodes: int = 50
    """Episodes of each policy; 0: none."""
    seed: int = 0
    """Which episodes."""
    stream: Stream = Stream.REPORTING_EPISODES
    """Reporting, or selection while settings are chosen."""

    @property
    def source(self) -> str:
        """What the rows are called: episodes of another seed than the reported ones are for choosing settings."""
        return SOURCES[self.stream if self.seed == 0 else Stream.SELECTION_EPISODES]


def left(runs: Sequence[Planned], judging: Judging) -> list[Left]:
    """What is left of each run, in their order. A run without a simulator is only trained."""
    return [_left(run, judging) for run in runs]


def _left(run: Planned, judging: Judging) -> Left:
    step = checkpoint.latest(run.out / "checkpoints") or 0
    if step < run.plan.steps:
        return Left(run, step, "train")
    if judging.episodes and environments.known(run.task) and not evaluated(run, judging):
        return Left(run, step, "evaluate")
    return Left(run, step, "nothing")


def evaluated(run: Planned, judging: Judging) -> bool:
    """Whether the last checkpoint of a run was evaluated on these episodes.

    The rows of all policies are written at once, so those of one tell of all.
    """
    return bool(reported(run.out, run.plan.steps, judging))


def reported(out: Path, step: int, judging: Judging) -> Mapping[str, list[rows.Episode]]:
    """The rows of an evaluation at a step by policy, if it is whole: as many episodes of each policy, or more."""
    found: dict[str, list[rows.Episode]] = {}
    for row in rows.read(out / "evaluations.jsonl"):
        if row["source"] == judging.source and row["step"] == step and row["policy"] is not None:
            found.setdefault(row["policy"], []).append(row)
    return found if found and all(len(each) >= judging.episodes for each in found.values()) else {}


def speed(out: Path) -> tuple[int, float] | None:
    """The newest step of a run and its updates a second, from the last line of its metrics; None before the first."""
    path = out / "metrics.jsonl"
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(file.tell() - 4096, 0))
            text = file.read().decode(errors="replace")
    except OSError:
        return None
    found = re.findall(r'"step": (\d+), "seconds": [\d.]+, "steps_per_second": ([\d.]+)', text)
    return (int(found[-1][0]), float(found[-1][1])) if found else None
