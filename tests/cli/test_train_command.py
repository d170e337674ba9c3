"""From a log to a policy by commands alone: resuming, algorithms and environments by name, rehearsals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_code import Mine
from tiny_data import line

from guidedflow.cli import main
from guidedflow.cli.explain import meanings
from guidedflow.cli.tradeoffs import TRADES
from guidedflow.cli.train import Train
from guidedflow.runs.trained import Trained
from guidedflow.training.plan import Plan

COLUMNS = ["--columns", *(f"{name}={name}" for name in ("observations", "actions", "rewards", "terminals", "ends"))]
LOG = ["--task", "mine", "--dataset", "log.npz", *COLUMNS]
TINY = ["--hidden", "4", "--flow-steps", "2", "--batch-size", "4", "--log-interval", "10"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    data = line()
    np.savez(
        tmp_path / "log.npz", observations=data.observations, actions=data.actions, rewards=data.rewards,
        terminals=1 - data.masks, ends=data.last,
    )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(arguments: str, *more: str) -> None:
    main([*arguments.split(), *more])


def refused(capsys: pytest.CaptureFixture[str], arguments: str, *more: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        run(arguments, *more)
    return capsys.readouterr().err


def config(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(name, "config.json").read_text())
    return found


@pytest.mark.filterwarnings("default:.*is resumed with changes")
def test_a_run_goes_on_from_its_folder_alone(capsys: pytest.CaptureFixture[str]) -> None:
    run("train bc --steps 20 --learning-rate 1e-3 --out run", *LOG, *TINY)
    told = capsys.readouterr().err
    assert "run: run, 20 updates" in told
    assert "next: guidedflow.load_policy('run') in Python, or guidedflow evaluate run --env MODULE:FUNCTION" in told
    run("train --resume --out run --steps 4e1")
    run("train bc --steps 40 --learning-rate 1e-3 --out whole", *LOG, *TINY)
    state, whole = (Path(name, "checkpoints", "40", "state.safetensors") for name in ("run", "whole"))
    assert state.read_bytes() == whole.read_bytes()
    assert config("run")["algorithm"] == config("whole")["algorithm"]
    # Once more: the recorded command says all of it again.
    run("train --resume --steps 50 --out run")
    assert config("run")["steps"] == 50
    assert config("run")["command"][:3] == ["guidedflow", "train", "bc"]
    assert Trained.open("run/checkpoints/40").step == 40
    assert "was trained by bc, not by fql" in refused(capsys, "train fql --resume --out run")
    assert "batch_size 4 -> 8" in refused(capsys, "train --resume --out run --batch-size 8 --steps 60")
    capsys.readouterr()
    run("train --resume --out run --steps 60 --print-config")
    lines = [row.split() for row in capsys.readouterr().out.splitlines()]
    origins = {row[0]: (row[1], " ".join(row[2:])) for row in lines if len(row) > 2}
    assert origins["--steps"] == ("60", "typed")
    assert origins["--learning-rate"] == ("0.001", "the run's command")
    assert origins["--seeds"] == ("1", "the run")
    assert origins["--window-updates"] == ("0", "default")


@pytest.mark.filterwarnings("default:.*is resumed with changes")
def test_an_algorithm_of_the_users_own_is_trained_resumed_and_evaluated(capsys: pytest.CaptureFixture[str]) -> None:
    run("train tiny_code:Mine --steps 10 --extra 3 --out run", *LOG, *TINY)
    assert "evaluate run --algorithm tiny_code:Mine" in capsys.readouterr().err
    assert config("run")["algorithm"]["name"] == "Mine"
    opened = Trained.open("run", algorithm=Mine)
    assert isinstance(opened.algorithm, Mine)
    assert opened.algorithm.extra == 3.0
    assert "name it again: guidedflow train tiny_code:Mine" in refused(capsys, "train --resume --out run --steps 20")
    run("train tiny_code:Mine --resume --out run --steps 20")
    assert Trained.open("run", algorithm=Mine).step == 20
    assert "or as --algorithm MODULE:CLASS" in refused(capsys, "evaluate run --env tiny_environment:Peaceful")
    capsys.readouterr()
    run("evaluate run --algorithm tiny_code:Mine --env tiny_environment:Peaceful --episodes 2 --workers 1 --json")
    assert json.loads(capsys.readouterr().out)["environment"] == "tiny_environment.Peaceful"


@pytest.mark.slow
@pytest.mark.filterwarnings("default:.*is resumed with changes")
def test_an_environment_of_the_users_own(capsys: pytest.CaptureFixture[str]) -> None:
    evaluated = "--eval-interval 10 --eval-episodes 2 --workers 1 --env tiny_code:make"
    run(f"train bc --steps 10 --out run {evaluated}", *LOG, *TINY)
    rows = [json.loads(row) for row in Path("run", "evaluations.jsonl").read_text().splitlines()]
    assert [(row["environment"], row["success_at"], row["score"]) for row in rows] == [
        ("tiny_code.make", "last", None)
    ] * 2
    assert "name it again by --env" in refused(capsys, "train --resume --out run --steps 20")
    run("train --resume --out run --steps 20 --env tiny_code:make")

    def success(rule: str) -> float:
        capsys.readouterr()
        run(f"evaluate run --env tiny_code:make --episodes 4 --workers 1 --success {rule} --json")
        told = json.loads(capsys.readouterr().out)
        assert told.get("success_at", "last") == rule
        return float(told["success_mean"])

    lengths = [json.loads(row)["length"] for row in Path("run", "evaluations.jsonl").read_text().splitlines()]
    assert max(lengths) > 1
    assert success("last") < success("any") == 1.0
    assert "reward must be one number, but is an array of shape (2,)" in refused(
        capsys, "evaluate run --env tiny_code:Vector --episodes 1 --workers 1"
    )


def test_episodes_of_an_environment_without_a_limit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("train bc --steps 10 --out run", *LOG, *TINY)
    endless = "evaluate run --env tiny_code:Endless --episodes 2 --workers 1"
    capsys.readouterr()
    run(f"{endless} --episode-steps 7 --json")
    assert json.loads(capsys.readouterr().out)["length_mean"] == 7


def test_a_dry_run_tells_sizes_and_time_and_writes_nothing(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    run("train bc --steps 1000 --seeds 2 --dry-run --out run", *LOG, *TINY)
    told = dict(row.split(maxsplit=1) for row in capsys.readouterr().out.splitlines())
    names = ["dataset", "observation", "action", "networks", "memory", "disk", "time", "run"]
    assert list(told) == names
    assert told["observation"] == "3 numbers of float32"
    # 3 observations, 2 actions, 1 time -> 4 -> 2, with biases.
    assert told["networks"].endswith(f"{(6 * 4 + 4) + (4 * 2 + 2):,} parameters a seed")
    assert {path.name for path in sorted(folder.rglob("*"))} - {path.name for path in before} <= {
        "log.npz.columns.json"
    }
    assert not Path("run").exists()


def test_a_setting_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    run("explain --alpha gfp")
    told = " ".join(capsys.readouterr().out.split())
    assert "published gfp: 0.01 to 10, over 144 tasks range at least 0 trades How strongly" in told
    run("explain steps")
    told = " ".join(capsys.readouterr().out.split())
    assert "train Updates. default 1000000" in told
    assert "demo Updates of each method. default 12000" in told


def test_every_setting_of_a_run_has_a_meaning() -> None:
    assert {"steps", "seeds", "batch_size"} <= meanings(Plan).keys()
    assert {"task", "out", "env", "recipe", "dry_run"} <= meanings(Train).keys()
    assert all(words and not words.isspace() for words in TRADES.values())
