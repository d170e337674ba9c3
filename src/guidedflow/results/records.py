"""One run as plain data: what was asked for, and the rows that it wrote.

`guidedflow.runs.gather` makes these from folders. Comparisons, plots and reports take nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from guidedflow.results.intervals import Interval
from guidedflow.results.rows import Episode


@dataclass(frozen=True)
class Tuning:
    """What was spent on choosing a method's settings before the reported runs."""

    tried: int
    """Number of settings."""
    updates: int | None = None
    episodes: int | None = None


@dataclass(frozen=True)
class RunRecord:
    """A run: configuration and rows. A run trains one or more seeds with one setting on one dataset."""

    path: str
    task: str
    algorithm: str
    settings: Mapping[str, Any]
    """Training settings that are part of the mathematics, under dotted names such as `alpha` or `plan.discount`."""
    fingerprint: str
    """Of the dataset."""
    seeds: tuple[int, ...]
    episodes: Sequence[Episode] = ()
    intervals: Sequence[Interval] = ()
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of packages, `device` and `cores` among them."""
    commit: str | None = None
    tuning: Tuning | None = None

    @property
    def updates(self) -> int | None:
        """Updates of the last row of metrics; None without any."""
        return self.intervals[-1].step if self.intervals else None

    @property
    def seconds(self) -> float | None:
        """Wall-clock time of training, over all processes that worked on the run; None without metrics."""
        return self.intervals[-1].seconds if self.intervals else None
