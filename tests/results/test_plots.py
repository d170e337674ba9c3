"""Tables and pictures come from raw rows alone."""

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from guidedflow import files
from guidedflow.errors import InputError
from guidedflow.results import plots, tables
from guidedflow.runs.run import Run


def rows(step: int, seed: int, successes: list[float], policy: str = "actor") -> list[dict[str, Any]]:
    return [
        {"step": step, "seed": seed, "success": success, "policy": policy, "source": "training"}
        for success in successes
    ]


def test_a_curve_has_one_success_rate_for_each_seed_and_step() -> None:
    found = plots.curve([*rows(20, 0, [1, 1]), *rows(10, 0, [1, 0]), *rows(10, 1, [0, 0]), *rows(20, 1, [0, 1])])
    assert found == {10: [0.5, 0.0], 20: [1.0, 0.5]}
    assert list(found) == [10, 20]


def test_a_learning_curve_is_drawn_from_the_rows_of_training(tmp_path: Path) -> None:
    with Run.claim(tmp_path / "run", {"task": "line"}).begin() as run:
        with pytest.raises(InputError, match="was not evaluated while it trained"):
            plots.learning_curve([run.path], tmp_path / "curve.png")
        files.append_rows(run.evaluations, [*rows(10, 0, [1, 0]), *rows(20, 0, [1, 1], "flow")])
    picture = plots.learning_curve([run.path], tmp_path / "pictures" / "curve.png")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_task_without_success_is_drawn_by_its_returns(tmp_path: Path) -> None:
    lost = [row | {"success": None, "return": 10.0 * row["step"]} for row in (*rows(1, 0, [0]), *rows(2, 0, [0, 0]))]
    assert plots.curve(lost, "return") == {1: [10.0], 2: [20.0]}
    with Run.claim(tmp_path / "run", {"task": "mujoco/hopper/medium-v0"}).begin() as run:
        files.append_rows(run.evaluations, lost)
    picture = plots.learning_curve([run.path], tmp_path / "curve.svg").read_text()
    assert "<!-- return -->" in picture
    assert "success" not in picture


def test_a_markdown_table() -> None:
    assert tables.markdown(["method", "n"], [["GFP", "50"]]) == "| method | n |\n| --- | ---: |\n| GFP | 50 |\n"


def test_a_summary_tells_every_entry_on_a_line_and_nothing_of_what_is_not_there() -> None:
    console = Console(record=True, width=40, file=io.StringIO())
    told = {"success": [0.5, 1.0], "task": "line", "return_mean": -1.23456}
    tables.print_summary({**told, "weight": None, "success_by_task": [None, None]}, console)
    assert [line.split() for line in console.export_text().splitlines()] == [
        ["success", "0.500", "1.000"], ["task", "line"], ["return_mean", "-1.235"]
    ]  # fmt: skip


@given(st.lists(st.integers(0, 1000), max_size=12), st.integers(1, 200))
def test_labels_are_moved_apart_and_no_further(whole: list[int], gap: int) -> None:
    places = sorted(map(float, whole))
    moved = plots.apart(places, gap)
    assert all(upper - lower > gap - 1e-6 for lower, upper in pairwise(moved))
    assert sum(moved) == pytest.approx(sum(places))
    if all(upper - lower > gap for lower, upper in pairwise(places)):
        assert moved == pytest.approx(places)
