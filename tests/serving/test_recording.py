"""What is recorded is a dataset."""

import json
from pathlib import Path

import numpy as np
import pytest
from serving_helpers import Known, listening, waited

from guidedflow.cli import main
from guidedflow.data.load import load_dataset
from guidedflow.errors import InputError
from guidedflow.serving.client import Client
from guidedflow.serving.recorder import Recorder
from guidedflow.serving.requests import Outcome


def test_episodes_of_two_robots_become_a_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "robots.npz"
    taken: dict[str, list[np.ndarray]] = {"first": [], "second": []}
    server = listening({"flow": Known()}, record=file)
    with server as served, Client(port=served.port) as first, Client(port=served.port) as second:
        for step in range(3):
            reward = None if step == 0 else -float(step)
            taken["first"].append(first.act(np.full(3, step / 100), reward=reward))
            taken["second"].append(second.act(np.full(3, 1 + step / 100)))
        first.end(np.full(3, 0.03), reward=-3.0, terminated=True)
        first.act(np.full(3, 0.5))
        first.act(np.full(3, 0.6), reset=True)  # an episode of one observation has no step

    data = load_dataset(file, rescale_actions=True)
    assert data.episodes == 2
    assert data.observations[:, 0].round(2).tolist() == pytest.approx([0, 0.01, 0.02, 0.03, 1, 1.01, 1.02])
    assert data.last.tolist() == [False, False, False, True, False, False, True]
    assert data.rewards[:3].tolist() == [-1, -2, -3]
    assert data.masks[:3].tolist() == [1, 1, 0]
    assert data.masks[4:6].tolist() == [1, 1]
    with np.load(file) as columns:
        assert columns["actions"].shape == (7, 4)
        assert np.array_equal(columns["actions"][:3], np.reshape(taken["first"], (3, 4)))
        assert np.array_equal(columns["actions"][4:], np.reshape(taken["second"], (3, 4)))

    main(["data", "show", str(file)])
    assert "episodes" in capsys.readouterr().out


def rows(recorder: Recorder, count: int, value: float = 0.0) -> None:
    session = recorder.session()
    for _ in range(count):
        session.add(np.full(3, value, np.float32), np.zeros((1, 2), np.float32), 1, Outcome())
    session.close()


def test_a_file_that_has_grown_is_followed_by_another(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "robots.npz", most_bytes=600)
    for value in range(6):
        rows(recorder, 5, value)
    recorder.close()
    names = sorted(path.name for path in tmp_path.glob("*.npz"))
    assert len(names) > 1
    assert names[0] == "robots-1.npz"
    read = [load_dataset(tmp_path / name) for name in names]
    assert sorted(x for data in read for x in data.observations[:, 0].tolist()) == sorted([*range(6)] * 5)
    assert not list(tmp_path.glob(".*"))


def test_a_disk_that_refuses_is_logged_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(tmp_path / "robots.npz")
    with monkeypatch.context() as broken:
        broken.setattr(np, "savez", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        rows(recorder, 3)
        waited(lambda: "No space left on device" in caplog.text)
    rows(recorder, 3)
    recorder.close()
    assert load_dataset(tmp_path / "robots.npz").episodes == 2


def test_nothing_is_written_where_nothing_was_done(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "robots.npz")
    rows(recorder, 1)
    recorder.close()
    assert list(tmp_path.iterdir()) == []


def test_a_recording_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "robots.npz").write_text(json.dumps({}))
    for path, sentence in (
        (tmp_path / "robots.npz", "exists already"),
        (tmp_path / "robots.h5", "ends in .npz"),
        (tmp_path / "nowhere" / "robots.npz", "is no folder that can be written to"),
    ):
        with pytest.raises(InputError, match=sentence):
            Recorder(path)
