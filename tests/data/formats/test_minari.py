"""Datasets that the minari package wrote give back the transitions that went in."""

import json
import sys
import warnings
from collections import OrderedDict

import gymnasium
import minari as package
import numpy as np
import pytest
from gymnasium.spaces import Box
from minari.data_collector import EpisodeBuffer

from guidedflow.data.formats import minari
from guidedflow.data.load import load_dataset, read_dataset
from guidedflow.data.validation import validate
from guidedflow.errors import InputError

FORMATS = ("hdf5", "arrow")


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """Minari's own folder, for both packages."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


def store(name, buffers, observation=None, action=None, **settings):
    """Write a dataset by the package's own function."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of authors and addresses that are not given
        package.create_dataset_from_buffers(
            name,
            buffers,
            observation_space=Box(-np.inf, np.inf, (2,), np.float32) if observation is None else observation,
            action_space=Box(-1, 1, (1,), np.float32) if action is None else action,
            **settings,
        )


def episode(length, terminated=(), seen=None):
    """An episode whose observations, actions and rewards tell the step."""
    steps = np.arange(length + 1, dtype=np.float32)
    flags = np.isin(np.arange(length), terminated)
    return EpisodeBuffer(
        observations=np.stack([steps, -steps], 1) if seen is None else seen,
        actions=steps[:-1, None] / 16,
        rewards=steps[:-1],
        terminations=flags,
        truncations=(np.arange(length) == length - 1) & ~flags,
    )


@pytest.mark.parametrize("data_format", FORMATS)
def test_an_episode_ends_where_it_terminates_or_is_cut_off(data_format):
    store("arm/reach-v0", [episode(2, terminated=[1]), episode(3), episode(4, terminated=[1])], data_format=data_format)
    dataset = load_dataset("arm/reach-v0")
    # The third goes on after a terminal state: its row is the end of one piece and the beginning of the next.
    np.testing.assert_array_equal(dataset.observations[:, 0], [0, 1, 2, 0, 1, 2, 3, 0, 1, 2, 2, 3, 4])
    np.testing.assert_array_equal(np.flatnonzero(dataset.last), [2, 6, 9, 12])
    starts = ~dataset.last
    np.testing.assert_array_equal(dataset.rewards[starts], [0, 1, 0, 1, 2, 0, 1, 2, 3])
    np.testing.assert_array_equal(np.flatnonzero(dataset.masks[starts] == 0), [1, 6])
    np.testing.assert_array_equal(dataset.actions[starts][:, 0] * 16, dataset.rewards[starts])


@pytest.mark.parametrize("data_format", FORMATS)
def test_the_door_demonstrations_come_back_as_they_were(shared_data, root, data_format):
    name = "D4RL/door/human-v2"
    source = read_dataset("door-human-v1", shared_data)
    ends = np.flatnonzero(source.last)
    buffers = []
    for begin, end in zip([0, *(ends[:-1] + 1)], ends, strict=True):
        truncations = np.arange(begin, end) == end - 1
        buffers.append(
            EpisodeBuffer(
                observations=source.observations[begin : end + 1],
                actions=source.actions[begin:end],
                rewards=source.rewards[begin:end],
                terminations=np.zeros(end - begin, bool),
                truncations=truncations,
            )
        )
    spaces = {"observation": Box(-np.inf, np.inf, (39,), np.float32), "action": Box(-1, 1, (28,), np.float32)}
    store(name, buffers, **spaces, data_format=data_format)
    for found in (read_dataset(name), read_dataset(name, root / name)):
        same(found, source)
    with pytest.raises(InputError, match=r"5.6 % of their numbers do not"):
        load_dataset(name)


def same(found, expected):
    """The same episodes; what the row of a final observation says besides does not count."""
    steps = ~expected.last
    np.testing.assert_array_equal(found.last, expected.last)
    np.testing.assert_array_equal(found.observations, expected.observations)
    for column in ("actions", "rewards", "masks"):
        np.testing.assert_array_equal(getattr(found, column)[steps], getattr(expected, column)[steps])


