"""What a run tells: rows that are the truth, views of them, and a resumed run that reads like an undisturbed one."""

import csv
import io
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import RecordWriter

from guidedflow import files
from guidedflow.errors import InputError
from guidedflow.progress import duration
from guidedflow.results import rows as episodes
from guidedflow.results.intervals import first_unfinite, safe_cell
from guidedflow.results.rows import Episode
from guidedflow.runs.tracking import Tracker


def losses(step: int) -> dict[str, np.ndarray]:
    return {"critic/loss": np.float32([0.1, step]), "actor/loss": np.float32([1 / 3, -step])}


def episode(step: int, seed: int, success: float | None, source: str = "training", total: float = -5.0) -> Episode:
    row = {"task": "t", "step": step, "policy": "actor", "seed": seed, "episode": 0, "episode_seed": 1, "length": 7}
    return episodes.episode(**row, **{"return": total, "success": success, "source": source})


def make(folder: Path, **settings: Any) -> Tracker:
    folder.mkdir(exist_ok=True)
    console = settings.pop("console", Console(file=io.StringIO()))
    return Tracker(folder, seeds=[0, 3], total=100, console=console, **settings)


def train(tracker: Tracker, start: int, stop: int) -> None:
    for step in range(start, stop, 10):
        tracker.log(step, losses(step), steps_per_second=50.0)
        tracker.episodes([episode(step, seed, success=seed == 3) for seed in (0, 3)])


