"""Rows of metrics: what one interval of training reported, a list of one number a training seed under each metric.

A line of `metrics.jsonl` is `{"step": 1000, "seconds": 12.5, "steps_per_second": 80.1, "seeds": [0, 1],
"critic_loss": [0.25, 0.5]}`; a number that is not finite is null. A table for spreadsheets is a view of it.
"""

import csv
import io
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from guidedflow import files

Metrics = Mapping[str, Float[np.ndarray, " seeds"]]

FIXED = ("step", "seed", "seconds", "steps_per_second")
"""The columns that stand first in a table of metrics."""

TAKEN = (*FIXED, "seeds", files.HASH)
"""What every row has, so that no metric may be called so."""


@dataclass(frozen=True)
class Interval:
    """One interval of training, of all seeds that train together."""

    step: int
    """The update that it ends with."""
    seconds: float
    """Since training began, over all processes that worked on the run."""
    steps_per_second: float
    seeds: tuple[int, ...]
    metrics: Mapping[str, tuple[float | None, ...]]
    """One number a seed; None for what was not finite."""

    @classmethod
    def of(
        cls, step: int, seconds: float, steps_per_second: float, seeds: Sequence[int], metrics: Metrics
    ) -> "Interval":
        """From arrays of one number a seed. Raises ValueError for a name that is taken and for another shape."""
        found = {name: _per_seed(name, value, len(seeds)) for name, value in metrics.items()}
        return cls(step, round(seconds, 3), round(float(steps_per_second), 3), tuple(seeds), found)

    def plain(self) -> dict[str, Any]:
        """As a line of `metrics.jsonl`, without nesting."""
        fixed = {"step": self.step, "seconds": self.seconds, "steps_per_second": self.steps_per_second}
        return {**fixed, "seeds": list(self.seeds), **{name: list(values) for name, values in self.metrics.items()}}


def append(path: Path, interval: Interval) -> None:
    """Add one row to the file at `path`. Raises `InputError` where the disk refuses."""
    files.append_rows(path, [interval.plain()])


def replace(path: Path, intervals: Iterable[Interval]) -> None:
    """Make these the only rows of the file at `path`, all of them or none."""
    files.replace_rows(path, [interval.plain() for interval in intervals])


def read(path: Path) -> list[Interval]:
    """The rows of the file at `path`; none where there is no file. What is no such row is left out with a warning."""
    found = []
    for number, row in enumerate(files.read_rows(path), start=1):
        try:
            metrics = {name: tuple(values) for name, values in row.items() if name not in TAKEN}
            seeds = tuple(int(seed) for seed in row["seeds"])
            if any(len(values) != len(seeds) for values in metrics.values()):
                raise ValueError
            found.append(
                Interval(int(row["step"]), float(row["seconds"]), float(row["steps_per_second"]), seeds, metrics)
            )
        except (KeyError, TypeError, ValueError, OverflowError):
            warnings.warn(f"{path}: row {number} is no row of metrics and is left out.", stacklevel=2)
    return found


def columns(intervals: Iterable[Interval], known: Sequence[str] = FIXED) -> list[str]:
    """The known columns, then each metric in the order in which it first appears."""
    return list(dict.fromkeys([*known, *(name for interval in intervals for name in interval.metrics)]))


def as_csv(names: Sequence[str], intervals: Iterable[Interval], header: bool = False) -> bytes:
    """A line for each row and seed; what a row lacks is empty, what was not finite is nan."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    if header:
        lines.writerow([safe_cell(name) for name in names])
    for interval in intervals:
        fixed = interval.plain()
        for index, seed in enumerate(interval.seeds):
            numbers = {name: "nan" if v[index] is None else v[index] for name, v in interval.metrics.items()}
            cells = {**{name: fixed[name] for name in FIXED if name != "seed"}, "seed": seed, **numbers}
            lines.writerow([safe_cell(cells.get(name, "")) for name in names])
    return text.getvalue().encode()


def safe_cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula: a text that begins like one is quoted; numbers stay numbers."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else value


def first_unfinite(metrics: Metrics) -> str | None:
    """The name of the first metric that is not finite, with the index of its seed among several; None if all are."""
    for name, value in metrics.items():
        bad = np.flatnonzero(~np.isfinite(np.atleast_1d(np.asarray(value, dtype=np.float64))))
        if bad.size:
            return name if np.size(value) == 1 else f"{name} (seed {bad[0]} of {np.size(value)})"
    return None


def _per_seed(name: str, value: Any, seeds: int) -> tuple[float | None, ...]:
    array = np.asarray(value, dtype=np.float32)
    if array.shape != (seeds,):
        raise ValueError(f"metric {name!r} has shape {array.shape}; expected one number for each of {seeds} seeds")
    if name in TAKEN:
        raise ValueError(f"metric {name!r} has the name of a column that every row has")
    # The shortest decimal that reads back as the same number in its own precision.
    return tuple(float(str(number)) if math.isfinite(number) else None for number in array)
