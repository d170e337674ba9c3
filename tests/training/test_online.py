"""From offline to online: what is learned from, what a killed run ends with, and what is refused."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from tiny_data import line
from tiny_environment import Countdown, Destination
from train_and_die import PROTOCOLS, run

from guidedflow.algorithms import ALGORITHMS
from guidedflow.data.replay import load
from guidedflow.errors import InputError
from guidedflow.keys import Stream, host_bits
from guidedflow.results import diagnosis, intervals
from guidedflow.runs.trained import Trained
from guidedflow.training.loop import train
from guidedflow.training.online import Online, finetune
from guidedflow.training.plan import Plan

TESTS = Path(__file__).parent.parent


def offline(name: str, out: Path, **plan: Any) -> Trained:
    cls = ALGORITHMS[name]
    settings = {"hidden": (8, 8)} | ({"flow_steps": 2} if hasattr(cls, "flow_steps") else {})
    return train(cls(**settings), line(), Plan(**{"steps": 4, "batch_size": 8, "log_interval": 4, **plan}), out=out)


@pytest.fixture(scope="module")
def fql(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return offline("fql", tmp_path_factory.mktemp("fql") / "offline")


def contents(out: Path) -> dict[str, Any]:
    """Every bit that must be that of an undisturbed run."""
    found: dict[str, Any] = {}
    for file in sorted((out / "checkpoints").rglob("state.safetensors")):
        found[str(file.relative_to(out))] = file.read_bytes()
    for folder in sorted((out / "replay").iterdir()):
        if folder.name.isdecimal():
            found |= {f"{folder.name}/{name}": array.tobytes() for name, array in load(folder).items()}
    found["metrics"] = [(row.step, row.metrics) for row in intervals.read(out / "metrics.jsonl")]
    return found


def killed(folder: Path, protocol: str, moment: str, count: int) -> None:
    command = [sys.executable, str(TESTS / "train_and_die.py"), protocol, str(folder), moment, str(count)]
    path = os.pathsep.join([str(TESTS), *sys.path])
    ended = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=250)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def interrupted(folder: Path, protocol: str, moments: list[tuple[str, int]], fql: Trained) -> None:
    whole, other = folder / "whole", folder / "killed"
    for each in (whole, other):
        shutil.copytree(fql.run.path, each / "offline")
    run(protocol, whole)
    for moment, count in moments:
        killed(other, protocol, moment, count)
    run(protocol, other)
    assert contents(other / "online") == contents(whole / "online")


@pytest.mark.slow
def test_a_killed_run_ends_with_the_bits_of_another(fql: Trained, tmp_path: Path) -> None:
    """Killed in the middle of an episode, after the ring went round; buffer on disk."""
    interrupted(tmp_path, "buffer", [("step", 47)], fql)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_a_run_killed_again_and_again_ends_with_the_bits_of_another(
    fql: Trained, protocol: str, tmp_path: Path
) -> None:
    """In an interval, before the checkpoint of a saved buffer, inside the saving of either, and early again."""
    interrupted(tmp_path, protocol, [("step", 5), ("save", 1), ("sync", 3), ("save", 2), ("step", 13)], fql)


def test_the_folder_is_an_ordinary_run(fql: Trained, tmp_path: Path) -> None:
    online = Online(8, log_interval=4, checkpoint_interval=4)
    tuned = finetune(fql, line(), online, out=tmp_path / "out", env=Destination)
    opened = Trained.open(tmp_path / "out")
    assert tuned.step == opened.step == fql.step + 8
    assert opened.run.config["online"]["from_step"] == fql.step
    rows = intervals.read(tmp_path / "out" / "metrics.jsonl")
    assert [row.step for row in rows] == [8, 12]
    assert {"swapped_gain", "actor_flow_ratio", "good_share"}.isdisjoint(
        rule.figure for rule in diagnosis.diagnose(rows, [0]).missing
    )
    assert opened.policy().action_size == 2
    before, after = (np.asarray(jax.tree.leaves(each.policies())[0]) for each in (fql, opened))
    assert not np.array_equal(before, after)


def test_a_warm_up_learns_nothing(fql: Trained, tmp_path: Path) -> None:
    online = Online(5, "balanced", warmup=4, log_interval=4, checkpoint_interval=4, keep_checkpoints=0)
    finetune(fql, line(), online, out=tmp_path / "out", env=Destination)
    frozen = Trained.open(tmp_path / "out", step=fql.step + 4)
    state = (fql.run.path / "checkpoints" / "4" / "state.safetensors").read_bytes()
    assert (frozen.run.path / "checkpoints" / "8" / "state.safetensors").read_bytes() == state
    assert int(load(tmp_path / "out" / "replay" / "8")["0.counts"][0]) == 5  # an episode's first row, and four steps


def test_the_share_of_the_dataset_is_exact_and_falls() -> None:
    online = Online(11, "balanced", (0.5, 0.0), warmup=0)
    assert [online.offline(done, 20) for done in range(11)] == [10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert {Online(11, "balanced", warmup=0).offline(done, 256) for done in range(11)} == {128}


def test_the_published_protocol_draws_from_both_alike() -> None:
    """Of N transitions of the dataset and M of the buffer each batch has N / (N + M) of the dataset, on average."""
    bits = np.concatenate([host_bits(0, Stream.REPLAY, step, 256) for step in range(200)])
    share = (bits % np.uint64(300 + 100) < 300).mean()
    assert abs(share - 0.75) < 4 * np.sqrt(0.75 * 0.25 / len(bits))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_every_algorithm_goes_on(name: str, tmp_path: Path) -> None:
    """Also with chunks, where the algorithm has them, and of several seeds."""
    trained = offline(name, tmp_path / "offline", horizon=2, chunk=True, seeds=2)
    online = Online(6, log_interval=3, checkpoint_interval=3)
    assert finetune(trained, line(), online, out=tmp_path / "out", env=Destination).step == 10


def test_what_cannot_be_fine_tuned_is_refused(fql: Trained, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="offline-share changes nothing"):
        Online(10, offline_share=(0.5,))
    with pytest.raises(InputError, match="warmup must be less than"):
        Online(10, "balanced")
    with pytest.raises(InputError, match=r"one number or two"):
        Online(10, "balanced", (0.5, 0.4, 0.3), warmup=0)
    with pytest.raises(InputError, match="goal-conditioned"):
        finetune(fql, line().with_goals(True), Online(5), out=tmp_path / "out", env=Destination)
    with pytest.raises(InputError, match=r"no policy|has no"):
        finetune(fql, line(), Online(5, policy="acter"), out=tmp_path / "out", env=Destination)
    with pytest.raises(InputError, match="environment gives"):
        finetune(fql, line(), Online(5), out=tmp_path / "out", env=Narrow)
    assert not (tmp_path / "out").exists()


class Narrow(Countdown):
    """Takes another number of actions than the data have."""

    action_space = Destination.action_space.__class__(-1.0, 1.0, (3,), np.float32)
