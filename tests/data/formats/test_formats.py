"""One log in the formats that people have: the same transitions, bit for bit."""

import io
import json
import os
import pickle
import shutil
import subprocess
import sys

import h5py
import hdf5plugin
import numpy as np
import pyarrow
import pytest
import zarr
from PIL import Image
from pyarrow import csv, parquet

from guidedflow.data.convert import convert
from guidedflow.data.formats.columns import Columns
from guidedflow.data.load import load_dataset, open_dataset, read_parts
from guidedflow.data.validation import validate
from guidedflow.errors import InputError

EPISODES, LENGTH = 12, 10
WORDS = ("observations=obs", "actions=act", "rewards=pay", "terminals=solved", "episodes=run")
LEROBOT = {
    "obs": "observation.state", "act": "action", "pay": "next.reward", "solved": "next.success",
    "run": "episode_index", "step": "frame_index",
}  # fmt: skip


@pytest.fixture(scope="module")
def log():
    """Runs of ten steps whose numbers have no short decimals; every third one ends solved."""
    random, rows = np.random.default_rng(0), EPISODES * LENGTH
    steps = np.arange(rows)
    return {
        "obs": random.normal(size=(rows, 3)).astype(np.float32),
        "act": random.uniform(-0.9, 0.9, (rows, 2)).astype(np.float32),
        "pay": random.normal(size=rows).astype(np.float32),
        "solved": (steps % LENGTH == LENGTH - 1) & (steps // LENGTH % 3 == 0),
        "run": steps // LENGTH,
        "step": steps % LENGTH,
    }


def npz(log, folder):
    np.savez(folder / "log.npz", **log)
    return folder / "log.npz", WORDS


def hdf5(log, folder, **how):
    with h5py.File(folder / "log.hdf5", "w") as file:
        for name, column in log.items():
            file.create_dataset(name, data=column, **how)
    return folder / "log.hdf5", WORDS


def compressed(log, folder):
    return hdf5(log, folder, **hdf5plugin.Zstd())


def table(log):
    return pyarrow.table({name: list(column) if column.ndim > 1 else column for name, column in log.items()})


def parquet_file(log, folder):
    parquet.write_table(table(log), folder / "log.parquet")
    return folder / "log.parquet", WORDS


def csv_folder(log, folder):
    """A file a run, a column a number, and runs that are told apart by their files alone."""
    (folder / "runs").mkdir()
    for run in range(EPISODES):
        rows = log["run"] == run
        columns = {f"q{index}": log["obs"][rows, index] for index in range(3)}
        columns |= {f"u_{index}": log["act"][rows, index] for index in range(2)}
        columns |= {"pay": log["pay"][rows], "solved": log["solved"][rows]}
        csv.write_csv(pyarrow.table(columns), folder / f"runs/run_{run}.csv")
    return folder / "runs", ("observations=q*", "actions=u_{0..1}", "rewards=pay", "terminals=solved")


def robomimic(log, folder):
    with h5py.File(folder / "demo.hdf5", "w") as file:
        for run in range(EPISODES):
            rows, group = log["run"] == run, file.create_group(f"data/demo_{run}")
            group["actions"], group["rewards"] = log["act"][rows], log["pay"][rows]
            group["dones"], group["solved"] = np.eye(1, LENGTH, LENGTH - 1)[0], log["solved"][rows]
            group["obs/pos"], group["obs/quat"] = log["obs"][rows, :2], log["obs"][rows, 2:]
    return folder / "demo.hdf5", ("terminals=solved",)


def zarr_group(log, folder):
    root = zarr.open_group(str(folder / "log.zarr"), mode="w", zarr_format=2)
    for name, key in (("action", "act"), ("state", "obs"), ("reward", "pay"), ("solved", "solved")):
        root.create_array(f"data/{name}", data=log[key], chunks=(16,) * log[key].ndim)
    root.create_array("meta/episode_ends", data=np.arange(1, EPISODES + 1) * LENGTH)
    return folder / "log.zarr", ("terminals=data/solved",)


def lerobot(log, folder, shuffled=False):
    """As in the Hugging Face cache: each file is a link into a folder of blobs."""
    home, blobs = folder / "snapshot", folder / "blobs"
    for path in (blobs, home / "meta/episodes/chunk-000", home / "data/chunk-000"):
        path.mkdir(parents=True, exist_ok=True)
    info = {"codebase_version": "v3.0", "total_frames": len(log["pay"]), "total_episodes": EPISODES, "features": {}}
    info["data_path"] = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    (blobs / "info").write_text(json.dumps(info))
    order = np.random.default_rng(0).permutation(len(log["pay"])) if shuffled else slice(None)
    columns = {LEROBOT[name]: column[order] for name, column in log.items()}
    columns["index"] = np.arange(len(log["pay"]))[order]
    parquet.write_table(table(columns), blobs / "rows")
    listed = {"episode_index": np.arange(EPISODES)}
    listed |= {f"data/{kind}_index": np.zeros(EPISODES, int) for kind in ("chunk", "file")}
    parquet.write_table(pyarrow.table(listed), blobs / "episodes")
    links = {"meta/info.json": "info", "data/chunk-000/file-000.parquet": "rows"}
    links["meta/episodes/chunk-000/file-000.parquet"] = "episodes"
    for name, blob in links.items():
        (home / name).symlink_to(blobs / blob)
    return home, ()


FORMATS = [npz, hdf5, compressed, parquet_file, csv_folder, robomimic, zarr_group, lerobot]


def columns_of(words):
    return Columns.parse(words) if words else None


@pytest.mark.parametrize("write", FORMATS)
def test_one_log_gives_the_same_transitions_in_each_format(write, log, tmp_path):
    expected = load_dataset("arm", npz(log, tmp_path)[0], columns=Columns.parse(WORDS))
    assert (expected.episodes, len(expected)) == (EPISODES, EPISODES * (LENGTH - 1) + EPISODES // 3)
    (tmp_path / "made").mkdir()
    path, words = write(log, tmp_path / "made")
    found = load_dataset("arm", path, columns=columns_of(words))
    assert found.fingerprint == expected.fingerprint
    problems = validate(path, columns=columns_of(words))
    assert not problems.errors, [str(problem) for problem in problems.errors]
    back = open_dataset(convert(read_parts("arm", path, columns=columns_of(words)), tmp_path / "there.mapped"))
    assert back.fingerprint == expected.fingerprint


@pytest.mark.parametrize(("form", "suffix"), [(3, ".zarr"), (2, ".other")])
def test_both_formats_of_zarr_are_read_whatever_the_folder_is_called(form, suffix, log, tmp_path):
    root = zarr.open_group(str(tmp_path / f"log{suffix}"), mode="w", zarr_format=form)
    for name, column in log.items():
        root.create_array(name, data=column)
    found = load_dataset("arm", tmp_path / f"log{suffix}", columns=Columns.parse(WORDS))
    assert found.fingerprint == load_dataset("arm", npz(log, tmp_path)[0], columns=Columns.parse(WORDS)).fingerprint


def test_rows_of_lerobots_are_put_in_order_or_refused(log, tmp_path):
    expected = load_dataset("arm", lerobot(log, tmp_path / "tidy")[0]).fingerprint
    assert load_dataset("arm", lerobot(log, tmp_path / "untidy", shuffled=True)[0]).fingerprint == expected
    gap = log | {"step": np.where(log["step"] > 4, log["step"] + 1, log["step"])}
    with pytest.raises(
        InputError, match="'frame_index' must count the steps of an episode without a gap, found 6 after"
    ):
        load_dataset("arm", lerobot(gap, tmp_path / "gap")[0])
    assert validate(lerobot(gap, tmp_path / "again")[0]).errors


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"total_frames": 7}, "must hold as many steps as its metadata says, 7"),
        ({"total_episodes": 7}, "must hold as many episodes as its metadata says, 7"),
        ({"features": {"action": {"shape": [5]}}}, r"must have the shape that meta/info.json says, \[5\]"),
    ],
)
def test_what_lerobots_metadata_say_is_checked_before_training_too(change, sentence, log, tmp_path):
    folder, _ = lerobot(log, tmp_path)
    info = json.loads((folder / "meta/info.json").read_text()) | change
    (folder / "meta/info.json").unlink()
    (folder / "meta/info.json").write_text(json.dumps(info))
    with pytest.raises(InputError, match=sentence):
        load_dataset("arm", folder)