@pytest.mark.parametrize("data_format", FORMATS)
def test_a_dictionary_is_flattened_as_gymnasium_does(data_format):
    space = gymnasium.spaces.Dict(
        {"view": Box(-9, 9, (2, 2), np.float32), "arm": gymnasium.spaces.Tuple((Box(-9, 9, (1,), np.float64),) * 2)}
    )
    space.seed(0)
    samples = [space.sample() for _ in range(4)]
    seen = {
        "view": np.stack([sample["view"] for sample in samples]),
        "arm": tuple(np.stack([sample["arm"][i] for sample in samples]) for i in range(2)),
    }
    store("arm/dict-v0", [episode(3, seen=seen)], observation=space, data_format=data_format)
    dataset = load_dataset("arm/dict-v0")
    flat = np.stack([gymnasium.spaces.flatten(space, sample) for sample in samples])
    np.testing.assert_array_equal(dataset.observations, flat.astype(np.float32))


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("ordered", [False, True])
def test_keys_come_in_the_order_of_the_space_that_was_recorded(data_format, ordered):
    """Keywords and ordered dictionaries are not sorted by Gymnasium, though minari sorts them when it reads."""
    boxes = {"zone": Box(-9, 9, (2,), np.float32), "arm": Box(-9, 9, (1,), np.float32)}
    inner = gymnasium.spaces.Dict(OrderedDict(boxes)) if ordered else gymnasium.spaces.Dict(**boxes)
    space = gymnasium.spaces.Dict(OrderedDict(world=inner, base=Box(-9, 9, (1,), np.float32)))
    space.seed(0)
    samples = [space.sample() for _ in range(4)]
    seen = {
        "world": {key: np.stack([sample["world"][key] for sample in samples]) for key in boxes},
        "base": np.stack([sample["base"] for sample in samples]),
    }
    store("arm/dict-v0", [episode(3, seen=seen)], observation=space, data_format=data_format)
    flat = np.stack([gymnasium.spaces.flatten(space, sample) for sample in samples])
    np.testing.assert_array_equal(load_dataset("arm/dict-v0").observations, flat)


def test_an_image_beside_numbers_without_names_is_one_sentence():
    space = gymnasium.spaces.Tuple((Box(-9, 9, (2,), np.float32), Box(0, 255, (32, 32, 3), np.uint8)))
    seen = (np.zeros((4, 2), np.float32), np.zeros((4, 32, 32, 3), np.uint8))
    store("arm/tuple-v0", [episode(3, seen=seen)], observation=space)
    with pytest.raises(InputError, match="must be a dictionary of boxes, so that they have names"):
        load_dataset("arm/tuple-v0")
    assert [problem.kind for problem in validate("arm/tuple-v0").errors] == ["odd-space"]


def spoiled(root, change):
    path = root / "arm/reach-v0/data/metadata.json"
    metadata = json.loads(path.read_text())
    change(metadata)
    path.write_text(json.dumps(metadata))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda data: data.pop("action_space"), "whose code is not run unasked"),
        (lambda data: data.update(minari_version="9.0"), "must be of a version that the installed minari reads"),
        (lambda data: data.update(total_episodes=7), "must be a complete Minari dataset"),
        (lambda data: data.update(total_episodes=0), "must hold episodes, found none"),
        (lambda data: data.update(data_format="csv"), "must be a complete Minari dataset"),
    ],
)
def test_a_dataset_that_cannot_be_read_is_one_sentence(root, change, sentence):
    store("arm/reach-v0", [episode(2)])
    spoiled(root, change)
    with pytest.raises(InputError, match=sentence):
        load_dataset("arm/reach-v0")


def test_a_missing_dataset_and_actions_that_are_no_box(root):
    with pytest.raises(InputError, match="download it by `guidedflow data download mujoco/hopper/medium-v0`"):
        load_dataset("mujoco/hopper/medium-v0")
    store("arm/reach-v0", [EpisodeBuffer(None, None, None, np.zeros((3, 2), np.float32), np.array([0, 1]), [1, 2],
          [False, True], [False, False])], action=gymnasium.spaces.Discrete(2))  # fmt: skip
    with pytest.raises(InputError, match="actions must be a box of numbers, found Discrete"):
        load_dataset("arm/reach-v0")


def test_minari_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    store("arm/reach-v0", [episode(2)])
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(InputError, match=r"needs minari to be read .* pip install 'guidedflow\[minari\]'"):
        load_dataset("arm/reach-v0")


def test_what_is_written_is_what_minari_reads(shared_data, tmp_path):
    source = read_dataset("door-human-v1", shared_data)
    minari.write(source, tmp_path / "door")
    read = package.MinariDataset(tmp_path / "door" / "data")
    assert (read.total_episodes, read.total_steps) == (25, 6704)
    assert read[3].observations.shape == (len(read[3].rewards) + 1, 39)
    assert read[3].truncations[-1]
    assert not read[3].terminations.any()


def test_nan_is_cleaned_from_a_folder():
    from guidedflow.data.cleaning import Cleaning, clean
    from guidedflow.data.sources import locate

    broken = np.ones((6, 2), np.float32)
    broken[2, 1] = np.nan
    store("arm/reach-v0", [episode(3), episode(5, seen=broken), episode(4)])
    for how, episodes, transitions in (("drop", 2, 7), ("cut", 3, 8)):
        dataset, told = clean(locate("arm/reach-v0"), Cleaning(how))
        assert (dataset.episodes, len(dataset)) == (episodes, transitions)
        assert told["not_finite"]["episodes"] == 1
    with pytest.raises(InputError, match="observations is not finite in row 6"):
        load_dataset("arm/reach-v0")
