"""D4RL's files give the transitions that D4RL itself gives, and none across the end of an episode."""

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guidedflow.data.actions import ACTION_LIMIT
from guidedflow.data.formats import d4rl
from guidedflow.data.formats.opening import open_arrays
from guidedflow.data.load import load_dataset, read_dataset
from guidedflow.data.sources import named
from guidedflow.errors import InputError

DOOR = "door-human-v1"


def recording(flags, following=False):
    """Columns of a file whose observation, action and reward tell the row."""
    flags, rows = list(flags), np.arange(len(flags), dtype=np.float64)
    columns = {
        "observations": np.stack([rows, -rows], 1),
        "actions": (rows / len(rows) / 2)[:, None],
        "rewards": rows[:, None],  # some files have them so
        "terminals": np.array([flag == "t" or flag == "b" for flag in flags]),
        "timeouts": np.array([flag == "o" or flag == "b" for flag in flags]),
    }
    if following:
        columns["next_observations"] = columns["observations"] + 0.5
        columns["next_observations"][:-1][np.array(flags[:-1]) == "-"] = columns["observations"][1:][
            np.array(flags[:-1]) == "-"
        ]
    return columns


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    """Stores columns as an HDF5 file."""

    def write(columns, name="made.hdf5"):
        path = tmp_path_factory.mktemp("d4rl") / name
        with h5py.File(path, "w") as file:
            for key, column in columns.items():
                file[key] = column
        return path

    return write


def published(columns):
    """D4RL's own rule, row by row: the successor is the next row, rows cut off by time are dropped, so is the last."""
    kept = []
    for row in range(len(columns["rewards"]) - 1):
        if not columns["timeouts"][row]:
            kept.append(row)
    return kept


def transitions(dataset):
    """Rows of a dataset that are transitions, with the columns that belong to them."""
    starts = np.flatnonzero(~dataset.last)
    return (
        dataset.observations[starts],
        dataset.actions[starts],
        dataset.rewards[starts],
        dataset.masks[starts],
        dataset.observations[starts + 1],
    )


@settings(deadline=None, max_examples=40)
@given(flags=st.lists(st.sampled_from("----tob"), min_size=1, max_size=12), antmaze=st.booleans())
def test_transitions_are_those_that_d4rl_keeps(write, flags, antmaze):
    columns = recording(flags)
    with open_arrays(write(columns)) as file:
        dataset = d4rl.read(file, antmaze=antmaze).to_dataset("made")
    kept = published(columns)
    seen, _, rewards, masks, successors = transitions(dataset)
    np.testing.assert_array_equal(seen[:, 0], kept)
    np.testing.assert_array_equal(rewards, np.array(kept, np.float32) - antmaze)
    np.testing.assert_array_equal(masks, 1 - columns["terminals"][kept].astype(np.float32))
    bootstrapped = masks > 0
    np.testing.assert_array_equal(successors[bootstrapped, 0], np.array(kept)[bootstrapped] + 1)
    if antmaze:  # the ant walks on from a goal
        assert dataset.episodes == np.count_nonzero(columns["timeouts"][:-1]) + 1
        np.testing.assert_array_equal(successors[:, 0], np.array(kept, np.float32) + 1)
    else:
        np.testing.assert_array_equal(successors[~bootstrapped], seen[~bootstrapped])


@settings(deadline=None, max_examples=20)
@given(flags=st.lists(st.sampled_from("----tob"), min_size=1, max_size=12))
def test_with_next_observations_every_row_is_a_transition(write, flags):
    columns = recording(flags, following=True)
    with open_arrays(write(columns)) as file:
        dataset = d4rl.read(file).to_dataset("made")
    seen, _, _, masks, successors = transitions(dataset)
    np.testing.assert_array_equal(seen, columns["observations"].astype(np.float32))
    np.testing.assert_array_equal(successors, columns["next_observations"].astype(np.float32))
    np.testing.assert_array_equal(masks, 1 - columns["terminals"].astype(np.float32))
    assert dataset.episodes == sum(flag != "-" for flag in flags[:-1]) + 1


def test_a_jump_ends_an_episode_of_which_no_flag_tells(write):
    columns = recording("------", following=True)
    columns["next_observations"][2] += 1e-3
    with open_arrays(write(columns)) as file:
        assert d4rl.read(file, antmaze=True).to_dataset("made").episodes == 2


def test_without_timeouts_the_limit_of_the_task_is_counted(write):
    columns = recording(["-"] * 3 + ["t"] + ["-"] * 396)
    del columns["timeouts"]
    columns |= {"observations": np.zeros((400, 39)), "actions": np.zeros((400, 28))}
    dataset = read_dataset(DOOR, write(columns))
    lengths = np.diff(np.flatnonzero(dataset.last), prepend=-1) - 1
    np.testing.assert_array_equal(lengths, [4, 199, 195])
    with pytest.raises(InputError, match="'timeouts' must be there"):
        read_dataset("my-arm", write(columns), source="d4rl")


def test_human_demonstrations_of_opening_a_door(shared_data):
    dataset = read_dataset(DOOR, shared_data)  # found in a folder, by its name
    with h5py.File(shared_data / "door-human-v1.hdf5") as file:
        columns = {key: file[key][:] for key in ("observations", "actions", "rewards", "terminals", "timeouts")}
    kept = published(columns)
    assert (dataset.episodes, len(dataset), len(kept)) == (25, 6704, 6704)
    seen, actions, rewards, masks, successors = transitions(dataset)
    for found, expected in zip((seen, actions, rewards), ("observations", "actions", "rewards"), strict=True):
        np.testing.assert_array_equal(found, columns[expected][kept])
    np.testing.assert_array_equal(successors, columns["observations"][np.array(kept) + 1])
    assert masks.all()