def test_episodes_that_are_all_numbered_0_are_not_joined(log, tmp_path):
    folder, _ = lerobot(log | {"run": np.zeros_like(log["run"])}, tmp_path)
    with pytest.raises(InputError, match="must hold as many episodes as its metadata says, 12, found 1"):
        load_dataset("arm", folder)


def test_pictures_in_parquet_are_images_and_depths_are_told(log, tmp_path):
    folder, _ = lerobot(log, tmp_path)
    pictures = np.random.default_rng(0).integers(0, 255, (len(log["pay"]), 8, 6, 3), np.uint8)
    files = []
    for picture in pictures:
        Image.fromarray(picture).save(file := io.BytesIO(), "PNG")
        files.append({"bytes": file.getvalue(), "path": None})
    rows = parquet.read_table(tmp_path / "blobs/rows")
    parquet.write_table(rows.append_column("observation.images.top", pyarrow.array(files)), tmp_path / "blobs/rows")
    info = json.loads((folder / "meta/info.json").read_text())
    info["features"] = {
        "observation.images.top": {"dtype": "image", "shape": [8, 6, 3]},
        "observation.images.depth": {"dtype": "video", "shape": [8, 6, 3], "info": {"video.is_depth_map": True}},
    }
    (tmp_path / "blobs/info").write_text(json.dumps(info))
    told = Columns.parse(["observations=observation.images.top"])
    dataset = load_dataset("arm", folder, columns=told)
    assert dataset.observations.dtype == np.uint8
    np.testing.assert_array_equal(dataset.observations[:LENGTH], pictures[:LENGTH])
    assert not validate(folder, columns=told).errors
    with pytest.raises(
        InputError,
        match=r"'observation\.images\.depth' must be there, .* found a video of depths .*, which is not read",
    ):
        load_dataset("arm", folder, columns=Columns.parse(["observations=observation.images.depth"]))


