"""Runs below folders as records; what is broken is left out and named."""

import json
from pathlib import Path

import pytest
from made_runs import TASK, made

from guidedflow.errors import InputError
from guidedflow.results.records import Tuning
from guidedflow.runs.gather import gather


def test_runs_are_found_at_any_depth_once_and_in_order(tmp_path: Path) -> None:
    for name in ("b", "a/deep", "a/other"):
        made(tmp_path / name)
    (tmp_path / "a" / "config.json").write_text("{}")  # of somebody else
    (tmp_path / "a" / "config.json").unlink()
    found = gather([tmp_path / "b", tmp_path])
    assert [Path(record.path).relative_to(tmp_path).as_posix() for record in found.records] == [
        "b",
        "a/deep",
        "a/other",
    ]
    record = found.records[0]
    assert (record.algorithm, record.task, record.seeds, record.updates) == ("gfp", TASK.format(1), (0, 1, 2), 1000)
    assert record.seconds == 100.0
    assert record.command.startswith("guidedflow train gfp --task")
    assert found.left_out == ()


def test_settings_are_the_mathematics_with_defaults_that_came_later(tmp_path: Path) -> None:
    made(tmp_path / "a", alpha=3.0, config={"workers": 8, "steps": 77, "observation_scale": {"mean": [0.1]}})
    settings = gather([tmp_path]).records[0].settings
    assert settings["alpha"] == 3.0
    assert settings["tau"] == 0.005  # not in the configuration
    assert settings["plan.discount"] == 0.99
    assert settings["plan.observation_scale"] is True
    assert not {"plan.workers", "plan.steps", "plan.seed", "plan.command", "plan.task", "plan.commit"} & set(settings)


def test_a_path_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no run in .*; expected a folder with config\.json"):
        gather([tmp_path])
    made(tmp_path / "gfp")
    with pytest.raises(InputError, match=r"There is no run at .*gpf"):
        gather([tmp_path / "gpf"])


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ('{"guidedflow_run": 1', "its config.json is not JSON"),
        ('{"guidedflow_run": 7}', "a run of format 7"),
        ('{"guidedflow_run": 1}', "must say the algorithm's name"),
        ('{"guidedflow_run": 1, "algorithm": {"name": "gfp"}}', "must say its task"),
        ('{"guidedflow_run": 1, "algorithm": {"name": "gfp"}, "task": "t", "seeds": 1e9}', "must say its task"),
    ],
)
def test_a_broken_run_is_left_out_of_a_folder_and_refused_alone(tmp_path: Path, config: str, sentence: str) -> None:
    made(tmp_path / "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_text(config)
    found = gather([tmp_path])
    assert len(found.records) == 1
    (told,) = found.left_out
    assert "bad is left out: " in told
    assert sentence in told
    with pytest.raises(InputError, match=r"No run could be read: .*bad is left out"):
        gather([tmp_path / "bad"])


def test_broken_rows_are_left_out_and_named(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    log = run / "evaluations.jsonl"
    lines = log.read_text().splitlines()
    row = json.loads(lines[0])
    del row["hash"]  # as version 0.1 wrote them
    bad = [
        lines[1][:40],
        json.dumps(row | {"seed": "zero"}),
        json.dumps(row | {"success": 2.0}),
        json.dumps(row | {"return": 10**400}),
        json.dumps(row | {"return": float("nan")}),
    ]
    log.write_text("\n".join([*bad, *lines]) + "\n")
    metrics = {"step": 1, "seconds": 10**400, "steps_per_second": 1, "seeds": [0]}
    (run / "metrics.jsonl").write_text('{"step": 1}\n' + json.dumps(metrics) + "\n")
    found = gather([run])
    assert len(found.records[0].episodes) == 60
    told = "\n".join(found.left_out)
    assert "line 1 is not a JSON object" in told
    assert "its seed must be int, but is 'zero'" in told
    assert "2 of 62 rows are left out" in told
    assert "no row of metrics" in told
    assert found.records[0].updates is None


def test_what_tuning_spent_is_read_beside_the_runs(tmp_path: Path) -> None:
    made(tmp_path / "a")
    record = tmp_path / "tuning.json"
    record.write_text('{"tried": 12, "updates": 240000, "episodes": 960}')
    assert gather([tmp_path]).records[0].tuning == Tuning(12, 240_000, 960)
    for broken in ('{"tried": "many"}', "[]", "{", '{"updates": 3}'):
        record.write_text(broken)
        found = gather([tmp_path])
        assert found.records[0].tuning is None
        assert "tuning.json is left out: it must hold whole numbers" in found.left_out[0]


def test_what_cannot_be_written_or_drawn_becomes_text(tmp_path: Path) -> None:
    config = {"a": float("nan"), "b": 10**400, "c": [float("inf")], "\ud800": "\ud800"}
    run = made(tmp_path / "run", task="\ud800", config=config, alpha=float("inf"))
    record = gather([run]).records[0]
    assert record.task == "?"
    settings = {
        name: value for name, value in record.settings.items() if name in ("plan.a", "plan.c", "plan.?", "alpha")
    }
    assert settings == {"plan.a": "nan", "plan.c": ["inf"], "plan.?": "?", "alpha": "inf"}
    assert record.settings["plan.b"].startswith("1000")
    assert {row["task"] for row in record.episodes} == {"?"}


def test_the_insides_of_a_run_are_not_searched(tmp_path: Path) -> None:
    made(tmp_path / "run")
    made(tmp_path / "run" / "checkpoints" / "copy")
    (tmp_path / "run" / "loop").symlink_to(tmp_path)
    made(tmp_path / "other")
    assert [Path(record.path).name for record in gather([tmp_path]).records] == ["other", "run"]
