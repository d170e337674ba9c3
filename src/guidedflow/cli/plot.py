"""`guidedflow plot`: one picture of runs, for a paper.

This module does not know how anything is drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from guidedflow.errors import InputError, did_you_mean
from guidedflow.results import canvas, pictures
from guidedflow.results.pictures import Drawn
from guidedflow.results.sections import Picture
from guidedflow.runs.gather import gather
from guidedflow.settings import check_ranges

console = Console(stderr=True)


@dataclass(frozen=True)
class Plot:
    """Draw runs by method, with the mean and interval over seeds: learning curves, weights, a grid, a tuning budget."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUNS")]
    """Runs, or folders that hold runs at any depth."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The picture: a .png, .svg or .pdf file."""
    what: Literal["curves", "methods", "weights", "grid", "budget"] = "curves"
    """Learning curves, methods side by side, success against guidance weight, a grid of two settings, or the
    tuning-budget curve."""
    task: str | None = None
    """Task, where the runs have several."""
    policy: str | None = None
    """Policy, where the runs have several: actor or flow, for example."""
    smoothing: int = 1
    """Consecutive evaluations that a point of a learning curve is the mean of."""
    title: str | None = None
    """Title of learning curves; by default the task."""

    def run(self) -> None:
        check_ranges(self, smoothing=(1, float("inf")))
        canvas.check_format(self.out)
        if not self.runs:
            raise InputError("missing argument RUNS; see 'guidedflow plot --help'.")
        for name, given in (("smoothing", self.smoothing != 1), ("title", self.title is not None)):
            if given and self.what != "curves":
                raise InputError(f"--{name} changes nothing without --what curves.")
        found = gather(self.runs)
        for sentence in found.left_out:
            console.print(f"left out: {sentence}", markup=False, highlight=False, soft_wrap=True)
        drawn = pictures.by_task(found.records)
        task = self._task(sorted(drawn))
        picture = self._picture(self._of_policy(drawn[task]), task)
        canvas.save(picture.draw(), self.out)
        console.print(f"picture: {self.out}. {picture.caption}", markup=False, highlight=False, soft_wrap=True)

    def _task(self, tasks: Sequence[str]) -> str:
        """The task that is drawn. Raises `InputError` for several tasks, whose curves share no axes."""
        if self.task is not None and self.task not in tasks:
            close = did_you_mean(self.task, tasks)
            raise InputError(f"No run has episodes of {self.task!r}{close}; there are {', '.join(tasks) or 'none'}.")
        if self.task is None and len(tasks) > 1:
            raise InputError(
                f"The runs have {len(tasks)} tasks, but a picture shows one; give --task {tasks[0]} or another."
            )
        if not tasks:
            raise InputError(
                "These runs have no episodes; train with --eval-interval, or run guidedflow evaluate; guidedflow "
                "diagnose RUN draws a run without a simulator."
            )
        return self.task or tasks[0]

    def _of_policy(self, drawn: Drawn) -> Drawn:
        """The rows of the chosen policy. Raises `InputError` for a policy that no run has."""
        if self.policy is None:
            return drawn
        names = sorted({method.policy for methods in drawn.values() for method in methods})
        if self.policy not in names:
            close = did_you_mean(self.policy, names)
            raise InputError(f"No run has a policy {self.policy!r}{close}; there are {', '.join(names)}.")
        return {
            source: {method: rows for method, rows in methods.items() if method.policy == self.policy}
            for source, methods in drawn.items()
        }

    def _picture(self, drawn: Drawn, task: str) -> Picture:
        found: list[Picture] = []
        if self.what == "curves":
            found = [each for each in (pictures.curves(drawn, task, self.smoothing, self.title),) if each is not None]
        elif self.what == "methods":
            found = [each for each in (pictures.methods(drawn, task),) if each is not None]
        elif self.what == "weights":
            found = pictures.weights(drawn, task)
        elif self.what == "grid":
            found = pictures.heat_maps(drawn, task)
        elif (tuned := pictures.budget(drawn, task)) is not None:
            found = [tuned]
        if not found:
            raise InputError(_NEEDS[self.what])
        if len(found) > 1:
            raise InputError(
                f"These runs give {len(found)} pictures, one for each policy; choose one by --policy, and runs of one "
                "algorithm."
            )
        return found[0]


_NEEDS = {
    "curves": "None of these runs was evaluated while it trained; train with --eval-interval to get a curve.",
    "methods": "None of these runs has reported episodes; run guidedflow evaluate.",
    "weights": "None of these runs was evaluated at two weights; run guidedflow evaluate --guidance --weight.",
    "grid": "A grid needs evaluated runs of one algorithm that differ in exactly two numbers, but these do not.",
    "budget": "A tuning-budget curve needs evaluated runs of one algorithm with several settings, but there are none.",
}