def test_words_tell_episodes_apart(log, tmp_path):
    names = np.array(["pick", "place"])[log["run"] % 2]
    expected = load_dataset("arm", npz(log, tmp_path)[0], columns=Columns.parse(WORDS)).fingerprint
    for write in (npz, parquet_file, hdf5):
        column = names.astype("S") if write is hdf5 else names
        path, words = write(log | {"run": column}, tmp_path)
        assert load_dataset("arm", path, columns=Columns.parse(words)).fingerprint == expected
        assert not validate(path, columns=Columns.parse(words)).errors


def test_a_toml_file_names_the_columns(log, tmp_path):
    path, _ = npz(log | {"q1": log["obs"][:, 0], "q2": log["obs"][:, 1], "q10": log["obs"][:, 2]}, tmp_path)
    (tmp_path / "arm.toml").write_text(
        'observations = ["q*"]\nactions = "act"\nrewards = -1\nterminals = "solved"\nepisodes = "run"\n'
    )
    found = load_dataset("arm", path, columns=Columns.parse([str(tmp_path / "arm.toml")]))
    assert (found.rewards[~found.last] == -1).all()
    np.testing.assert_array_equal(found.observations[0], log["obs"][0])  # q2 before q10
    (tmp_path / "arm.toml").write_text("observations = [")
    with pytest.raises(InputError, match=r"arm\.toml must be TOML, found damage"):
        Columns.parse([str(tmp_path / "arm.toml")])


