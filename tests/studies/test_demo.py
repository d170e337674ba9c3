"""The demo, from an empty folder to a table and a picture, and a second time without doing anything again."""

import json
from pathlib import Path

import pytest

from guidedflow.studies.demo import Demo, run

TINY = {"episodes": 2, "steps": 20, "seeds": 2, "hidden": (8,), "eval_episodes": 2, "curve_episodes": 1}
TINY |= {"weights": (0.1, 1.0), "select_episodes": 1}


@pytest.mark.slow
def test_the_demo_makes_its_table_and_picture_and_uses_them_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Demo(out=tmp_path, tasks=(1, 3), **TINY)
    run(plan)
    first = capsys.readouterr()
    for line in ("BC flow", "FQL actor", "GFP flow (VaBC)", "GFP actor", "QGF (steered at test time)"):
        assert line in first.out
    assert (tmp_path / "success-task1.png").exists()
    assert (tmp_path / "success-task3.png").exists()
    assert (tmp_path / "weight-task3.png").exists()
    assert (tmp_path / "table.md").read_text().startswith("| method | task 1 | task 3 | mean |")
    assert not (tmp_path / "bc-task3").exists()  # a BC flow does not see rewards
    counts = [
        len((tmp_path / f"{name}-task1" / "evaluations.jsonl").read_text().splitlines())
        for name in ("gfp", "bc", "qgf")
    ]
    run(plan)
    second = capsys.readouterr()
    assert "using the dataset" in second.err
    assert "method 2 of 4: fql, task 1" in first.err
    assert second.err.count("using the run") == 8
    assert counts == [
        len((tmp_path / f"{name}-task1" / "evaluations.jsonl").read_text().splitlines())
        for name in ("gfp", "bc", "qgf")
    ]
    config = json.loads((tmp_path / "fql-task3" / "config.json").read_text())
    assert config["algorithm"]["alpha"] == "auto"
    assert config["task"] == "cube-single-noisy-singletask-task3-v0"
