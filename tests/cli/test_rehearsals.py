"""What commands tell without doing it: settings, and what would be trained."""

import json
from pathlib import Path

import pytest

from guidedflow.algorithms import GFP
from guidedflow.cli import main
from guidedflow.errors import InputError
from guidedflow.sweeps import grid
from guidedflow.training.plan import Plan

TASK = "cube-single-noisy-singletask-task1-v0"


@pytest.mark.parametrize("command", ["sweep", "tune"])
def test_settings_are_listed_with_where_they_came_from(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([command, "--tasks", TASK, "--steps", "400", "--out", str(tmp_path / "out"), "--print-config"])
    told = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines() if line.startswith(" ")}
    assert told["--steps"] == ["400", "typed"]
    assert told["--batch-size"] == ["256", "default"]
    assert told["--tasks"] == [TASK, "typed"]
    assert not (tmp_path / "out").exists()


def test_a_tuning_is_listed_with_its_updates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        f"tune --tasks {TASK} --algorithms bc --grid hidden=4,8x8 --steps 400 --log-interval 100 --seeds 1 --rungs 2"
    )
    main([*words.split(), "--out", str(tmp_path / "out"), "--dry-run", "--json"])
    told = json.loads(capsys.readouterr().out)
    # Both values to 200 updates and one on to 400, of two seeds each; then the winner on one reported seed.
    assert told["studies"] == [
        {"task": TASK, "algorithm": "bc", "stages": {"hidden": [[4], [8, 8]]}, "updates": 2 * (200 + 200 + 200) + 400}
    ]
    assert not (tmp_path / "out").exists()


def test_a_demo_is_listed_with_what_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    (out / "bc-task1/checkpoints/30").mkdir(parents=True)
    main(["demo", "--out", str(out), "--steps", "30", "--hidden", "4", "--dry-run"])
    told = capsys.readouterr().out
    assert f"{out}/bc-task1 is there already" in told
    assert f"{out}/gfp-task1 30 updates" in told
    assert "3 of 4 runs left" in told
    assert [path.name for path in out.iterdir()] == ["bc-task1"]
    with pytest.raises(SystemExit):
        main(["demo", "--out", str(out), "--tasks", "9", "--dry-run"])


def test_sizes_of_layers_are_values_of_a_grid() -> None:
    values = grid.parse(["hidden=64,32x16", "gfp.alpha=0.3,1"])
    runs = grid.expand(["line"], ["gfp"], values, Plan(), Path("out"))
    assert [run.algorithm for run in runs] == [
        GFP(hidden=hidden, alpha=alpha) for hidden in ((64,), (32, 16)) for alpha in (0.3, 1.0)
    ]
    assert [run.out.parent.name for run in runs][-1] == "gfp-hidden=32x16-alpha=1"
    with pytest.raises(InputError, match="hidden"):
        grid.expand(["line"], ["gfp"], grid.parse(["hidden=wide"]), Plan(), Path("out"))


def test_a_sweep_without_its_data_is_listed_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"sweep --tasks {TASK} --algorithms bc --dataset {tmp_path}/none.npz --steps 30 --hidden 4 --dry-run"
    main([*words.split(), "--out", str(tmp_path / "out")])
    told = capsys.readouterr()
    assert "1 run, 1 left" in told.out
    assert "warning: the sweep will stop here:" in told.err
    assert "none.npz" in told.err
    assert not (tmp_path / "out").exists()
