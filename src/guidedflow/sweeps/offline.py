"""The criterion of tuning without a simulator: fitted Q evaluation of each run on held-out episodes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from guidedflow.data.formats.columns import Columns
from guidedflow.errors import InputError
from guidedflow.evaluation.off_policy import FARTHEST
from guidedflow.evaluation.recorded import Judge
from guidedflow.runs import checkpoint
from guidedflow.runs.judged import Panel
from guidedflow.runs.trained import Trained
from guidedflow.settings import to_plain
from guidedflow.sweeps.grid import Planned
from guidedflow.sweeps.left import Judging

LIMITS = (
    "It estimates a discounted return at the first states of recorded episodes, not success. It is too high for "
    "policies whose actions no data covers; values whose distance from recorded actions exceeds 1 are therefore last."
)
"""Of the criterion, as they are written beside a result."""

FAR = -1e9
"""Score of each unit of distance, for values beyond `FARTHEST`: below every return, and the nearest first."""


@dataclass
class Offline:
    """Scores runs by the estimated return of their main policy, averaged over seeds; -inf where a run did not finish.

    Values whose actions are far from the recorded ones (`FARTHEST`) come after all others, the nearest first.
    The critics are the same for all runs: their own keys, and the same resamples of episodes.
    """

    judge: Judge
    dataset: Path | str | None = None
    """Held-out episodes; by default those that the runs are trained on."""
    columns: Columns | None = None
    _panels: dict[str, Panel] = field(default_factory=dict, init=False)
    measured: list[dict[str, Any]] = field(default_factory=list, init=False)
    """Estimate, interval and distance of every run that was scored."""

    def __call__(self, runs: Sequence[Planned], judging: Judging) -> float:
        values, distances = [], []
        for run in runs:
            if (checkpoint.latest(run.out / "checkpoints") or 0) < run.plan.steps:
                return -math.inf
            panel = self._panels.setdefault(run.task, Panel(self.judge, self._held_out(run), self._columns(run)))
            trained = Trained.open(run.out, run.plan.steps)
            name = next(iter(trained.policies()))
            [found] = panel(trained, name, {None: trained.steered(name)})
            kept = ("run", "policy", "step", "value", "interval", "distance", "near", "drift", "seen", "losses")
            self.measured.append({key: value for key, value in found.plain().items() if key in kept})
            values.append(found.judgement.value)
            distances.append(found.judgement.distance)
        if not all(map(math.isfinite, values)):
            return -math.inf
        distance = float(np.mean(distances))
        return float(np.mean(values)) if distance <= FARTHEST else FAR * distance

    def _held_out(self, run: Planned) -> Path | str | None:
        return self.dataset or run.source.dataset

    def _columns(self, run: Planned) -> Columns | None:
        if self.dataset is None and run.source.columns:
            return Columns.parse(run.source.columns)
        return self.columns

    def plain(self) -> Mapping[str, Any]:
        """As JSON's own types: what it is, its settings, and its limits."""
        return {
            "name": "discounted return by fitted Q evaluation on held-out episodes",
            "held_out": None if self.dataset is None else str(self.dataset),
            "judge": to_plain(self.judge),
            "limits": LIMITS,
        }

    def of(self, folder: Path) -> list[dict[str, Any]]:
        """What was measured of the runs below a folder."""
        return [each for each in self.measured if Path(each["run"]).is_relative_to(folder)]


def check_known(offline: bool, **given: Any) -> None:
    """Raise `InputError` for a flag of offline tuning that was given without it."""
    for flag, value in given.items():
        if value and not offline:
            raise InputError(f"--{flag.replace('_', '-')} changes nothing without --offline.")
