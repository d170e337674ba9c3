"""Tables and pictures come from raw rows alone."""

import io
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from guidedflow.errors import InputError
from guidedflow.results import plots, tables
from guidedflow.results.rows import Episode, episode


def rows(step: int, seed: int, successes: list[float], policy: str = "actor") -> list[Episode]:
    shared = {"task": "line", "step": step, "seed": seed, "policy": policy, "source": "training", "length": 1}
    return [
        episode(**shared, **{"episode": i, "episode_seed": i, "return": 10.0 * step, "success": success})
        for i, success in enumerate(successes)
    ]


def test_a_learning_curve_is_drawn_from_the_rows_of_training(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="runs/bc was not evaluated while it trained"):
        plots.learning_curve({"runs/bc": []}, tmp_path / "curve.png", "line")
    found = [*rows(10, 0, [1, 0]), *rows(20, 0, [1, 1], "flow")]
    picture = plots.learning_curve({"runs/bc": found}, tmp_path / "pictures" / "curve.png", "line")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_task_without_success_is_drawn_by_its_returns(tmp_path: Path) -> None:
    lost = [episode(**{**row, "success": None}) for row in (*rows(1, 0, [0]), *rows(2, 0, [0, 0]))]
    picture = plots.learning_curve({"hopper": lost}, tmp_path / "curve.svg", "mujoco/hopper/medium-v0").read_text()
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
