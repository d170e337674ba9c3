"""A log of an image and a vector a step, in the formats that people have: the same observations, bit for bit."""

import io
import json
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np
import pyarrow
import pytest
import zarr
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from PIL import Image
from pyarrow import parquet

from guidedflow.data.convert import convert
from guidedflow.data.dataset import Dataset
from guidedflow.data.formats.columns import Columns
from guidedflow.data.load import load_dataset, open_dataset, read_dataset
from guidedflow.data.summary import summarize
from guidedflow.data.validation import validate
from guidedflow.errors import InputError
from guidedflow.packing import PartShapes, unpacked

EPISODES, LENGTH = 3, 5
SHAPE = PartShapes.of({"image": (6, 5, 3), "joints": (2,), "gripper": (1,)})
WORDS = ("actions=act", "rewards=0", "terminals=none", "episodes=run")
SEEN = ("observations=joints+image+gripper", *WORDS)
Log = dict[str, Any]


@pytest.fixture(scope="module")
def log() -> Log:
    random, rows = np.random.default_rng(0), EPISODES * LENGTH
    return {
        "image": random.integers(0, 256, (rows, 6, 5, 3), np.uint8),
        "joints": random.normal(size=(rows, 2)),
        "gripper": random.normal(size=rows),
        "act": random.uniform(-0.9, 0.9, (rows, 2)).astype(np.float32),
        "run": np.arange(rows) // LENGTH,
    }


def npz(log: Log, folder: Path) -> tuple[Path, tuple[str, ...]]:
    np.savez(folder / "log.npz", **log)
    return folder / "log.npz", SEEN


def hdf5(log: Log, folder: Path) -> tuple[Path, tuple[str, ...]]:
    with h5py.File(folder / "log.hdf5", "w") as file:
        for name, column in log.items():
            file[name if name in ("act", "run") else f"obs/{name}"] = column
    return folder / "log.hdf5", ("observations=obs/joints+obs/image+obs/gripper", *WORDS)


def robomimic(log: Log, folder: Path) -> tuple[Path, tuple[str, ...]]:
    with h5py.File(folder / "demo.hdf5", "w") as file:
        for run in range(EPISODES):
            rows, group = log["run"] == run, file.create_group(f"data/demo_{run}")
            group["actions"] = log["act"][rows]
            for name in ("image", "joints", "gripper"):
                group[f"obs/{name}"] = log[name][rows]
    return folder / "demo.hdf5", ("observations=obs/*", "rewards=0", "terminals=none")


def zarr_group(log: Log, folder: Path) -> tuple[Path, tuple[str, ...]]:
    root = zarr.open_group(str(folder / "log.zarr"), mode="w", zarr_format=2)
    for name in ("image", "joints", "gripper"):
        root.create_array(f"data/{name}", data=log[name], chunks=(4, *log[name].shape[1:]))
    root.create_array("data/action", data=log["act"], chunks=(4, 2))
    root.create_array("meta/episode_ends", data=np.arange(1, EPISODES + 1) * LENGTH)
    return folder / "log.zarr", ("observations=data/image+data/joints+data/gripper", "rewards=0", "terminals=none")


def lerobot(log: Log, folder: Path) -> tuple[Path, tuple[str, ...]]:
    """Pictures are stored as PNG files in a column of Parquet's."""

    def stored(image: Any) -> dict[str, Any]:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        return {"bytes": buffer.getvalue(), "path": None}

    for path in (folder / "meta/episodes/chunk-000", folder / "data/chunk-000"):
        path.mkdir(parents=True)
    rows = len(log["run"])
    info = {"codebase_version": "v3.0", "total_frames": rows, "total_episodes": EPISODES, "features": {}}
    info["data_path"] = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    (folder / "meta/info.json").write_text(json.dumps(info))
    columns = {
        "joints": list(log["joints"]), "gripper": log["gripper"], "image": [stored(each) for each in log["image"]],
        "action": list(log["act"]), "episode_index": log["run"], "frame_index": np.arange(rows) % LENGTH,
        "index": np.arange(rows),
    }  # fmt: skip
    parquet.write_table(pyarrow.table(columns), folder / "data/chunk-000/file-000.parquet")
    listed = {"episode_index": np.arange(EPISODES)}
    listed |= {f"data/{kind}_index": np.zeros(EPISODES, int) for kind in ("chunk", "file")}
    parquet.write_table(pyarrow.table(listed), folder / "meta/episodes/chunk-000/file-000.parquet")
    return folder, ("observations=joints+image+gripper", "rewards=0", "terminals=none")


