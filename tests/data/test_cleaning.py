"""What is cleaned is what was said, and nothing else; episodes that are split are each on one side."""

import json

import numpy as np
import pytest
from tiny_data import line

from guidedflow.cli import main
from guidedflow.data.cleaning import Cleaning, clean, only, repetitions, split, without_tails
from guidedflow.data.convert import convert
from guidedflow.data.dataset import Dataset
from guidedflow.data.formats.columns import Columns
from guidedflow.data.load import load_dataset
from guidedflow.data.sources import locate
from guidedflow.errors import InputError

EPISODES, LENGTH = 5, 6
WORDS = ("observations=obs", "actions=act", "rewards=pay", "terminals=solved", "episodes=run")
ROWS = np.arange(EPISODES * LENGTH)


def log(**changed):
    """Five runs of six steps; observations tell the row, and the first and last run end solved."""
    columns = {
        "obs": np.stack([ROWS, -ROWS], 1) / 10,
        "act": np.random.default_rng(0).uniform(-0.9, 0.9, (len(ROWS), 2)),
        "pay": ROWS * 1.0,
        "solved": np.isin(ROWS, (5, 29)),
        "run": ROWS // LENGTH,
    }
    return columns | {name: change(columns[name].copy()) for name, change in changed.items()}


def at(rows, value):
    def change(column):
        column[rows] = value
        return column

    return change


def cleaned(folder, how, *words, **changed):
    np.savez(folder / "log.npz", **log(**changed))
    return clean(locate("arm", folder / "log.npz", Columns.parse([*WORDS, *words])), how)


def rows_of(dataset):
    """The rows of the recording that transitions begin in."""
    return (dataset.observations[~dataset.last][:, 0] * 10).round().astype(int).tolist()


def test_episodes_with_nan_are_dropped_or_cut_before_it(tmp_path):
    broken = {"act": at((9, 1), np.nan), "obs": at((20, 0), np.inf)}
    dropped, told = cleaned(tmp_path, Cleaning("drop"), **broken)
    assert told["not_finite"] == {"episodes": 2, "rows": 12}
    assert rows_of(dropped) == [0, 1, 2, 3, 4, 5, 12, 13, 14, 15, 16, 24, 25, 26, 27, 28, 29]
    cut, told = cleaned(tmp_path, Cleaning("cut"), **broken)
    assert told["not_finite"] == {"episodes": 2, "rows": 3 + 4}
    assert rows_of(cut) == [0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 14, 15, 16, 18, 24, 25, 26, 27, 28, 29]
    assert cut.masks[~cut.last].sum() == len(cut) - 2  # what was cut off was not solved


def test_with_next_observations_no_transition_before_a_cut_is_lost(tmp_path):
    then = np.stack([ROWS + 1, -ROWS - 1], 1) / 10
    np.savez(tmp_path / "log.npz", **log(pay=at(9, np.nan)), then=then)
    columns = Columns.parse([*WORDS, "next_observations=then"])
    dataset, _ = clean(locate("arm", tmp_path / "log.npz", columns), Cleaning("cut"))
    assert rows_of(dataset) == [*range(9), *range(12, 30)]
    assert dataset.observations[10, 0] == np.float32(0.9)  # what was seen after row 8


def test_nothing_left_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="none would be left"):
        cleaned(tmp_path, Cleaning("drop"), pay=at(slice(None, None, LENGTH), np.nan))


def test_a_clean_log_stays_as_it_is(tmp_path):
    dataset, told = cleaned(tmp_path, Cleaning(idle=True, repeated=True))
    assert dataset.fingerprint == load_dataset("arm", tmp_path / "log.npz", columns=Columns.parse(WORDS)).fingerprint
    assert (told["idle_steps"], told["repeated_episodes"]) == (0, 0)


def test_idle_tails_go_but_not_the_step_that_ended_the_task():
    observations = np.float32([[0], [1], [2], [2], [2], [0], [1], [1], [1], [1]])
    masks = np.float32([1, 1, 1, 1, 1, 1, 1, 0, 1, 1])
    last = np.isin(np.arange(10), (4, 9))
    actions = np.zeros((10, 1), np.float32)
    dataset = Dataset("tails", observations, actions, np.arange(10, dtype=np.float32), masks, last)
    short, steps = without_tails(dataset)
    assert steps == 2 + 1
    np.testing.assert_array_equal(short.rewards, [0, 1, 2, 5, 6, 7, 8])
    np.testing.assert_array_equal(np.flatnonzero(short.last), [2, 6])


def test_the_first_of_repeated_episodes_stays(tmp_path):
    def again(column):
        column[12:18] = column[:6]
        return column

    dataset, told = cleaned(tmp_path, Cleaning(repeated=True), obs=again, act=again, pay=again, solved=again)
    assert told["repeated_episodes"] == 1
    assert rows_of(dataset)[:8] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert not repetitions(dataset).any()


def test_a_split_leaves_each_episode_whole_on_one_side(tmp_path):
    dataset = line(episodes=10, length=4)
    train, held = split(dataset, 0.3, seed=1)
    assert (train.episodes, held.episodes) == (7, 3)
    both = np.concatenate([train.observations, held.observations])
    assert {row.tobytes() for row in both} == {row.tobytes() for row in dataset.observations}
    assert [part.fingerprint for part in split(dataset, 0.3, seed=1)] == [train.fingerprint, held.fingerprint]
    assert split(dataset, 0.3, seed=2)[1].fingerprint != held.fingerprint
    with pytest.raises(InputError, match=r"a share of 0\.01 is 0, but at least one must be held out"):
        split(dataset, 0.01, seed=0)
    with pytest.raises(InputError, match="no episode would be left"):
        only(dataset, np.zeros(10, bool))


def test_the_commands_write_what_they_tell(tmp_path, capsys):
    np.savez(tmp_path / "log.npz", **log(pay=at(9, np.nan)))
    main(
        ["data", "clean", f"{tmp_path}/log.npz", f"{tmp_path}/clean.npz", "--nan", "cut", "--columns", *WORDS, "--json"]
    )
    told = json.loads(capsys.readouterr().out)
    assert told["not_finite"] == {"episodes": 1, "rows": 3}
    assert told["transitions"] == len(load_dataset("arm", tmp_path / "clean.npz"))
    main(["data", "split", f"{tmp_path}/clean.npz", f"{tmp_path}/train.npz", f"{tmp_path}/held.hdf5", "--share", "0.4"])
    assert capsys.readouterr().out.splitlines()[1].startswith(f"{tmp_path}/held.hdf5: 2 episodes, ")
    parts = [load_dataset("arm", tmp_path / name) for name in ("train.npz", "held.hdf5")]
    assert sum(map(len, parts)) == told["transitions"]


def test_show_lists_columns_that_have_no_names_yet(tmp_path, capsys):
    np.savez(tmp_path / "log.npz", **log())
    main(["data", "show", f"{tmp_path}/log.npz", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["columns"][2] == {"name": "pay", "shape": [30], "type": "float64", "first": "0, 1, 2, 3, ..."}
    assert "say which is what by --columns" in told["told"]
    main(["data", "show", f"{tmp_path}/log.npz"])
    assert "float64" in capsys.readouterr().out
    main(["data", "show", f"{tmp_path}/log.npz", "--columns", *WORDS, "--json"])
    dimensions = json.loads(capsys.readouterr().out)["observations"]["dimensions"]
    assert [row["greatest"] for row in dimensions] == pytest.approx([2.9, 0])
    main(["data", "show", str(convert(line(), tmp_path / "line.npz"))])
    assert "deviation" in capsys.readouterr().out
