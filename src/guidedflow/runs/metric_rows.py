"""Rows of metrics: one a log interval, a list of one number a seed under each metric."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

Metrics = Mapping[str, Float[np.ndarray, " seeds"]]


Numbers = Mapping[str, float]


FIXED = ("step", "seed", "seconds", "steps_per_second")


TAKEN = (*FIXED, "seeds")


"""What every row has, so that no metric may be called so."""


def check_finite(metrics: Metrics) -> str | None:
    """The name of the first metric that is not finite, with the index of its seed among several; None if all are."""
    for name, value in metrics.items():
        bad = np.flatnonzero(~np.isfinite(np.atleast_1d(np.asarray(value, dtype=np.float64))))
        if bad.size:
            return name if np.size(value) == 1 else f"{name} (seed {bad[0]} of {np.size(value)})"
    return None


def safe_cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula: a text that begins like one is quoted; numbers stay numbers."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else value


def mean(numbers: Iterable[float]) -> float:
    """The mean of some numbers, in double precision."""
    return float(np.mean([float(number) for number in numbers]))


def shortest(number: Any) -> float | None:
    """The shortest decimal that reads back as the same number in its own precision; null for what JSON cannot say."""
    return float(str(number)) if math.isfinite(number) else None


def number(value: float | None) -> float:
    """A number of a row; null, for what was not finite, is NaN."""
    return math.nan if value is None else value


def columns_of(rows: Iterable[Mapping[str, Any]], known: Sequence[str] = FIXED) -> list[str]:
    """The known columns, then each new one in the order in which it first appears."""
    return list(dict.fromkeys([*known, *(name for row in rows for name in row if name != "seeds")]))


def as_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """A line for each row and seed; what a row lacks is empty, what was not finite is nan."""
    lines = []
    for row in rows:
        for index, seed in enumerate(row["seeds"]):
            cells = {**row, "seed": seed}
            lines.append(csv_line(_cell(cells.get(name, ""), index) for name in columns))
    return "".join(lines).encode()


def _cell(value: Any, index: int) -> object:
    value = value[index] if isinstance(value, list) else value
    return "nan" if value is None else safe_cell(value)


def csv_line(cells: Iterable[object]) -> str:
    """One line of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(list(cells))
    return text.getvalue()
