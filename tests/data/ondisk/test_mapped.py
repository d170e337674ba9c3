"""A dataset on disk is the dataset: the same columns and fingerprint, however many parts it was written in."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_data import episodes

from guidedflow.data.ondisk import mapper
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.summary import episodes as episodes_of
from guidedflow.data.summary import summarize
from guidedflow.errors import InputError

lengths = st.lists(st.integers(0, 6), min_size=1, max_size=8)


def pieces(dataset, cuts):
    """The dataset in parts of whole episodes."""
    edges = [0, *(np.flatnonzero(dataset.last)[sorted(cuts)] + 1), len(dataset.last)]
    for begin, stop in itertools.pairwise(edges):
        if begin < stop:
            columns = {name: column[begin:stop] for name, column in dataset._columns().items()}
            yield dataclasses.replace(dataset, **columns)


@settings(deadline=None, max_examples=30)
@given(lengths, st.booleans(), st.booleans(), st.data())
def test_there_and_back_is_the_identity(tmp_path_factory, lengths, pixels, weighted, data):
    dataset = episodes(lengths, pixels)
    if weighted:
        dataset = dataclasses.replace(dataset, weights=dataset.actions[:, 0])
    cuts = data.draw(st.sets(st.integers(0, len(lengths) - 1)))
    path = mapper.write(pieces(dataset, cuts), tmp_path_factory.mktemp("made") / "data", "counted")
    opened = Mapped.open(path)
    assert (len(opened), opened.episodes, opened.name) == (len(dataset), dataset.episodes, dataset.name)
    assert opened.fingerprint == dataset.fingerprint == opened.read().fingerprint
    assert opened.read()._columns().keys() == dataset._columns().keys()
    np.testing.assert_array_equal(opened.ends, np.flatnonzero(dataset.last))
    np.testing.assert_array_equal(opened.returns, episodes_of(dataset)[1])
    told = opened.manifest["columns"]["observations"]
    assert (told["least"], told["greatest"]) == (0, dataset.observations.max())
    for key, entry in opened.summary().items():
        if key not in ("source", "observations"):
            whole = summarize(dataset)[key]
            if isinstance(entry, dict):
                whole = {name: pytest.approx(whole[name]) for name in entry}
            assert entry == whole


def test_columns_are_arrays_that_numpy_maps(tmp_path):
    dataset = episodes([3, 2])
    path = mapper.write([dataset], tmp_path / "data", "counted")
    column = np.load(path / "observations.npy", mmap_mode="r", allow_pickle=False)
    np.testing.assert_array_equal(column, dataset.observations)
    np.testing.assert_array_equal(Mapped.open(path).rows("rewards", 2, 4), dataset.rewards[2:4])
    assert {file.name for file in path.iterdir()} == {
        "manifest.json", "observations.npy", "actions.npy", "rewards.npy", "masks.npy", "last.npy", "ends.npy",
        "returns.npy",
    }  # fmt: skip


def test_parts_of_other_shapes_and_a_full_disk_leave_nothing(tmp_path, monkeypatch):
    small = episodes([2])
    wide = dataclasses.replace(small, actions=np.zeros((3, 2), np.float32))
    with pytest.raises(InputError, match=r"actions: parts must have rows of shape \(1,\) and type float32"):
        mapper.write([small, wide], tmp_path / "data", "counted")
    with pytest.raises(InputError, match="there is nothing to write"):
        mapper.write([], tmp_path / "data", "counted")

    def full(*arguments, **settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="No space left on device; nothing half-written is left"):
        mapper.write([small], tmp_path / "data", "counted")
    assert list(tmp_path.iterdir()) == []


def broken_manifest(path, **changes):
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | changes))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda path: (path / "rewards.npy").unlink(), "rewards.npy must be a column of the dataset, found damage"),
        (lambda path: (path / "rewards.npy").write_bytes(b""), "rewards.npy must be a column of the dataset"),
        (
            lambda path: np.save(path / "rewards.npy", np.array([{}] * 4), allow_pickle=True),
            "rewards.npy must be a column of the dataset, found damage",
        ),
        (lambda path: np.save(path / "rewards.npy", np.zeros(3, np.float32)), r"have shape and type \(\[4\], '<f4'\)"),
        (lambda path: (path / "manifest.json").write_text("{"), "its manifest.json is not JSON"),
        (lambda path: (path / "manifest.json").write_text("[]"), "has no entry 'guidedflow_data'"),
        (lambda path: (path / "manifest.json").unlink(), "manifest.json cannot be read"),
        (lambda path: broken_manifest(path, guidedflow_data=9), "has format 9; this version of guidedflow reads 1"),
        (lambda path: broken_manifest(path, columns={"../../etc/passwd": {}}), "must tell name, sizes, types"),
        (lambda path: broken_manifest(path, transitions=7), "must tell name, sizes, types"),
        (lambda path: broken_manifest(path, columns=None), "must tell name, sizes, types"),
    ],
)  # fmt: skip
def test_damage_is_one_sentence(tmp_path, damage, sentence):
    path = mapper.write([episodes([3])], tmp_path / "data", "counted")
    damage(path)
    with pytest.raises(InputError, match=sentence) as caught:
        Mapped.open(path)
    assert "\n" not in str(caught.value)


def test_a_column_that_is_cut_off_while_open_is_told(tmp_path):
    path = mapper.write([episodes([30])], tmp_path / "data", "counted")
    opened = Mapped.open(path)
    with (path / "observations.npy").open("r+b") as file:
        file.truncate(140)
    with pytest.raises(InputError, match=r"observations.npy must be a column of the dataset"):
        opened.rows("observations", 0, 20)
