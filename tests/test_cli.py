"""What is typed: commands that work end to end, and mistakes that get one sentence and exit status 2."""

import json
import os
from pathlib import Path

import pytest
from tiny_data import line

from guidedflow.algorithms import BC
from guidedflow.cli import main
from guidedflow.training import Plan, train

TASK = "cube-single-noisy-singletask-task1-v0"


def refused(arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The sentence for arguments that are at fault."""
    with pytest.raises(SystemExit) as left:
        main(arguments.split())
    told = capsys.readouterr()
    assert left.value.code == 2
    assert told.out == ""
    assert told.err.startswith("guidedflow: ")
    assert told.err.count("\n") == 1
    return told.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("trian", "unknown argument 'trian' (did you mean 'train'?)"),
        (f"train gpf --task {TASK} --out x", "unknown argument 'gpf' (did you mean 'gfp'?)"),
        (f"train gfp --task {TASK} --out x --alpa 3", "unknown argument '--alpa' (did you mean '--alpha'?)"),
        (f"train gfp --task {TASK} --out x --alpha much", "could not convert string to float: 'much'"),
        (f"train gfp --task {TASK} --out x --target min", "invalid choice 'min' for argument '--target'"),
        (f"train gfp --task {TASK} --out x --steps -3", "steps must be at least 1, but is -3"),
        (f"train gfp --task {TASK} --out x --hidden 0", "hidden must be at least 1, but is 0"),
        (f"train gfp --task {TASK} --out x --temperature -1", "temperature must be at least 0, but is -1.0"),
        ("train gfp --out x", "missing argument --task"),
        (
            "train gfp --task cube-sngle-noisy-singletask-task1-v0 --out x",
            "did you mean 'cube-single-noisy-singletask-",
        ),
        (f"train gfp --task {TASK} --out x --dataset nowhere.npz", "nowhere.npz"),
        ("evaluate", "missing argument RUN"),
        ("evaluate nowhere", "There is no run at nowhere"),
        ("data collect", "missing argument NAME"),
        ("data collect cube-sngle-noisy-v0", "did you mean 'cube-single-noisy-v0'?"),
        ("data collect antmaze-large-navigate-v0 --episodes 1", "antmaze-large-navigate-v0"),
        ("data collect cube-single-noisy-v0 --episodes 0", "episodes must be at least 1, not 0"),
        ("demo --tasks 6", "tasks must be numbers from 1 to 5, but are 6"),
    ],
)
def test_a_mistake_gets_one_sentence_and_leaves_nothing(
    arguments: str, sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sentence in refused(arguments, capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_policy_or_a_checkpoint_that_does_not_exist(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plan = Plan(steps=2, batch_size=4, log_interval=2)
    train(BC(hidden=(4,), flow_steps=1), line(), plan, out=tmp_path / "run")
    capsys.readouterr()
    assert "has no policy 'actor'; it has flow" in refused(f"evaluate {tmp_path}/run --policy actor", capsys)
    assert "has no checkpoint of step 7; it has 2" in refused(f"evaluate {tmp_path}/run --step 7", capsys)
    assert "episodes must be at least 1" in refused(f"evaluate {tmp_path}/run --episodes 0", capsys)
    assert "train with --eval-interval" in refused(f"evaluate {tmp_path}/run --plot --episodes 1", capsys)


def test_help_names_every_setting_with_its_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["train", "gfp", "--help"])
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert left.value.code == 0
    assert "--temperature FLOAT Sharpness (eta) of the choice between data and actor" in told
    assert "--seeds INT Seeds trained together" in told


def test_train_and_evaluate_on_published_data(
    shared_data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The README's commands, made small."""
    out = tmp_path / "gfp"
    data = shared_data / "cube-single-noisy-v0-val.npz"
    size = ["--hidden", "16", "16", "--flow-steps", "2", "--batch-size", "16", "--steps", "20", "--seeds", "2"]
    main(["train", "gfp", "--task", TASK, "--dataset", str(data), *size, "--out", str(out)])
    capsys.readouterr()
    main(["evaluate", str(out), "--episodes", "2", "--policy", "flow", "--workers", "2", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert {"task", "policy", "sampler", "step", "episodes", "success", "success_mean"} <= told.keys()
    assert {"return_mean", "length_mean", "success_timing", "ogbench", "mujoco"} <= told.keys()
    assert (told["task"], told["policy"], told["step"], told["episodes"]) == (TASK, "flow", 20, 2)
    assert len(told["success"]) == 2
    assert told["length_mean"] <= 200
    with pytest.raises(SystemExit):
        main(["train", "gfp", "--task", TASK, "--dataset", str(data), *size, "--out", str(out)])
    assert "add --resume to continue it" in capsys.readouterr().err
    assert len((out / "evaluations.jsonl").read_text().splitlines()) == 4
    assert os.listdir(out / "checkpoints") == ["20"]