def test_a_success_flag_is_reward_and_end_of_the_task(log, tmp_path):
    path, _ = npz(log, tmp_path)
    told = Columns.parse([word.replace("=pay", "=solved") for word in WORDS])
    found = load_dataset("arm", path, columns=told)
    np.testing.assert_array_equal(found.rewards, np.where(found.last, 0, 1 - found.masks))
    assert not validate(path, columns=told).errors


def test_a_missing_filter_is_named_with_its_package(log, tmp_path):
    """In a process of its own, since a filter that was registered stays."""
    path, words = compressed(log, tmp_path)
    program = f"""
import sys
sys.modules["hdf5plugin"] = None
from guidedflow.data.formats.columns import Columns
from guidedflow.data.load import load_dataset
from guidedflow.errors import InputError
try:
    load_dataset("arm", {str(path)!r}, columns=Columns.parse({words!r}))
except InputError as error:
    assert "compression by zstd (filter 32015): install it by pip install hdf5plugin" in str(error), error
else:
    sys.exit("it was read")
"""
    subprocess.run([sys.executable, "-c", program], check=True)


class Bomb:
    """A pickle of it makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("form", [2, 3])
def test_objects_in_zarr_are_never_decoded(form, tmp_path, log):
    root = zarr.open_group(str(tmp_path / "log.zarr"), mode="w", zarr_format=form)
    for name, column in log.items():
        root.create_array(name, data=column, chunks=column.shape)
    described = tmp_path / f"log.zarr/act/{'.zarray' if form == 2 else 'zarr.json'}"
    told = json.loads(described.read_text())
    if form == 2:
        told["compressor"] = {"id": "pickle"}
    else:
        told["codecs"] = [{"name": "numcodecs.pickle", "configuration": {}}]
    described.write_text(json.dumps(told))
    (tmp_path / f"log.zarr/act/{'0.0' if form == 2 else 'c/0/0'}").write_bytes(
        pickle.dumps(Bomb(tmp_path / "exploded"))
    )
    with pytest.raises(InputError, match=r"never decoded|must be a complete zarr group"):
        load_dataset("arm", tmp_path / "log.zarr", columns=Columns.parse(WORDS))
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda folder: (folder / "run_3.csv").write_text("q0,q1,q2,u_0\n1,2,3,4\n"),
            "must be readable in each episode",
        ),
        (lambda folder: np.savez(folder / "extra.npz", a=[1]), "must hold one file an episode, all ending in one of"),
        (lambda folder: (folder / "run_0.csv").write_text("1,2,3\n4,5,6\n"), "must begin with a line of the columns'"),
    ],
)
def test_a_folder_of_episodes_that_is_not_one_is_one_sentence(spoil, sentence, log, tmp_path):
    path, words = csv_folder(log, tmp_path)
    spoil(path)
    with pytest.raises(InputError, match=sentence) as told:
        load_dataset("arm", path, columns=Columns.parse(words))
    assert "\n" not in str(told.value)
    assert validate(path, columns=Columns.parse(words)).errors


def test_ends_that_do_not_ascend_to_the_last_row_are_refused(log, tmp_path):
    path, _ = zarr_group(log, tmp_path)
    shutil.rmtree(path / "meta")
    zarr.open_group(str(path), mode="a").create_array("meta/episode_ends", data=np.array([10, 5]))
    with pytest.raises(InputError, match=r"'meta/episode_ends' must be whole numbers that ascend to 120"):
        load_dataset("arm", path, columns=Columns.parse(["terminals=data/solved"]))
    assert "episode-ends" in {p.kind for p in validate(path, columns=Columns.parse(["terminals=data/solved"])).errors}
