"""Checkpoints are written beside training, in order, and none counts before it is whole."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guidedflow.errors import InputError
from guidedflow.runs import checkpoint
from guidedflow.runs.saving import Saving

LONG = 30.0
"""Seconds within which any thread answers."""


def state(step: int) -> dict[str, np.ndarray]:
    return {"weight": np.full(4, step, np.float32)}


class Held:
    """A disk that takes nothing before it is let."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.let, self._save = threading.Event(), threading.Event(), checkpoint.save
        monkeypatch.setattr(checkpoint, "save", self)

    def __call__(self, *args: Any) -> Path:
        self.begun.set()
        assert self.let.wait(LONG)
        return self._save(*args)


def test_saving_does_not_wait_for_the_disk_and_leaving_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch)
    with Saving() as saving:
        saving.save(tmp_path, 1, state(1))
        assert held.begun.wait(LONG)
        assert checkpoint.latest(tmp_path) is None  # never taken for done
        saving.check()
        held.let.set()
    assert checkpoint.load(tmp_path, None, state(0))[0] == 1


def test_checkpoints_are_written_in_order_and_as_many_stay_as_are_kept(tmp_path: Path) -> None:
    with Saving() as saving:
        for step in range(1, 6):
            saving.save(tmp_path, step, state(step), 2)
        saving.wait()
        assert checkpoint.steps(tmp_path) == [4, 5]
    assert checkpoint.load(tmp_path, None, state(0))[1]["weight"][0] == 5


def save_in(way: str, folder: Path) -> None:
    """Save a second checkpoint, and look for what became of it in one of four ways."""
    with Saving() as saving:
        saving.save(folder, 2, state(2))
        if way == "save":
            saving.save(folder, 3, state(3))
        elif way != "leave":
            saving._thread.shutdown(wait=True)
            getattr(saving, way)()


@pytest.mark.parametrize("way", ["wait", "check", "save", "leave"])
def test_a_refusal_of_the_disk_is_told_and_the_earlier_checkpoint_is_unharmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    checkpoint.save(tmp_path, 1, state(1))

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(InputError, match=r"Checkpoint 2 could not be saved .*No space left on device"):
        save_in(way, tmp_path)
    monkeypatch.undo()
    assert checkpoint.load(tmp_path, None, state(0))[0] == 1


def test_an_error_of_training_is_not_hidden_by_one_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "save", lambda *_: 1 / 0)
    with pytest.raises(KeyError):
        fail_while_saving(tmp_path)


def fail_while_saving(folder: Path) -> None:
    with Saving() as saving:
        saving.save(folder, 1, state(1))
        raise KeyError
