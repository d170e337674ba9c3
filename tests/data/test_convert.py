"""There and back is the identity, and nothing half-written is left."""

import dataclasses
from pathlib import Path

import minari
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_data import line

from guidedflow.cli import main
from guidedflow.data.convert import convert
from guidedflow.data.dataset import Dataset
from guidedflow.data.load import open_dataset, read_dataset
from guidedflow.data.sources import named
from guidedflow.errors import InputError

PLACES = {"npz": "made.npz", "hdf5": "made.h5", "minari": "made", "minari-arrow": "made"}


def episodes(lengths, terminated=(), pixels=False):
    """Rows that tell where they are; the last steps of the episodes `terminated` do not bootstrap."""
    rows = sum(lengths) + len(lengths)
    ends = np.cumsum(np.array(lengths) + 1) - 1
    generator = np.random.default_rng(rows)
    observations = generator.normal(size=(rows, 3)).astype(np.float32)
    masks = np.ones(rows, np.float32)
    masks[[ends[i] - 1 for i in terminated if i < len(lengths) and lengths[i]]] = 0
    return Dataset(
        name="counted-v0",
        observations=generator.integers(0, 255, (rows, 4, 4, 3), np.uint8) if pixels else observations,
        actions=generator.uniform(-2, 2, (rows, 2)).astype(np.float32),
        rewards=generator.normal(size=rows).astype(np.float32),
        masks=masks,
        last=np.isin(np.arange(rows), ends),
    )


@pytest.mark.parametrize("to", PLACES)
@settings(deadline=None, max_examples=4)
@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4), terminated=st.sets(st.integers(0, 3)))
def test_there_and_back_is_the_identity(tmp_path_factory, to, lengths, terminated):
    dataset = episodes(lengths, terminated)
    back = read_dataset(dataset.name, convert(dataset, tmp_path_factory.mktemp("made") / PLACES[to], to))
    same(back, dataset)
    if not to.startswith("minari"):
        assert back.fingerprint == dataset.fingerprint


def test_a_goal_conditioned_name_stays_so_in_any_format_unless_its_goals_are_computed(tmp_path):
    dataset = dataclasses.replace(episodes([3, 2]), name="pointmaze-medium-navigate-v0")
    dataset = dataclasses.replace(dataset, goals=dataset.observations)
    for to, place in {**PLACES, "mapped": "made.mapped"}.items():
        back = read_dataset(dataset.name, convert(dataset, tmp_path / to / place, to))
        assert back.goals is back.observations
    assert open_dataset(dataset.name, tmp_path / "mapped" / "made.mapped").goal_conditioned
    assert read_dataset("my-maze", tmp_path / "npz" / PLACES["npz"]).goals is None
    oracle = dataclasses.replace(dataset, name="pointmaze-medium-navigate-oraclerep-v0", goals=dataset.actions)
    with pytest.raises(InputError, match="have no place in another format"):
        convert(oracle, tmp_path / "oracle.npz")
    with pytest.raises(InputError, match="take whole observations as goals by the task 'pointmaze-medium-navigate-v0'"):
        read_dataset(oracle.name, convert(episodes([3, 2]), tmp_path / "plain.npz"))


@pytest.mark.parametrize("to", [*PLACES, "mapped"])
def test_what_was_converted_for_one_task_is_refused_for_another(tmp_path, to):
    first, second = (f"cube-single-play-singletask-task{number}-v0" for number in (1, 2))
    place = convert(dataclasses.replace(episodes([3, 2]), name=first), tmp_path / {**PLACES, "mapped": "m.mapped"}[to])
    assert read_dataset(first, place).name == first
    with pytest.raises(InputError, match=f"was converted for {first}, whose rewards are not those of {second}"):
        read_dataset(second, place)
    if not to.startswith("minari"):
        assert named(str(place)) == (first, place)