def rows(folder: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return files.read_rows(folder / name)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def scalars(folder: Path) -> list[tuple[int, str, float]]:
    """The points that TensorBoard would show: those of later files void the earlier ones from a start mark on."""
    points: list[tuple[int, str, float]] = []
    for path in sorted(folder.glob("events*"), key=lambda path: path.name.rsplit(".", 1)[-1]):
        for event in events(path):
            if event.HasField("session_log"):
                points = [point for point in points if point[0] < event.step]
            points += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
    return points


def events(path: Path) -> list[Event]:
    data, found = path.read_bytes(), []
    while data:
        size = int.from_bytes(data[:8], "little")
        found.append(Event.FromString(data[12 : 12 + size]))
        data = data[16 + size :]
    return found


# The rows and their views


def test_a_row_keeps_the_seeds_apart_and_reads_back_to_the_bit(tmp_path: Path) -> None:
    with make(tmp_path) as tracker:
        tracker.log(10, losses(10), steps_per_second=81.23456)
    (row,) = rows(tmp_path)
    assert (row["step"], row["seeds"], row["steps_per_second"]) == (10, [0, 3], 81.235)
    assert row["seconds"] >= 0
    assert row["critic/loss"] == [0.1, 10.0]  # the shortest decimal, not 0.10000000149011612
    np.testing.assert_array_equal(np.float32(row["actor/loss"]), losses(10)["actor/loss"])


def test_the_table_has_a_line_for_each_step_and_seed(tmp_path: Path) -> None:
    with make(tmp_path) as tracker:
        train(tracker, 10, 30)
    lines = table(tmp_path)
    assert [(line["step"], line["seed"], line["critic/loss"]) for line in lines] == [
        ("10", "0", "0.1"),
        ("10", "3", "10.0"),
        ("20", "0", "0.1"),
        ("20", "3", "20.0"),
    ]


def test_a_new_metric_becomes_a_column_that_is_empty_before(tmp_path: Path) -> None:
    with make(tmp_path) as tracker:
        tracker.log(10, {"a": np.float32([1, 2])}, 1.0)
        tracker.log(20, {"b": np.float32([3, 4])}, 1.0)
        tracker.log(30, {"a": np.float32([5, 6])}, 1.0)
    assert [(line["a"], line["b"]) for line in table(tmp_path)] == [
        *[("1.0", ""), ("2.0", "")],
        *[("", "3.0"), ("", "4.0")],
        *[("5.0", ""), ("6.0", "")],
    ]


def test_what_is_not_finite_is_null_in_json_and_nan_in_the_table(tmp_path: Path) -> None:
    with make(tmp_path) as tracker:
        tracker.log(10, {"a": np.float32([np.nan, -np.inf])}, 1.0)
    text = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["a"] == [None, None]
    assert [line["a"] for line in table(tmp_path)] == ["nan", "nan"]


def test_no_cell_is_a_formula(tmp_path: Path) -> None:
    for text in ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"):
        assert safe_cell(text) == "'" + text
    assert [safe_cell(cell) for cell in ("actor", -1.5, 3)] == ["actor", -1.5, 3]
    with make(tmp_path) as tracker:
        tracker.log(10, {"=HYPERLINK(1)": np.float32([-1, 2])}, 1.0)
    assert [line["'=HYPERLINK(1)"] for line in table(tmp_path)] == ["-1.0", "2.0"]


@pytest.mark.parametrize(("owner", "call"), [(os, "mkdir"), (RecordWriter, "flush")])
def test_a_disk_that_refuses_tensorboard_is_one_sentence(
    owner: Any, call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with make(tmp_path) as tracker, monkeypatch.context() as patch:
        patch.setattr(owner, call, refuse)
        with pytest.raises(InputError, match="tensorboard could not be written: No space left on device"):
            tracker.log(10, losses(1), 50.0)
    assert [row["step"] for row in rows(tmp_path)] == [10]


def test_each_seed_is_a_run_of_tensorboard(tmp_path: Path) -> None:
    with make(tmp_path) as tracker:
        train(tracker, 10, 30)
    points = {seed: scalars(tmp_path / "tensorboard" / f"seed-{seed}") for seed in (0, 3)}
    assert [point for point in points[3] if point[1] == "critic/loss"] == [
        (10, "critic/loss", 10),
        (20, "critic/loss", 20),
    ]
    for seed, success in ((0, 0.0), (3, 1.0)):
        assert (20, "evaluation/actor/success", success) in points[seed]
        assert (20, "evaluation/actor/length", 7.0) in points[seed]


def test_a_metric_needs_a_number_for_each_seed_and_a_name_of_its_own(tmp_path: Path) -> None:
    with make(tmp_path) as tracker:
        with pytest.raises(ValueError, match=r"'a' has shape \(3,\); expected one number for each of 2 seeds"):
            tracker.log(10, {"a": np.zeros(3)}, 1.0)
        with pytest.raises(ValueError, match="'step' has the name of a column"):
            tracker.log(10, {"step": np.zeros(2)}, 1.0)
    assert rows(tmp_path) == []


def test_steps_only_grow(tmp_path: Path) -> None:
    with make(tmp_path) as tracker:
        train(tracker, 10, 30)
    with make(tmp_path) as tracker, pytest.raises(ValueError, match="step 20 does not come after step 20"):
        tracker.log(20, losses(20), 1.0)


def test_a_full_disk_is_one_sentence_and_costs_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with make(tmp_path) as tracker:
        tracker.log(10, losses(10), 1.0)
        with monkeypatch.context() as context:
            context.setattr("os.fsync", refuse)
            with pytest.raises(InputError, match=r"metrics.jsonl could not be written: No space left on device"):
                tracker.log(20, losses(20), 1.0)
    assert rows(tmp_path)[0]["step"] == 10


# Resuming


def without_clock(folder: Path) -> tuple[Any, Any, Any]:
    clock = {"seconds", "steps_per_second"}
    drop = lambda row: {name: value for name, value in row.items() if name not in clock}  # noqa: E731
    return (
        [drop(row) for row in rows(folder)],
        rows(folder, "evaluations.jsonl"),
        [drop(line) for line in table(folder)],
    )


@pytest.mark.parametrize("torn", [b"", b'{"step": 60, "seeds": [0, ', b"\xff\x00"])
def test_a_resumed_run_reads_like_an_undisturbed_one(tmp_path: Path, torn: bytes) -> None:
    with make(tmp_path / "whole") as tracker:
        train(tracker, 10, 100)
    folder = tmp_path / "cut"
    with make(folder) as tracker:
        train(tracker, 10, 60)  # the checkpoint is of step 30, so 40 and 50 are lost work
    for name in ("metrics.jsonl", "evaluations.jsonl", "metrics.csv"):
        with (folder / name).open("ab") as file:
            file.write(torn)
    with make(folder) as tracker:
        tracker.rewind(30)
        assert [row["step"] for row in rows(folder)] == [10, 20, 30]
        assert {row["step"] for row in rows(folder, "evaluations.jsonl")} == {10, 20, 30}
        train(tracker, 40, 100)
    assert without_clock(folder) == without_clock(tmp_path / "whole")
    assert (folder / "evaluations.jsonl").read_bytes() == (tmp_path / "whole" / "evaluations.jsonl").read_bytes()
    whole = [
        point for point in scalars(tmp_path / "whole" / "tensorboard" / "seed-3") if point[1] != "steps_per_second"
    ]
    cut = [point for point in scalars(folder / "tensorboard" / "seed-3") if point[1] != "steps_per_second"]
    assert cut == whole


def test_evaluations_that_were_asked_for_survive(tmp_path: Path) -> None:
    with make(tmp_path) as tracker:
        train(tracker, 10, 60)
        episodes.append(tmp_path / "evaluations.jsonl", [episode(50, 0, success=True, source="evaluate")])
    with make(tmp_path) as tracker:
        tracker.rewind(20)
    left = rows(tmp_path, "evaluations.jsonl")
    assert [(row["step"], row["source"]) for row in left if row["step"] > 20] == [(50, "evaluate")]
    assert len(left) == 5


def test_rewinding_to_nothing_starts_afresh(tmp_path: Path) -> None:
    with make(tmp_path) as tracker:
        train(tracker, 0, 60)
    with make(tmp_path) as tracker:
        tracker.rewind(None)
        assert rows(tmp_path) == rows(tmp_path, "evaluations.jsonl") == table(tmp_path) == []
        train(tracker, 0, 20)
    assert [row["step"] for row in rows(tmp_path)] == [0, 10]
    assert {point[0] for point in scalars(tmp_path / "tensorboard" / "seed-0")} == {0, 10}


def test_a_history_that_is_gone_is_told_once(tmp_path: Path) -> None:
    with make(tmp_path) as tracker:
        train(tracker, 10, 30)
    (tmp_path / "metrics.jsonl").unlink()
    with make(tmp_path) as tracker:
        with pytest.warns(
            UserWarning, match=r"metrics.jsonl has no row up to step 20; its history begins there"
        ) as told:
            tracker.rewind(20)
        assert len(told) == 1
        train(tracker, 30, 40)
    assert [row["step"] for row in rows(tmp_path)] == [30]


def test_the_clock_goes_on_where_the_kept_rows_end(tmp_path: Path) -> None:
    files.append_rows(
        tmp_path / "metrics.jsonl", [{"step": 10, "seconds": 1000.0, "steps_per_second": 1.0, "seeds": [0, 3]}]
    )
    with make(tmp_path) as tracker:
        tracker.rewind(10)
        tracker.log(20, losses(20), 1.0)
    assert 1000.0 <= rows(tmp_path)[-1]["seconds"] < 1100.0


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_rewinding_that_the_disk_refuses_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(5, "Input/output error")

    with make(tmp_path) as tracker:
        train(tracker, 10, 60)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with make(tmp_path) as tracker:
        monkeypatch.setattr("os." + call, refuse)
        with pytest.raises(InputError, match=r"metrics.jsonl could not be written: Input/output error"):
            tracker.rewind(20)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    assert not list(tmp_path.glob(".*.part"))


def test_a_torn_line_swallows_no_later_row(tmp_path: Path) -> None:
    path = tmp_path / "evaluations.jsonl"
    files.append_rows(path, [{"step": 1}])
    with path.open("ab") as file:
        file.write(b'{"step": 2, "suc')
    assert files.read_rows(path) == [{"step": 1}]
    files.append_rows(path, [{"step": 3}])
    with pytest.warns(UserWarning, match="line 2 is not a JSON object"):
        assert files.read_rows(path) == [{"step": 1}, {"step": 3}]


# Progress


def test_without_a_terminal_progress_is_plain_lines_on_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Tracker(tmp_path, seeds=[0, 3], total=10_000, shown=["critic/loss", "not/there"]) as tracker:
        tracker.advance(1000, losses(2), steps_per_second=50.0)
        tracker.episodes([episode(1000, seed, success=seed == 3) for seed in (0, 3)])
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "1,000/10,000  50.0 steps/s  3m00s left  critic/loss 0.1 2",
        "step 1,000: actor succeeds in 0.00 1.00",
    ]


def test_on_a_terminal_progress_is_a_bar_that_notes_do_not_break(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with make(tmp_path, console=console, shown=["critic/loss"]) as tracker:
        tracker.advance(50, losses(2), steps_per_second=5.0)
        tracker.note("a note [with brackets]")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "50/100  5.0 steps/s  10s left" in text
    assert "critic/loss 0.1 2" in text
    assert "a note [with brackets]" in text


def test_durations_read_as_people_say_them() -> None:
    seconds = (0.0, 59.4, 59.6, 200.0, 7500.0)
    assert [duration(length) for length in seconds] == ["0s", "59s", "1m00s", "3m20s", "2h05m"]


# Numbers that are none


def test_the_first_metric_that_is_not_finite_is_named() -> None:
    assert first_unfinite(losses(10)) is None
    assert (
        first_unfinite({**losses(1), "q": np.float32([1, np.inf]), "r": np.float32([np.nan, 1])}) == "q (seed 1 of 2)"
    )
    assert first_unfinite({"q": np.float32([np.nan])}) == "q"


# W&B


def test_wandb_that_is_not_installed_is_an_error_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"pip install 'guidedflow\[wandb\]'"):
        make(tmp_path, wandb="offline")


def test_wandb_gets_every_number_under_its_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    run = types.SimpleNamespace(
        log=calls.append,
        define_metric=lambda name, step_metric: calls.append((name, step_metric)),
        finish=lambda: calls.append("finish"),
    )
    module = types.ModuleType("wandb")
    module.init = lambda **settings: calls.append(settings) or run  # type: ignore[attr-defined, func-returns-value]
    module.Error = RuntimeError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    with make(tmp_path, wandb="offline", config={"alpha": 1}) as tracker:
        tracker.log(10, {"loss": np.float32([1, 2])}, 5.0)
    start, steps, *logged, end = calls
    assert (start["mode"], start["config"], steps, end) == ("offline", {"alpha": 1}, ("*", "step"), "finish")
    assert logged == [
        {"step": 10, "seed-0/loss": 1.0, "seed-0/steps_per_second": 5.0},
        {"step": 10, "seed-3/loss": 2.0, "seed-3/steps_per_second": 5.0},
    ]


def test_episodes_of_a_task_without_success_are_told_by_their_returns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console(file=io.StringIO())
    with make(tmp_path / "run", console=console) as tracker:
        tracker.episodes([episode(10, seed, None, total=-5.0 - seed) for seed in (0, 3)])
    assert "step 10: actor returns -5.0 -8.0" in console.file.getvalue()  # type: ignore[attr-defined]
    assert [row["success"] for row in rows(tmp_path / "run", "evaluations.jsonl")] == [None, None]