@pytest.fixture(scope="module")
def expected(log: Log, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path, words = npz(log, tmp_path_factory.mktemp("log"))
    return load_dataset("arm", path, columns=Columns.parse(words))


def test_columns_become_parts_and_images_stay_bytes(log: Log, expected: Dataset) -> None:
    parts = unpacked(expected.observations)
    assert expected.observation_shape == SHAPE
    np.testing.assert_array_equal(parts["image"], log["image"])
    np.testing.assert_array_equal(parts["joints"], log["joints"].astype(np.float32))
    assert summarize(expected)["observations"]["image"]["type"] == "uint8"


@pytest.mark.parametrize("write", [npz, hdf5, robomimic, zarr_group, lerobot])
def test_one_log_gives_the_same_observations_in_each_format(
    write: Any, log: Log, expected: Dataset, tmp_path: Path
) -> None:
    path, words = write(log, tmp_path)
    found = load_dataset("arm", path, columns=Columns.parse(words))
    assert found.fingerprint == expected.fingerprint
    problems = validate(path, columns=Columns.parse(words))
    assert not problems.errors, [str(problem) for problem in problems.errors]


@pytest.mark.parametrize("name", ["there.npz", "there.hdf5", "there.mapped", "there"])
def test_a_converted_copy_holds_the_same(name: str, expected: Dataset, tmp_path: Path) -> None:
    found = open_dataset("arm", convert(expected, tmp_path / name))
    assert found.observation_shape == expected.observation_shape
    if name == "there":  # Minari has no place for the action of an episode's final row
        assert isinstance(found, Dataset)
        np.testing.assert_array_equal(found.observations, expected.observations)
    else:
        assert found.fingerprint == expected.fingerprint


def test_a_dictionary_of_minari_with_an_image_is_its_parts(log: Log, tmp_path: Path) -> None:
    space = gymnasium.spaces.Dict(
        arm=gymnasium.spaces.Dict(joints=gymnasium.spaces.Box(-9, 9, (2,), np.float64)),
        image=gymnasium.spaces.Box(0, 255, (6, 5, 3), np.uint8),
    )
    (tmp_path / "data").mkdir()
    box = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    storage = MinariStorage.new(tmp_path / "data", space, box, data_format="hdf5", jpeg_encoding=False)
    seen = {"arm": {"joints": log["joints"][:5]}, "image": log["image"][:5]}
    flags = np.zeros(4, bool), np.arange(4) == 3
    storage.update_episodes(
        [
            EpisodeBuffer(
                observations=seen,
                actions=log["act"][:4],
                rewards=np.zeros(4),
                terminations=flags[0],
                truncations=flags[1],
            )
        ]
    )
    storage.update_metadata({"dataset_id": "arm/seen-v0", "minari_version": __import__("minari").__version__})
    found = read_dataset("arm/seen-v0", tmp_path)
    parts = unpacked(found.observations)
    np.testing.assert_array_equal(parts["image"], log["image"][:5])
    np.testing.assert_array_equal(parts["arm/joints"], log["joints"][:5].astype(np.float32))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"image": np.zeros((15, 6, 5, 3))}, "'image' must be numbers.* or images in bytes.*float64"),
        ({"image": np.zeros((14, 6, 5, 3), np.uint8)}, "'image' must have 15 rows"),
        ({"joints": np.full((15, 2), np.nan)}, "observations is not finite in row 0"),
    ],
)
def test_parts_that_no_network_takes_are_refused(changes: Log, told: str, log: Log, tmp_path: Path) -> None:
    path, words = npz(log | changes, tmp_path)
    with pytest.raises(InputError, match=told):
        load_dataset("arm", path, columns=Columns.parse(words))