def same(found, expected):
    """The same transitions in the same episodes."""
    steps = ~expected.last
    np.testing.assert_array_equal(found.last, expected.last)
    np.testing.assert_array_equal(found.observations, expected.observations)
    for column in ("actions", "rewards", "masks"):
        np.testing.assert_array_equal(getattr(found, column)[steps], getattr(expected, column)[steps])


@pytest.mark.parametrize("to", PLACES)
def test_a_relative_path_is_as_good(tmp_path, to, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = episodes([3, 2])
    same(read_dataset(dataset.name, convert(dataset, Path("new") / PLACES[to], to)), dataset)


@pytest.mark.parametrize("to", ["npz", "hdf5", "minari"])
def test_images_stay_bytes(tmp_path, to):
    dataset = episodes([2, 3], pixels=True)
    same(read_dataset(dataset.name, convert(dataset, tmp_path / PLACES[to], to)), dataset)


def test_minaris_box_holds_the_actions_as_they_were_recorded(tmp_path):
    dataset = episodes([3, 2])
    steps = ~dataset.last
    dataset.actions[steps, 1] = 0.5
    read = minari.MinariDataset(convert(dataset, tmp_path / "made") / "data").action_space
    wide = dataset.actions[steps, 0]
    np.testing.assert_array_equal(read.low, [min(-1, wide.min()), -1])
    np.testing.assert_array_equal(read.high, [max(1, wide.max()), 1])
    assert np.abs(wide).max() > 1


def test_from_one_format_to_the_next_and_back(tmp_path):
    dataset, path = episodes([3, 1, 4], terminated=[0, 2]), None
    for to in (*PLACES, "npz"):
        path = convert(
            dataset if path is None else read_dataset("counted-v0", path), tmp_path / f"{to}-{path is None}", to
        )
    same(read_dataset("counted-v0", path), dataset)


def test_the_suffix_tells_the_format(tmp_path):
    dataset = episodes([2])
    assert convert(dataset, tmp_path / "a" / "made.hdf5").read_bytes()[:4] == b"\x89HDF"
    assert (convert(dataset, tmp_path / "made") / "data" / "main_data.hdf5").is_file()
    with pytest.raises(InputError, match="has no known suffix: say the format by --to"):
        convert(dataset, tmp_path / "made.csv")


def test_what_exists_is_never_replaced(tmp_path):
    dataset = episodes([2])
    for name in ("made.npz", "made"):
        path = convert(dataset, tmp_path / name)
        with pytest.raises(InputError, match="exists: remove it, or choose another place"):
            convert(dataset, path)


@pytest.mark.parametrize("to", ["npz", "hdf5"])
def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch, to):
    def full(*arguments, **settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        convert(episodes([2]), tmp_path / PLACES[to], to)
    assert list(tmp_path.iterdir()) == []


def test_minari_has_no_half_masks(tmp_path):
    dataset = episodes([2])
    dataset.masks[0] = 0.5
    with pytest.raises(InputError, match="only masks of 0 and 1"):
        convert(dataset, tmp_path / "made")
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_leaves_no_folder_that_was_made_for_it(tmp_path):
    place = tmp_path / "new" / "newer"
    with pytest.raises(InputError, match="Minari has no place for weights"):
        convert(dataclasses.replace(episodes([2]), weights=np.ones(3, np.float32)), place / "made")
    with pytest.raises(InputError, match="parts must have rows of shape"):
        convert([episodes([2]), episodes([2], pixels=True)], place / "made.mapped")
    assert list(tmp_path.iterdir()) == []


def test_weighing_by_advantage_adds_a_column_that_training_follows(tmp_path: Path) -> None:
    convert(line(), tmp_path / "line.npz")
    settings = "--steps 5 --rounds 1 --batch-size 8 --hidden 4"
    main(f"data weigh {tmp_path}/line.npz {tmp_path}/weighed.npz {settings}".split())
    with np.load(tmp_path / "weighed.npz") as file:
        weights = file["weights"]
    assert weights.sum() == pytest.approx(len(line()), rel=1e-4)
    assert np.all(weights[line().last] == 0)
