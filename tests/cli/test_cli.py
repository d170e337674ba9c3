"""What is typed: commands that work end to end, and mistakes that get one sentence and exit status 2."""

import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_data import line
from tiny_environment import Peaceful
from untaught import begun

from guidedflow.algorithms import BC, CFGRL, IQL, QGF
from guidedflow.cli import main
from guidedflow.data.load import load_dataset
from guidedflow.environments.vector import Simulators
from guidedflow.errors import InputError
from guidedflow.training.loop import train
from guidedflow.training.plan import Plan

TASK = "cube-single-noisy-singletask-task1-v0"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs of several kinds: a flow, an actor, a flow with a critic, and one that plans chunks."""
    folder, plan = tmp_path_factory.mktemp("runs"), Plan(steps=2, batch_size=4, log_interval=2)
    begun(BC(hidden=(4,), flow_steps=1), line(), plan, out=folder / "bc")
    begun(IQL(hidden=(4,)), line(), plan, out=folder / "iql")
    begun(QGF(hidden=(4,), flow_steps=1), line(), replace(plan, seeds=2), out=folder / "qgf")
    chunked = replace(plan, seeds=2, horizon=3, chunk=True)
    begun(QGF(hidden=(4,), flow_steps=1), line(), chunked, out=folder / "chunks")
    return folder


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
        ("trian", "unknown command 'trian' (did you mean 'train'?)"),
        (f"train gfpp --task {TASK} --out x", "unknown algorithm 'gfpp' (did you mean 'gfp'?)"),
        (f"train gfp --task {TASK} --out x --alpa 3", "unknown argument '--alpa' (did you mean '--alpha'?)"),
        (f"train gfp --task {TASK} --out x --alpha much", "--alpha must be a number or auto, but is 'much'"),
        (f"train gfp --task {TASK} --out x --target min", "invalid choice 'min' for argument '--target'"),
        (f"train gfp --task {TASK} --out x --steps -3", "steps must be at least 1, but is -3"),
        (f"train gfp --task {TASK} --out x --hidden 0", "hidden must be at least 1, but is 0"),
        (f"train gfp --task {TASK} --out x --temperature -1", "temperature must be at least 0, but is -1.0"),
        ("train gfp --task mine --out x --chunk", "--chunk changes nothing without --horizon 2 or more"),
        (
            "train gfp --task mine --out x --rebalance-base 0.1",
            "--rebalance-base changes nothing without --rebalance.",
        ),
        (
            "train gfp --task mine --out x --window 9",
            "--window changes nothing without a folder of data convert --to mapped",
        ),
        ("train gfp --task mine --out x --window-updates 1000", "--window-updates changes nothing without a folder"),
        ("train gfp --task mine --out x --eval-episodes 9", "changes nothing without --eval-interval"),
        ("train gfp --task mine --out x --keep-checkpoints 1", "changes nothing without --checkpoint-interval"),
        (
            f"train qgf --task {TASK} --out x --guidance denoised",
            "guidedflow: '--guidance' is an argument of 'guidedflow evaluate', not of 'guidedflow train qgf'; see",
        ),
        (f"train qgf --task {TASK} --out x --vae 3 --guidance denoised", "guidedflow: unknown argument '--vae'; see"),
        ("train gfp --out x", "missing argument --task"),
        (
            "train gfp --task cube-sngle-noisy-singletask-task1-v0 --out x",
            "did you mean 'cube-single-noisy-singletask-",
        ),
        (f"train gfp --task {TASK} --out x --dataset nowhere.npz", "nowhere.npz"),
        (
            "train gfp --task my/log.npz --out x --eval-interval 1000",
            "there is no file or folder my/log.npz, nor a task",
        ),
        ("data show my/log.npz", "there is no file or folder my/log.npz, nor a task of that name"),
        ("evaluate", "missing argument RUN"),
        ("evaluate nowhere", "There is no run at nowhere"),
        ("evaluate nowhere --workers 0", "workers must be at least 1, but is 0"),
        ("evaluate nowhere --task cube-singel-play-v0", "did you mean 'cube-single-play-v0'?"),
        (f"train gfp --task {TASK} --out x --alpha inf", "alpha must be at least 0 and finite, but is inf"),
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


def test_a_policy_or_a_checkpoint_that_does_not_exist(capsys: pytest.CaptureFixture[str], runs: Path) -> None:
    capsys.readouterr()
    assert "has no policy 'actor'; it has flow" in refused(f"evaluate {runs}/bc --policy actor", capsys)
    assert "has no checkpoint of step 7; it has 2" in refused(f"evaluate {runs}/bc --step 7", capsys)
    assert "episodes must be at least 1" in refused(f"evaluate {runs}/bc --episodes 0", capsys)
    assert "train with --eval-interval" in refused(f"evaluate {runs}/bc --plot --episodes 1", capsys)


def test_guidance_that_a_run_cannot_have(capsys: pytest.CaptureFixture[str], runs: Path) -> None:
    capsys.readouterr()
    before = sorted(runs.rglob("*"))
    sentences = {
        "bc --guidance denoised": "need a critic, and this policy was trained without one",
        "iql --guidance denoised": "ask for refinement, or for a policy of the run that is a flow",
        "iql --candidates 4": "A deterministic actor has one proposal only",
        "qgf --candidates 0": "candidates must be at least 1",
        "qgf --guidance denoised --weight -1": "weight must be at least 0",
        "qgf --weight 1": "--weight changes nothing without a guidance",
        "qgf --select-weight": "--select-weight changes nothing without a guidance",
        "qgf --select-offline": "--select-offline changes nothing without guidance by a critic",
        "qgf --dataset line.npz": "--dataset changes nothing without --select-offline",
        "qgf --columns actions=act": "--columns changes nothing without --select-offline",
        "qgf --normalize": "--normalize changes nothing without guidance by a critic",
        "qgf --guidance conditional": "This flow has no condition to weigh",
        "qgf --budget 1": "--budget changes nothing without --improve cfpi",
        "bc --improve cfpi": "need a critic, and this policy was trained without one",
        "qgf --refine-sign": "changes nothing without --refine-steps",
        "qgf --select-episodes 3": "changes nothing without --select-weight",
        "qgf --guidance sideways": "invalid choice 'sideways'",
        "qgf --guidance denoised --weight 0 1 --select-offline": "of your own, 'line'; name its file by --dataset FILE",
        f"qgf --guidance denoised --critic-from {runs}/chunks": "and 6 numbers of action, but the policy",
        f"qgf --guidance denoised --critic-from {runs}/bc": "has no critic; it was trained by bc",
        f"qgf --guidance denoised --critic-from {runs}/nowhere": "There is no run at",
    }
    for arguments, sentence in sentences.items():
        assert sentence in refused(f"evaluate {runs}/{arguments}", capsys), arguments
    assert sorted(runs.rglob("*")) == before


def test_a_chunk_that_is_longer_than_every_episode(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a chunk of 30 steps fits into no episode, the longest has 20"):
        train(BC(hidden=(4,)), line(), Plan(steps=2, horizon=30, chunk=True), out=tmp_path / "run")
    ends = replace(line(length=1), last=np.ones(12, bool))
    with pytest.raises(InputError, match="'line' has no transition: none of its episodes has a step"):
        train(BC(hidden=(4,)), ends, Plan(steps=2), out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_columns_that_no_command_has_kept_are_named_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """As where the file's folder is read-only."""
    data, file = line(), tmp_path / "log.npz"
    np.savez(file, obs=data.observations[:-1], act=data.actions[:-1], rew=data.rewards[:-1], done=data.last[:-1])
    named = ["observations=obs", "actions=act", "rewards=rew", "terminals=done"]
    mine = load_dataset("mine", file, columns=dict(word.split("=") for word in named))
    train(QGF(hidden=(4,), flow_steps=2), mine, Plan(steps=2, batch_size=4, log_interval=2), out=tmp_path / "qgf")
    capsys.readouterr()
    before = sorted(tmp_path.rglob("*"))
    choosing = f"evaluate {tmp_path}/qgf --guidance denoised --weight 0 0.1 --select-offline --dataset {file}"
    assert "say which is what by --columns" in refused(choosing, capsys)
    main([*choosing.split(), "--columns", *named, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["weight"] == told["selection"]["dataset"]["chosen"]
    assert sorted(tmp_path.rglob("*")) == before
    studying = f"study sensitivity {tmp_path}/qgf --states 8 --dataset {file} --out {tmp_path}/picture.png"
    assert "say which is what by --columns" in refused(studying, capsys)
    main([*studying.split(), "--columns", *named, "--json"])
    assert json.loads(capsys.readouterr().out)["study"] == "sensitivity"


@pytest.mark.slow
@pytest.mark.filterwarnings("default:the critic of")
def test_weights_critics_and_chunks_from_the_command_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything between the flags and the simulator, with a game in the simulator's place."""
    plan = Plan(steps=2, seeds=2, batch_size=4, log_interval=2, horizon=3, chunk=True)
    train(QGF(hidden=(4,), flow_steps=2), line(), plan, out=tmp_path / "qgf")
    train(IQL(hidden=(4,)), line(), replace(plan, seeds=1), out=tmp_path / "iql")
    monkeypatch.setattr(
        "guidedflow.cli.evaluate.open_simulators", lambda *_, **__: Simulators(partial(Peaceful, 6), 2, 1)
    )
    monkeypatch.setattr("guidedflow.environments.simulated", lambda task: None)

    def told(arguments: str) -> dict[str, Any]:
        capsys.readouterr()
        main(f"evaluate {tmp_path}/qgf --episodes 2 --json {arguments}".split())
        return json.loads(capsys.readouterr().out)

    assert told(f"--policy flow --task {TASK}")["task"] == TASK
    main(f"evaluate {tmp_path}/qgf --episodes 1 --task {TASK}".split())
    assert f"qgf was trained on line, the policy acts in {TASK}" in capsys.readouterr().err
    listed = told("--guidance denoised --weight 0.03 0.3 --candidates 2")["evaluations"]
    assert [row["weight"] for row in listed] == [0.03, 0.3]
    assert all(row["policy"] == "flow" and row["guidance"] == "denoised" for row in listed)
    selected = told("--guidance rollout --normalize --weight 0.1 1 --select-weight --select-episodes 3")
    assert [row["weight"] for row in selected["selection"]["episodes"]["curve"]] == [0.1, 1]
    assert selected["weight"] == selected["selection"]["episodes"]["chosen"]
    assert (selected["guidance"], selected["normalize"], selected["flow_steps"]) == ("rollout", True, 2)
    other = told(f"--critic-from {tmp_path}/iql --refine-steps 2 --refine-sign --replan 1")
    assert other["policy"] == "guided"
    assert (other["critic_run"], other["replan"], other["refine_sign"]) == (f"{tmp_path}/iql", 1, True)
    improved = told("--policy flow --improve cfpi --budget 0.2 0.5")
    assert improved["improvement"] == "cfpi 0.2 0.5"
    assert "improved by cfpi 0.2 0.5" in improved["sampler"]
    assert other["sampler"].endswith(f"critic of {tmp_path}/iql, replanned every 1")
    main(f"evaluate {tmp_path}/qgf --episodes 2 --guidance jacobian --select-weight --select-episodes 2".split())
    assert "chosen on episodes of their own" in capsys.readouterr().out
    monkeypatch.setattr("guidedflow.runs.source.open_dataset", lambda *_, **__: line())
    both = told("--guidance denoised --weight 0 50 --select-weight --select-episodes 1 --select-offline")
    offline = both.get("evaluations", [both])[0]
    assert offline["selection"]["dataset"]["chosen"] == offline["weight"]
    assert {"value", "distance"} <= offline["selection"]["dataset"]["curve"][0].keys()
    assert "plans 3 steps" in refused(f"evaluate {tmp_path}/qgf --episodes 1 --replan 4", capsys)
    control = told("--guidance chain --schedule ratio --match --value negated --replan 2 --delay 1 --realtime")
    acted = "chain guidance 0.1, normalised, ratio weight, matched to the velocity, negated value"
    assert control["sampler"] == f"2 steps, {acted}, replanned every 2, delay 1, real-time"
    assert control["seam_mean"] > 0


def test_what_a_variant_a_schedule_and_a_delay_need_is_said_before_a_simulator_starts(
    capsys: pytest.CaptureFixture[str], runs: Path
) -> None:
    capsys.readouterr()
    for flags, sentence in (
        ("--guidance distilled", "needs a learned one-step map"),
        ("--guidance distilled_jacobian --match", "needs a learned one-step map"),
        ("--policy flow --schedule falling", "--schedule changes nothing without guidance by a critic"),
        ("--policy flow --match", "--match changes nothing without guidance by a critic"),
        ("--realtime", "--realtime changes nothing without --delay"),
        ("--policy flow --value random", "--value changes nothing without guidance, refinement or candidates"),
        ("--delay 1", "--delay is 1, but a chunk of 3 steps that is requested anew after 3 leaves at most 0"),
        ("--replan 2 --delay 2 --realtime", "leaves at most 1 steps for the next to arrive"),
    ):
        assert sentence in refused(f"evaluate {runs}/chunks --task {TASK} {flags}", capsys)
    assert "need a critic" in refused(f"evaluate {runs}/bc --task {TASK} --value negated", capsys)


def test_a_weight_is_chosen_without_a_simulator(
    capsys: pytest.CaptureFixture[str], runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a task that has none, the choice is all that can be told; what needs one is refused before it is made."""
    before = sorted(runs.rglob("*"))
    choosing = f"evaluate {runs}/qgf --guidance denoised --weight 0 0.1 --select-offline"
    monkeypatch.setattr("guidedflow.cli.evaluate.by_dataset", lambda *_: pytest.fail("chosen before it was refused"))
    capsys.readouterr()
    for more in ("--select-weight", "--video 1"):
        assert "has no simulator here" in refused(f"{choosing} {more}", capsys)
    monkeypatch.undo()
    monkeypatch.setattr("guidedflow.runs.source.open_dataset", lambda *_, **__: line())
    main([*choosing.split(), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["weight"] == told["selection"]["dataset"]["chosen"]
    assert (told["task"], told["policy"]) == ("line", "flow")
    main(choosing.split())
    assert "chosen from the dataset alone" in capsys.readouterr().out
    assert sorted(runs.rglob("*")) == before


@pytest.mark.slow
def test_the_weight_of_a_condition_is_in_the_rows(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(steps=2, batch_size=4, log_interval=2)
    begun(CFGRL(hidden=(4,), flow_steps=2, weight=7.0), line(), plan, out=tmp_path / "cfgrl")
    monkeypatch.setattr(
        "guidedflow.cli.evaluate.open_simulators", lambda *_, **__: Simulators(partial(Peaceful, 6), 2, 1)
    )
    monkeypatch.setattr("guidedflow.environments.simulated", lambda task: None)

    def sampler(arguments: str) -> str:
        capsys.readouterr()
        main(f"evaluate {tmp_path}/cfgrl --episodes 1 --json {arguments}".split())
        told = json.loads(capsys.readouterr().out)
        assert told["guidance"] == "conditional"
        assert told["weight"] == told["condition"]
        return str(told["sampler"])

    assert sampler("").endswith("condition 7")
    assert sampler("--guidance conditional").endswith("condition 7")
    assert sampler("--guidance conditional --weight 2").endswith("condition 2")


def test_help_names_every_setting_with_its_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["train", "gfp", "--help"])
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert left.value.code == 0
    assert "--temperature FLOAT|auto Sharpness (eta) of the choice between data and actor" in told
    assert "--seeds INT Seeds trained together" in told


@pytest.mark.slow
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