def test_actions_outside_the_box_are_clipped_only_when_asked(shared_data):
    path = shared_data / "door-human-v1.hdf5"
    with pytest.raises(InputError) as told:
        load_dataset(DOOR, path)
    for part in ("door-human-v1", "5.6 %", "row 4", "1.366", "--clip-actions"):
        assert part in str(told.value)
    raw, clipped = read_dataset(DOOR, path), load_dataset(DOOR, path, clip_actions=True)
    np.testing.assert_array_equal(clipped.actions, raw.actions.clip(-ACTION_LIMIT, ACTION_LIMIT))
    np.testing.assert_array_equal(clipped.observations, raw.observations)


def test_the_edge_of_the_box_is_inside(write):
    columns = recording("----")
    columns["actions"] = np.array([1.0, -1.0, 1 + 1e-7, 0.0])[:, None]
    dataset = load_dataset("my-arm", write(columns))
    assert np.abs(dataset.actions).max() == ACTION_LIMIT


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda c: c.pop("terminals"), "'terminals' must be there"),
        (lambda c: c.update(rewards=c["rewards"][:-1]), "'rewards' must have 4 rows as 'observations' has, found 3"),
        (lambda c: c.update(terminals=np.array([0, 2, 0, 0])), "'terminals' must be 0 or 1, found 2.0 in row 1"),
        (lambda c: c.update(rewards=np.zeros((4, 2))), r"'rewards' must have the shape \(rows,\), found \(4, 2\)"),
        (lambda c: c.update(actions=np.zeros(4)), r"'actions' must have the shape \(rows, numbers\), found \(4,\)"),
        (lambda c: c.update(actions=np.array([[b"up"]] * 4)), "'actions' must be numbers"),
        (lambda c: c.update(next_observations=np.zeros((4, 3))), "'next_observations' must have the shape"),
        (lambda c: c.update(observations=np.full((4, 2), np.nan)), "observations is not finite in row 0"),
    ],
)
def test_a_file_that_is_not_d4rls_is_told_apart_in_one_sentence(write, spoil, sentence):
    columns = recording("----")
    spoil(columns)
    with pytest.raises(InputError, match=sentence) as told:
        read_dataset(DOOR, write(columns))
    assert "\n" not in str(told.value)


def test_a_missing_file_tells_where_d4rl_has_it(tmp_path, monkeypatch):
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path))
    with pytest.raises(InputError, match=r"hand_dapg_v1/pen-cloned-v1.hdf5, or name a file by --dataset"):
        load_dataset("pen-cloned-v1")
    with pytest.raises(InputError, match=r"ant_maze_v2/Ant_maze_big-maze_noisy_multistart_True_multigoal_False_sparse"):
        load_dataset("antmaze-medium-play-v2")


def test_a_link_out_of_a_file_is_not_followed(write, tmp_path):
    columns = recording("----")
    other = write(columns)
    del columns["rewards"]
    path = write(columns)
    with h5py.File(path, "a") as file:
        file["rewards"] = h5py.ExternalLink(str(other), "rewards")
        file["again"] = file  # a group that contains itself
    with pytest.raises(InputError, match="'rewards' must be there"):
        read_dataset(DOOR, path)


@pytest.mark.parametrize("name", ["cut", "empty", "text"])
def test_a_damaged_file_is_one_sentence(write, tmp_path, name):
    whole = write(recording("-" * 200)).read_bytes()
    (tmp_path / name).write_bytes({"cut": whole[:3000], "empty": b"", "text": b"observations,actions"}[name])
    with pytest.raises(InputError, match=f"/{name} must be"):
        read_dataset(DOOR, tmp_path / name)


def test_a_walker_is_read_by_its_name_where_it_was_downloaded(write, tmp_path, monkeypatch):
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path))
    with pytest.raises(InputError, match=r"hopper_medium-v2.hdf5 does not exist: get it by `guidedflow data download"):
        load_dataset("hopper-medium-v2")
    write(recording("--t--o")).rename(tmp_path / "hopper_medium-v2.hdf5")
    dataset = load_dataset("hopper-medium-v2")
    assert (dataset.name, dataset.episodes) == ("hopper-medium-v2", 2)
    assert load_dataset("hopper-medium-v2", tmp_path).fingerprint == dataset.fingerprint


def test_a_file_of_ones_own_is_no_antmaze_for_its_name(write):
    """D4RL's rule for the ant lowers rewards and ignores terminals; a name of one's own does not ask for it."""
    dataset = load_dataset("antmaze_dense", write(recording("--t--o")))
    assert dataset.rewards[0] == 0
    assert dataset.masks[2] == 0


def test_a_maze_by_the_name_of_its_published_file_is_read_by_the_rule_of_its_task(write):
    path = write(recording("--t--o"), d4rl.address("antmaze-umaze-v2").rsplit("/")[-1])
    task, place = named(str(path))
    assert task == "antmaze-umaze-v2"
    assert load_dataset(task, place).rewards[0] == -1


def test_the_row_after_an_end_repeats_the_last_action(write):
    """It is nobody's action, but the next one of a transition that was cut off by time."""
    dataset = load_dataset("made", write(recording("--o--t", following=True)))
    final = np.flatnonzero(dataset.last)
    np.testing.assert_array_equal(dataset.actions[final], dataset.actions[final - 1])


def test_a_source_that_a_name_is_not_from_is_told(tmp_path):
    with pytest.raises(InputError, match="is no task of D4RL's"):
        read_dataset("cube-single-play-v0", source="d4rl")
    with pytest.raises(InputError, match="is a folder, but 'cube-single-play-v0' is none"):
        read_dataset("cube-single-play-v0", source="mapped")
