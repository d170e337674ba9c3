"""A run on a dataset on disk: the same bits however it is interrupted, and what the command line makes of it."""

import contextlib
import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import train_and_die
from test_training import assert_same_bits, leaves, rows, small, start
from tiny_data import line

from guidedflow.algorithms import BC, QGF
from guidedflow.cli import main
from guidedflow.data.dataset import Dataset
from guidedflow.data.ondisk import mapper
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.sampling.probe import Probe
from guidedflow.data.sampling.rebalance import Rebalance
from guidedflow.data.sampling.windows import Window, Windows
from guidedflow.data.transitions import Transitions
from guidedflow.errors import InputError
from guidedflow.normalization import ActionScale
from guidedflow.training.loop import train

CLONE = BC(hidden=(8,), flow_steps=2)
WINDOW = Window(40, updates=20, blocks=4)


def long_line() -> Dataset:
    """More than a window holds, in episodes of two lengths."""
    long, short = line(8, 30), line(9, 7, seed=1)
    columns = {name: np.concatenate([column, short._columns()[name]]) for name, column in long._columns().items()}
    return Dataset("line", **columns)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mapper.write([long_line()], tmp_path_factory.mktemp("made") / "data", "line")


def test_resuming_in_pieces_and_within_a_window_gives_the_same_bits(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []
    surveyed: list[Transitions] = []
    window, of = Windows.window, Probe.of
    monkeypatch.setattr(Probe, "of", lambda transitions: surveyed.append(transitions) or of(transitions))
    monkeypatch.setattr(Windows, "window", lambda self, number: opened.append(number) or window(self, number))
    data, rebalance = Mapped.open(folder), Rebalance("return", 0.1)
    train(CLONE, data, small(steps=60), out=tmp_path / "whole", window=WINDOW, rebalance=rebalance)
    assert opened == [0, 1, 2]
    assert len(surveyed) == 1  # whatever windows it reads, a run is diagnosed by one probe
    for steps in (10, 25, 60):
        opened.clear()
        with pytest.warns(UserWarning, match="steps") if steps > 10 else contextlib.nullcontext():
            train(
                CLONE, data, small(steps=steps), out=tmp_path / "run", resume=True, window=WINDOW, rebalance=rebalance
            )
    assert opened == [1, 2]  # it begins where it was, not at the start
    assert_same_bits(leaves(tmp_path / "whole"), leaves(tmp_path / "run"))
    assert rows(tmp_path / "whole")[-1] == rows(tmp_path / "run")[-1]


@pytest.mark.slow
def test_a_run_killed_while_it_reads_and_writes_ends_with_the_same_bits(tmp_path: Path) -> None:
    cache = tmp_path / "compiled"
    mapper.write([long_line()], tmp_path / "data", "line")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train_and_die.run("bc", whole)
    for moment, count in (("save", 1), ("read", 2)):
        died = start("bc", str(broken), moment, str(count), cache=cache)
        assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    resumed = start("bc", str(broken), cache=cache)
    assert resumed.returncode == 0, resumed.stderr.decode()
    assert_same_bits(leaves(whole), leaves(broken))
    assert rows(whole) == rows(broken)


def test_a_run_records_its_windows_and_refuses_others(folder: Path, tmp_path: Path) -> None:
    data, out = Mapped.open(folder), tmp_path / "run"
    train(CLONE, data, small(steps=10), out=out, window=WINDOW)
    config = json.loads((out / "config.json").read_text())
    assert config["window"] == {"transitions": 40, "updates": 20, "blocks": 4}
    assert "rebalance" not in config
    assert config["dataset"] == {
        "name": "line", "fingerprint": long_line().fingerprint, "transitions": 303, "episodes": 17,
    }  # fmt: skip
    with pytest.raises(InputError, match=r"other settings \(window.updates 20 -> 40\)"):
        train(CLONE, data, small(steps=20), out=out, resume=True, window=Window(40, updates=40, blocks=4))
    with pytest.raises(InputError, match=r"other settings \(rebalance.by \(not set\) -> \"return\""):
        train(CLONE, data, small(steps=20), out=out, resume=True, window=WINDOW, rebalance=Rebalance())
    with pytest.raises(InputError, match=r"other settings \(window.transitions 40 -> \(not set\)"):
        train(CLONE, long_line(), small(steps=20), out=out, resume=True)


def test_rebalanced_draws_change_a_run_and_uniform_ones_do_not(tmp_path: Path) -> None:
    for name, rebalance in (("plain", None), ("return", Rebalance()), ("weights", Rebalance("weights"))):
        data = line()
        weighted = Dataset(**{**vars(data), "weights": np.ones(len(data.last), np.float32)})
        train(CLONE, weighted, small(steps=10, seeds=1), out=tmp_path / name, rebalance=rebalance)
    train(CLONE, line(), small(steps=10, seeds=1), out=tmp_path / "uniform")
    assert_same_bits(leaves(tmp_path / "plain"), leaves(tmp_path / "uniform"))
    for name in ("return", "weights"):
        assert not np.array_equal(leaves(tmp_path / name)[0], leaves(tmp_path / "uniform")[0])


@pytest.mark.slow
def test_from_a_log_of_your_own_to_a_rebalanced_streamed_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, log = long_line(), tmp_path / "log.npz"
    quality = np.arange(len(data.last), dtype=np.float32)
    np.savez(log, obs=data.observations, act=data.actions, pay=data.rewards, good=data.masks, end=data.last, q=quality)
    columns = "--columns observations=obs actions=act rewards=pay masks=good last=end weights=q"
    folder = tmp_path / "log.mapped"
    main(f"data convert {log} {folder} {columns}".split())
    assert capsys.readouterr().out.strip() == str(folder)
    np.testing.assert_array_equal(Mapped.open(folder).rows("weights", 0, 10**6), quality)
    out = tmp_path / "run"
    settings = "--steps 20 --log-interval 10 --batch-size 8 --hidden 8 --flow-steps 2 --horizon 3 --chunk"
    rule = "--rebalance weights --rebalance-base 0.5 --window 40 --window-updates 10"
    main(f"train bc --task {folder} --out {out} {settings} {rule}".split())
    config = json.loads((out / "config.json").read_text())
    assert (config["task"], config["window"]["updates"]) == ("log", 10)
    assert config["rebalance"] == {"by": "weights", "base": 0.5}
    main(f"data show {folder} --json".split())
    assert json.loads(capsys.readouterr().out)["fingerprint"] == config["dataset"]["fingerprint"]
    main(f"data convert {folder} {tmp_path}/back.npz".split())
    main(f"data convert {tmp_path}/back.npz {tmp_path}/again.mapped".split())
    assert Mapped.open(tmp_path / "again.mapped").fingerprint == config["dataset"]["fingerprint"]


@pytest.mark.slow
def test_a_run_is_judged_on_a_window_of_its_dataset(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whose actions are in the run's units, and which is never read whole."""
    monkeypatch.setattr(Mapped, "read", lambda *_: pytest.fail("read the whole folder"))
    learner, data = QGF(hidden=(4,), flow_steps=2), Mapped.open(folder)
    scaled = replace(data, action_scale=ActionScale((-2.0, -2.0), (2.0, 4.0)))
    trained = train(learner, scaled, small(steps=10, seeds=1, frame_stack=2), out=tmp_path / "run", window=WINDOW)
    monkeypatch.setattr("guidedflow.runs.source.Window", lambda updates: WINDOW)
    batches = trained.cut(trained.load(folder))
    assert len(batches.drawing.every(len(batches))) < len(data)
    assert batches.every().action[:, 1].max() <= 0  # 1 in the middle of -2 and 4
    capsys.readouterr()
    main(f"evaluate {tmp_path}/run --guidance denoised --select-offline --dataset {folder} --json".split())
    assert json.loads(capsys.readouterr().out)["selection"]["dataset"]["curve"]
    main(f"study exploitation {tmp_path}/run --states 8 --neighbours 4 --dataset {folder} --json".split())
    assert json.loads(capsys.readouterr().out)["study"] == "exploitation"


@pytest.mark.slow
def test_the_first_episodes_say_nothing_about_the_lengths_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = mapper.write([line(4, 3), line(4, 30)], tmp_path / "log.mapped", "made")
    monkeypatch.setattr("guidedflow.cli.train.LOOKED_AT", 12)
    settings = "--steps 10 --log-interval 10 --batch-size 8 --hidden 8 --flow-steps 2 --horizon 9 --chunk"
    main(f"train bc --task {folder} --out {tmp_path}/run {settings}".split())
    told = capsys.readouterr().err
    assert "warning of the first 12 transitions: " in told
    assert "chunk" not in told
