"""Rows of metrics: typed, written and read in one place."""

from pathlib import Path

import numpy as np
import pytest

from guidedflow.results import intervals
from guidedflow.results.intervals import Interval


def interval(step: int, **metrics: list[float]) -> Interval:
    return Interval.of(step, 1.5, 80.0, [3, 4], {name: np.float32(values) for name, values in metrics.items()})


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    written = [interval(10, loss=[0.1, 2.0]), interval(20, loss=[np.nan, 1e-7], q=[1.0, np.inf])]
    for each in written:
        intervals.append(path, each)
    assert intervals.read(path) == written
    assert written[0].metrics["loss"] == (0.1, 2.0)
    assert written[1].metrics == {"loss": (None, 1e-7), "q": (1.0, None)}


def test_a_row_that_is_none_is_left_out_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    intervals.append(path, interval(10, loss=[1.0, 2.0]))
    with path.open("a") as file:
        file.write('{"step": 20}\n')
    with (
        pytest.warns(UserWarning, match="1 rows have no running hash"),
        pytest.warns(UserWarning, match="metrics.jsonl: row 2 is no row of metrics"),
    ):
        assert intervals.read(path) == [interval(10, loss=[1.0, 2.0])]


def test_a_table_has_a_line_a_seed_and_empty_cells_for_what_a_row_lacks() -> None:
    found = [interval(10, loss=[1.0, 2.0]), interval(20, q=[np.nan, 4.0])]
    text = intervals.as_csv(intervals.columns(found), found, header=True).decode().splitlines()
    assert text == [
        "step,seed,seconds,steps_per_second,loss,q",
        "10,3,1.5,80.0,1.0,",
        "10,4,1.5,80.0,2.0,",
        "20,3,1.5,80.0,,nan",
        "20,4,1.5,80.0,,4.0",
    ]
