"""Each kind of malformed dataset is told apart, in a sentence of its own, without a traceback and without a trace."""

import functools
import io
import json
import os
import pickle
import shutil
import tempfile
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from tiny_film import encode

from guidedflow import cli, environments
from guidedflow.cli import main
from guidedflow.data.convert import convert
from guidedflow.data.dataset import Dataset
from guidedflow.data.formats.columns import Columns
from guidedflow.data.load import read_dataset
from guidedflow.data.sampling.cutting import Cutting
from guidedflow.data.sources import Origin
from guidedflow.data.validation import container, validate
from guidedflow.data.validation.kinds import GROUPS, KINDS
from guidedflow.data.validation.problem import Problems
from guidedflow.errors import InputError

WORDS = ("observations=obs", "actions=act", "rewards=pay", "terminals=solved", "episodes=run")
EPISODES, LENGTH = 12, 20
CUBE = "cube-single-noisy-v0"


def log(**changed):
    """A good recording: a dozen episodes of twenty steps, each of them solved."""
    rng, rows = np.random.default_rng(0), EPISODES * LENGTH
    step = np.arange(rows) % LENGTH
    columns = {
        "obs": rng.normal(size=(rows, 3)).astype(np.float32),
        "act": rng.uniform(-0.9, 0.9, (rows, 2)).astype(np.float32),
        "pay": rng.normal(size=rows).astype(np.float32),
        "solved": step == LENGTH - 1,
        "run": np.repeat(np.arange(EPISODES), LENGTH),
    }
    for name, change in changed.items():
        columns[name] = change(columns[name]) if callable(change) else change
    return {name: column for name, column in columns.items() if column is not None}


def at(row, value):
    """A column with one row replaced."""

    def change(column):
        column = column.copy()
        column[row] = value
        return column

    return change


def npz(folder, columns=None, name="log.npz"):
    np.savez(folder / name, **(log() if columns is None else columns))
    return folder / name


def hdf5(folder, columns=None, name="log.hdf5"):
    with h5py.File(folder / name, "w") as file:
        for key, column in (log() if columns is None else columns).items():
            file[key] = column
    return folder / name


def own(folder, *words, drop=(), **changed):
    """A recording with changes, and the words that name its columns."""
    path = npz(folder, log(**changed))
    roles = {word.partition("=")[0] for word in words} | set(drop)
    return [path, "--columns", *[word for word in WORDS if word.partition("=")[0] not in roles], *words]


def raw(contents, name="log.npz"):
    """A file of these bytes."""

    def make(folder):
        (folder / name).write_bytes(contents)
        return [folder / name]

    return make


def cut(path, size=200):
    path.write_bytes(path.read_bytes()[:-size])
    return [path, "--columns", *WORDS]


def changed_bytes(path, column):
    """The recording with one byte of a column's data changed."""
    whole = bytearray(path.read_bytes())
    place = whole.find(log()[column].tobytes())
    assert place > 0
    whole[place + 5] ^= 0xFF
    path.write_bytes(whole)
    return [path, "--columns", *WORDS]


def forged(folder):
    """A column whose header promises a terabyte."""
    path = npz(folder, log(act=None))
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": (2**38, 2)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("act.npy", member.getvalue())
    return [path, "--columns", *WORDS]


def unknown_filter(folder):
    """A column that is compressed by a filter of a number that nobody has."""
    import hdf5plugin

    path = hdf5(folder, log(act=None))
    with h5py.File(path, "a") as file:
        file.create_dataset("act", data=np.zeros((240, 2), np.float32), **hdf5plugin.Zstd())
    whole = path.read_bytes()
    assert whole.count((32015).to_bytes(2, "little")) == 1
    path.write_bytes(whole.replace((32015).to_bytes(2, "little"), (32099).to_bytes(2, "little")))
    return [path, "--columns", *WORDS]


def hurt(folder):
    """A column whose header is none."""
    path = npz(folder, log(act=None))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("act.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': nobody}")
    return [path, "--columns", *WORDS]


def twice(folder):
    path = npz(folder)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("act.npy", zipfile.ZipFile(path).read("act.npy"))
    return [path, "--columns", *WORDS]


def stranger(folder):
    with zipfile.ZipFile(npz(folder), "a") as archive:
        archive.writestr("README", "what this is")
    return [folder / "log.npz", "--columns", *WORDS]


def ragged(folder):
    table = log(act=[[0.0] * (1 + row % 2) for row in range(EPISODES * LENGTH)])
    table["obs"] = list(table["obs"])
    parquet.write_table(pyarrow.table(table), folder / "log.parquet")
    return [folder / "log.parquet", "--columns", *WORDS]


def linked(make, name="more"):
    """An HDF5 recording with something beside its columns."""

    def build(folder):
        hdf5(folder, {"obs": log()["obs"]}, "other.hdf5")
        with h5py.File(hdf5(folder), "a") as file:
            make(file, name)
        return [folder / "log.hdf5", "--columns", *WORDS]

    return build


def virtual(file, name):
    layout = h5py.VirtualLayout((240, 3), "f4")
    layout[:] = h5py.VirtualSource("other.hdf5", "obs", (240, 3))
    file.create_virtual_dataset(name, layout)


def assign(value):
    def make(file, name):
        file[name] = value(file)

    return make


def stored_outside(file, name):
    file.create_dataset(name, (240,), "f4", external=[("other.hdf5", 0, 960)])


def link(target):
    def make(folder):
        (folder / "log.npz").symlink_to(folder / target)
        return [folder / "log.npz"]

    return make


def pipe(folder):
    os.mkfifo(folder / "log.npz")
    return [folder / "log.npz"]


def plain_folder(folder):
    (folder / "runs").mkdir()
    (folder / "runs" / "notes.txt").write_text("nothing")
    return [folder / "runs"]


def kept_badly(folder):
    path = npz(folder)
    path.with_name("log.npz.columns.json").write_text('{"observation": "obs"}')
    return [path]


def mapped(folder, **changed):
    """The recording as memory-mapped columns."""
    recorded = read_dataset(npz(folder, log(**changed)), columns=Columns.parse(WORDS))
    return [convert(recorded, folder / "log.mapped")]


def d4rl(folder, **changed):
    """A recording in D4RL's layout; every episode is cut off by time, and none is solved."""
    columns = log(obs=lambda seen: seen)
    following = np.roll(columns["obs"], -1, 0)
    made = {
        "observations": columns["obs"],
        "actions": columns["act"],
        "rewards": columns["pay"],
        "terminals": np.arange(240) == 79,
        "timeouts": columns["solved"] & (np.arange(240) != 79),
        "next_observations": following,
    }
    for name, change in changed.items():
        made[name] = change(made[name]) if callable(change) else change
    return [hdf5(folder, made, "hand.hdf5")]


def cube(rows=202, **changed):
    """Two episodes in the layout of OGBench's cube, far from any goal."""
    rng = np.random.default_rng(0)
    shapes = {"observations": 28, "actions": 5, "qpos": 21, "qvel": 20}
    made = {key: rng.uniform(-0.9, 0.9, (rows, width)).astype(np.float32) for key, width in shapes.items()}
    made["terminals"] = np.arange(rows) % (rows // 2) == rows // 2 - 1
    for name, change in changed.items():
        made[name] = change(made[name]) if callable(change) else change
    return made


def ogbench(folder, validation="another", name=CUBE, **changed):
    path = npz(folder, cube(**changed), f"{name}.npz")
    if validation == "same":
        shutil.copy(path, folder / f"{name}-val.npz")
    elif validation is not None:
        other = cube(rows=102) if validation == "another" else cube(rows=102, observations=np.zeros((102, 3)))
        npz(folder, other, f"{name}-val.npz")
    return [path]


def slices(folder, *numbers, spoil=None):
    """A dataset in slices."""
    place = folder / "slices"
    place.mkdir()
    for number in numbers:
        npz(place, cube(actions=lambda a, n=number: a * (1 - n / 9)), f"{CUBE}-{number:03d}.npz")
        npz(place, cube(rows=102), f"{CUBE}-{number:03d}-val.npz")
    if spoil:
        spoil(place)
    return [place, "--task", CUBE]


def copied(place):
    shutil.copy(place / f"{CUBE}-000.npz", place / f"{CUBE}-001.npz")


def narrow(place):
    for name in (f"{CUBE}-001.npz", f"{CUBE}-001-val.npz"):
        npz(place, cube(qvel=lambda speed: speed[:, :3]), name)


@pytest.fixture(scope="session")
def templates(tmp_path_factory):
    """Folders of Minari's and LeRobot's, made once and copied."""
    folder = tmp_path_factory.mktemp("templates")
    columns = log()
    order = np.concatenate([np.append(np.arange(i, i + LENGTH), i) for i in range(0, EPISODES * LENGTH, LENGTH)])
    last = np.arange(len(order)) % (LENGTH + 1) == LENGTH
    made = Dataset(
        "arm/reach-v0",
        columns["obs"][order],
        columns["act"][order],
        columns["pay"][order],
        (~np.append(last[1:], False)).astype(np.float32),
        last,
    )
    convert(made, folder / "reach-v0", "minari")
    images = np.random.default_rng(0).integers(0, 255, (len(order), 32, 32, 3), np.uint8)
    seen = Dataset("arm/see-v0", images, made.actions, made.rewards, made.masks, made.last)
    convert(seen, folder / "see-v0", "minari")
    robot = folder / "robot"
    for place in ("meta/episodes/chunk-000", "data/chunk-000"):
        (robot / place).mkdir(parents=True)
    path = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    info = {"codebase_version": "v3.0", "data_path": path, "total_episodes": EPISODES, "total_frames": 240}
    info["features"] = {"observation.state": {"dtype": "float32", "shape": [3]}}
    (robot / "meta/info.json").write_text(json.dumps(info))
    for file in (0, 1):
        rows = slice(file * 120, file * 120 + 120)
        parquet.write_table(robots({name: column[rows] for name, column in columns.items()}), robot / path.format(chunk_index=0, file_index=file))  # fmt: skip # noqa: E501
    listed = {"episode_index": np.arange(EPISODES), "data/chunk_index": np.zeros(EPISODES, int)}
    listed["data/file_index"] = np.arange(EPISODES) // 6
    parquet.write_table(pyarrow.table(listed), robot / "meta/episodes/chunk-000/file-000.parquet")
    return folder


def robots(columns):
    names = {"obs": "observation.state", "act": "action", "pay": "next.reward", "solved": "next.success"}
    names["run"] = "episode_index"
    return pyarrow.table({names[k]: list(v) if v.ndim > 1 else v for k, v in columns.items()})


def document(path, **changed):
    """A JSON object with changes; None leaves an entry out."""
    told = json.loads(path.read_text()) | changed
    path.write_text(json.dumps({key: value for key, value in told.items() if value is not None}))


class Spoiled:
    """A folder of a suite, copied and changed."""

    def __init__(self, template, change):
        self.template, self.change = template, change

    def __call__(self, folder):
        self.change(folder / self.template)
        return [folder / self.template]


def reach(change):
    return Spoiled("reach-v0", change)


def reach_metadata(**changed):
    return reach(lambda folder: document(folder / "data/metadata.json", **changed))


def robot_info(**changed):
    return Spoiled("robot", lambda folder: document(folder / "meta/info.json", **changed))


def episode(change):
    def spoil(folder):
        with h5py.File(folder / "data/main_data.hdf5", "a") as file:
            change(file)

    return reach(spoil)


def shorten(key):
    def change(file):
        column = file[f"episode_3/{key}"][:-1]
        del file[f"episode_3/{key}"]
        file[f"episode_3/{key}"] = column

    return change


def put(key, row, value):
    def change(file):
        file[f"episode_3/{key}"][row] = value

    return change


def robot(change):
    return Spoiled("robot", change)


def words_in(folder):
    columns = log()
    table = robots({name: column[120:] for name, column in columns.items()})
    column = pyarrow.array(["left"] * 120)
    table = table.set_column(table.schema.get_field_index("action"), "action", column)
    parquet.write_table(table, folder / PART)
    first = parquet.read_table(folder / PART.replace("001", "000"))
    first = first.set_column(first.schema.get_field_index("action"), "action", column)
    parquet.write_table(first, folder / PART.replace("001", "000"))


def filmed(folder):
    """A film with one frame fewer than rows."""
    home = folder / "robot"
    document(
        home / "meta/info.json", fps=10, video_path="{video_key}.mp4",
        features={"camera": {"dtype": "video", "shape": [16, 16, 3]}},
    )  # fmt: skip
    encode(home / "camera.mp4", np.zeros((239, 16, 16, 3), np.uint8))
    listing = home / "meta/episodes/chunk-000/file-000.parquet"
    listed = parquet.read_table(listing).to_pydict()
    for kind in ("chunk", "file"):
        listed[f"videos/camera/{kind}_index"] = [0] * EPISODES
    for end, number in (("from", 0), ("to", 1)):
        listed[f"videos/camera/{end}_timestamp"] = [(episode + number) * LENGTH / 10 for episode in range(EPISODES)]
    parquet.write_table(pyarrow.table(listed), listing)
    return [home, "--columns", "observations=camera"]


PART = "data/chunk-000/file-001.parquet"
DISCRETE = json.dumps({"type": "Discrete", "dtype": "int64", "start": 0, "n": 3})
TEXT = json.dumps({"type": "Text", "max_length": 3, "min_length": 1, "charset": "ab"})
WIDE = json.dumps({"type": "Box", "dtype": "float32", "shape": [2], "low": [-2.0, -2.0], "high": [2.0, 2.0]})
EVERY = np.arange(EPISODES * LENGTH)
ONE_IMAGE = np.random.default_rng(1).integers(0, 255, (240, 16, 16, 3), np.uint8)


def idle(seen):
    """Nothing moves in the second half of each episode."""
    return np.where((EVERY % LENGTH >= LENGTH // 2)[:, None], seen[EVERY // LENGTH * LENGTH + LENGTH // 2], seen)


SPOILED = {
    # files
    "missing": lambda folder: [folder / "log.npz"],
    "dangling-link": link("nowhere.npz"),
    "link-loop": link("log.npz"),
    "folder": plain_folder,
    "special-file": pipe,
    "empty-file": raw(b""),
    "pickle": raw(pickle.dumps({"obs": [1]})),
    "single-array": raw(b"\x93NUMPY\x01\x00v\x00{'descr'"),
    "compressed": raw(b"\x1f\x8b\x08\x00\x00"),
    "web-page": raw(b"<!DOCTYPE html><title>403</title>"),
    "pointer": raw(b"version https://git-lfs.github.com/spec/v1\noid sha256:00"),
    "text": raw("größe,weite\n1,2\n".encode(), "maße.txt"),
    "unknown-format": raw(b"\x7fELF\x02\x01\x01\x00\x00"),
    "cut-off": lambda folder: cut(npz(folder)),
    "no-columns": lambda folder: [npz(folder, {}), "--columns", *WORDS],
    "foreign-member": stranger,
    # columns
    "naming": lambda folder: own(folder, drop=("rewards",)),
    "missing-column": lambda folder: own(folder, "observations=obz"),
    "repeated-column": twice,
    "shared-column": lambda folder: own(folder, "actions=obs"),
    "pickled-column": lambda folder: own(folder, act=lambda a: a.astype(object)),
    "text-column": lambda folder: own(folder, act=np.full((240, 2), "left")),
    "complex-column": lambda folder: own(folder, act=lambda a: a.astype(complex)),
    "record-column": lambda folder: own(folder, act=np.zeros(240, [("x", "f4"), ("y", "f4")])),
    "ragged-column": ragged,
    "bad-checksum": lambda folder: changed_bytes(npz(folder), "act"),
    "missing-filter": unknown_filter,
    "oversized-column": forged,
    "damaged-column": hurt,
    "external-link": linked(assign(lambda _: h5py.ExternalLink("other.hdf5", "obs"))),
    "broken-link": linked(assign(lambda _: h5py.SoftLink("/nowhere"))),
    "virtual-column": linked(virtual),
    "external-storage": linked(stored_outside),
    "recursive-group": linked(assign(lambda file: file["/"])),
    "scalar-column": lambda folder: own(folder, pay=np.float32(1)),
    "wrong-rank": lambda folder: own(folder, act=np.zeros((240, 2, 2), np.float32)),
    "no-rows": lambda folder: own(folder, act=np.zeros((0, 2), np.float32)),
    "wrong-length": lambda folder: own(folder, act=lambda a: a[:-1]),
    "nan": lambda folder: own(folder, obs=at((5, 1), np.nan)),
    "infinite": lambda folder: own(folder, pay=at(7, -np.inf)),
    "overflow": lambda folder: own(folder, pay=lambda pay: at(9, 1e39)(pay.astype(np.float64))),
    "misshapen": lambda folder: ogbench(folder, None, observations=np.random.default_rng(1).normal(size=(202, 9))),
    # flags
    "flag-values": lambda folder: own(folder, solved=lambda s: at(3, 2)(s.astype(int))),
    "never-set": lambda folder: own(folder, solved=np.zeros(240, bool)),
    "never-ends": lambda folder: ogbench(folder, terminals=np.zeros(202, bool)),
    "always-set": lambda folder: own(folder, solved=np.ones(240, bool)),
    "inverted": lambda folder: own(folder, solved=lambda s: ~s),
    "masks-inverted": lambda folder: own(folder, "masks=solved", drop=("terminals",)),
    "unfinished": lambda folder: own(folder, "ends=solved", "terminals=none", drop=("episodes",), solved=at(239, 0)),
    "cut-off-episode": lambda folder: ogbench(folder, terminals=at(201, False)),
    "episode-ends": lambda folder: own(folder, "episode_ends=stops", drop=("episodes",), stops=np.array([20, 10, 240])),
    "double-end": lambda folder: own(folder, solved=at(18, True)),
    "terminal-without-end": lambda folder: own(folder, "ends=over", over=EVERY % 40 == 39, drop=("episodes",)),
    "mask-without-end": lambda folder: own(
        folder, "masks=on", "ends=solved", drop=("terminals", "episodes"), on=EVERY % LENGTH != 4
    ),
    "both-ends": lambda folder: d4rl(folder, timeouts=at(79, True)),
    "end-inside": lambda folder: own(folder, "terminals=none", "ends=over", over=EVERY % LENGTH == 9),
    "number-returns": lambda folder: own(folder, run=lambda run: run % 11),
    "next-differs": lambda folder: own(folder, "next_observations=then", then=log()["obs"] + 1),
    "next-shape": lambda folder: own(folder, "next_observations=then", then=np.ones((240, 2))),
    "next-repeats": lambda folder: own(folder, "next_observations=then", then=log()["obs"]),
    "unmarked-jump": lambda folder: d4rl(folder, next_observations=at(30, 5.0)),
    # observations
    "float-images": lambda folder: own(folder, obs=ONE_IMAGE[:, :8, :8] / np.float32(255)),
    "channels-first": lambda folder: own(folder, obs=np.moveaxis(ONE_IMAGE, 3, 1)),
    "no-channels": lambda folder: own(folder, obs=ONE_IMAGE[..., 0]),
    "odd-channels": lambda folder: own(folder, obs=ONE_IMAGE[..., :2]),
    "deep-observations": lambda folder: own(folder, obs=np.random.default_rng(1).normal(size=(240, 2, 3))),
    "byte-vectors": lambda folder: own(folder, obs=ONE_IMAGE[:, 0, :, 0]),
    "blind": lambda folder: own(folder, obs=np.ones((240, 3))),
    "constant-observation": lambda folder: own(folder, obs=at((slice(None), 2), 5)),
    "unscaled-observation": lambda folder: own(folder, obs=lambda seen: seen * [1, 60, 1] + [0, 0, 9]),
    "large-observation": lambda folder: own(folder, obs=lambda seen: seen * [1, 1e6, 1]),
    # actions
    "actions-outside": lambda folder: own(folder, act=at((11, 1), 1.25)),
    "actions-never-inside": lambda folder: own(folder, act=lambda a: a * 0.5 + [5, 0]),
    "no-action": lambda folder: own(folder, act=np.zeros((240, 2), np.float32)),
    "constant-action": lambda folder: own(folder, act=at((slice(None), 1), 0.5)),
    "half-box": lambda folder: own(folder, act=np.abs),
    "tiny-actions": lambda folder: own(folder, act=lambda a: a / 1000),
    "saturated": lambda folder: own(folder, act=np.sign),
    "whole-actions": lambda folder: own(folder, act=np.random.default_rng(2).integers(-1, 2, (240, 2))),
    # rewards
    "constant-reward": lambda folder: own(folder, pay=np.zeros(240)),
    "explosive": lambda folder: own(folder, pay=lambda pay: pay * 1e6),
    "outlier-reward": lambda folder: own(folder, pay=at(100, 4000.0)),
    # episodes
    "one-step": lambda folder: own(folder, run=lambda run: at(slice(0, 1), 99)(run), solved=at(0, True)),
    "no-step": lambda folder: own(folder, run=at(0, 99)),
    "no-transition": lambda folder: own(folder, run=EVERY, solved=np.zeros(240, bool)),
    "one-episode": lambda folder: own(folder, **{key: np.concatenate([column] * 22) for key, column in log(solved=np.zeros(240, bool), run=np.zeros(240, int)).items()}, drop=("none",)),  # noqa: E501
    "chunk-too-long": lambda folder: [*own(folder), "--horizon", "50", "--chunk"],
    "chunk-longer": lambda folder: [*own(folder, "terminals=none", run=np.minimum(EVERY // 30, 6)), "--horizon", "40", "--chunk"],  # noqa: E501
    "horizon-longer": lambda folder: [*own(folder), "--horizon", "50"],
    "idle-tail": lambda folder: own(folder, obs=idle),
    "goes-on": lambda folder: own(folder, "masks=on", drop=("terminals",), on=EVERY % LENGTH != 4),
    "repeated-episode": lambda folder: own(folder, **{key: (lambda c: at(slice(20, 40), c[:20])(c)) for key in ("obs", "act", "pay")}),  # noqa: E501
    "few-transitions": lambda folder: own(folder, **{key: (lambda c: c[:40]) for key in log()}),
    # suites
    "no-validation": lambda folder: ogbench(folder, validation=None),
    "validation-differs": lambda folder: ogbench(folder, validation="narrow"),
    "validation-repeats": lambda folder: ogbench(folder, validation="same"),
    "slice-differs": lambda folder: slices(folder, 0, 1, spoil=narrow),
    "slice-repeats": lambda folder: slices(folder, 0, 1, spoil=copied),
    "slice-missing": lambda folder: slices(folder, 0, 2),
    "no-metadata": reach(lambda folder: (folder / "data/metadata.json").unlink()),
    "metadata-damaged": reach(lambda folder: (folder / "data/metadata.json").write_text("{")),
    "metadata-incomplete": reach_metadata(action_space=None),
    "unknown-version": reach_metadata(minari_version="9.9"),
    "discrete-actions": reach_metadata(action_space=DISCRETE),
    "odd-space": reach_metadata(observation_space=TEXT),
    "wide-box": reach_metadata(action_space=WIDE),
    "no-data": reach(lambda folder: (folder / "data/main_data.hdf5").unlink()),
    "no-episodes": reach_metadata(total_episodes=0, total_steps=0),
    "episode-count": reach_metadata(total_episodes=99),
    "step-count": reach_metadata(total_steps=9),
    "episode-lengths": episode(shorten("observations")),
    "lossy": Spoiled("see-v0", lambda folder: document(folder / "data/metadata.json", jpeg_encoding=True)),
    "info-damaged": robot(lambda folder: (folder / "meta/info.json").write_text("[")),
    "path-outside": robot_info(data_path="../{file_index}.parquet"),
    "no-path": robot_info(data_path=None),
    "no-listing": robot(lambda folder: shutil.rmtree(folder / "meta/episodes")),
    "missing-part": robot(lambda folder: (folder / PART).unlink()),
    "repeated-part": robot(lambda folder: shutil.copy(folder / PART.replace("001", "000"), folder / PART)),
    "feature-shape": robot_info(features={"observation.state": {"dtype": "float32", "shape": [7]}}),
    "names-damaged": kept_badly,
    "frame-differs": filmed,
}  # fmt: skip

MORE = {
    "pipe in a link": ("dangling-link", link("../../nowhere")),
    "a cut HDF5 file": ("cut-off", lambda folder: cut(hdf5(folder), 2000)),
    "a cut Parquet file": ("cut-off", robot(lambda folder: cut(folder / PART))),
    "a link that is asked for": (
        "missing-column",
        lambda folder: [
            *linked(assign(lambda _: h5py.ExternalLink("other.hdf5", "obs")))(folder)[:-5],
            "observations=more",
            *WORDS[1:],
        ],
    ),
    "two files as one": ("no-columns", lambda folder: [hdf5(folder, {}), "--columns", *WORDS]),
    "text in Parquet": ("text-column", robot(words_in)),
    "version of LeRobot's": ("unknown-version", robot_info(codebase_version="v1.6")),
    "frames of LeRobot's": ("step-count", robot_info(total_frames=241)),
    "episodes of LeRobot's": ("episode-count", robot_info(total_episodes=13)),
    "NaN in an episode": ("nan", episode(put("rewards", 4, np.nan))),
    "actions short by one": ("episode-lengths", episode(shorten("actions"))),
    "an episode that is gone": ("episode-count", episode(lambda file: file.__delitem__("episode_3"))),
    "Minari's actions outside": ("actions-outside", episode(put("actions", 4, 3.0))),
    "no states": ("scalar-column", lambda folder: ogbench(folder, qpos=np.zeros(()))),
    "no time limits": ("naming", lambda folder: [npz(folder)]),
    "D4RL's NaN": ("nan", lambda folder: d4rl(folder, rewards=at(4, np.nan))),
    "half precision": ("infinite", lambda folder: own(folder, obs=lambda s: at((8, 0), np.inf)(s.astype(np.float16)))),
    "whole numbers as pixels": ("float-images", lambda folder: own(folder, obs=ONE_IMAGE.astype(int))),
    "rows of nothing": ("no-rows", lambda folder: own(folder, act=np.zeros((240, 0)))),
    "mapped actions outside": ("actions-outside", lambda folder: mapped(folder, act=at(11, 1.25))),
    "mapped bytes": ("byte-vectors", lambda folder: mapped(folder, obs=ONE_IMAGE[:, 0, :, 0])),
    "gripper beside arm": ("wrong-length", lambda folder: own(folder, "observations=obs+run2", run2=np.zeros(7))),
    "names that are no JSON": ("names-damaged", lambda folder: [kept_badly(folder)[0]]),
}


def told(capsys, arguments):
    """What the command says about it, and its exit status."""
    status = 0
    try:
        main(["data", "validate", *map(str, arguments), "--json"])
    except SystemExit as leave:
        status = leave.code
    output = capsys.readouterr()
    assert "Traceback" not in output.err
    return json.loads(output.out), status


def contents(folder):
    return {
        str(path.relative_to(folder)): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*")
    }


@pytest.fixture(scope="module", autouse=True)
def one_simulator():
    """Each environment is made once, since reading a file takes no time beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(environments, "make", functools.cache(environments.make))
        yield


@pytest.fixture
def place(tmp_path, templates):
    """A folder with a name that few programs are tried with, and the suites' folders in it."""
    folder = tmp_path / "größe und wäge"
    shutil.copytree(templates, folder)
    return folder


SENTENCES: dict[str, str] = {}


@pytest.mark.parametrize("kind", SPOILED)
def test_each_kind_has_its_own_sentence(kind, place, capsys):
    arguments = SPOILED[kind](place)
    before = contents(place)
    found, status = told(capsys, arguments)
    named = {problem["kind"]: problem for problem in found["errors"] + found["warnings"]}
    assert kind in named
    assert named[kind] in found["errors" if KINDS[kind].severity == "error" else "warnings"]
    assert status == (2 if found["errors"] else 0)
    sentence = named[kind]["sentence"]
    assert "\n" not in sentence
    assert named[kind]["expected"] in sentence
    assert named[kind]["found"] in sentence
    assert "{" not in KINDS[kind].expected or "{" not in named[kind]["expected"]
    assert contents(place) == before
    plain = sentence.replace(str(place), "")
    assert plain not in SENTENCES.values()
    SENTENCES[kind] = plain


@pytest.mark.parametrize("case", MORE)
def test_the_same_is_told_in_other_formats(case, place, capsys):
    kind, spoil = MORE[case]
    found, status = told(capsys, spoil(place))
    assert kind in {problem["kind"] for problem in found["errors"]}, found
    assert status == 2


def test_every_kind_of_the_table_is_tried_above():
    apart = {"changed", "unreadable", "refused"}  # which are tried below
    assert KINDS.keys() - SPOILED.keys() == apart
    assert len(SPOILED) > 100
    assert len({kind.expected + kind.hint for kind in KINDS.values()}) == len(KINDS) == sum(map(len, GROUPS.values()))


@pytest.mark.parametrize(
    "name", ["log.npz", "log.hdf5", "log.mapped", "reach-v0", "renamed", "robot", "hand.hdf5", f"{CUBE}.npz"]
)
def test_a_good_dataset_has_no_problem(name, place, capsys):
    hdf5(place), mapped(place), d4rl(place), ogbench(place)
    shutil.copytree(place / "reach-v0", place / "renamed")
    words = ["--columns", *WORDS] if name in ("log.npz", "log.hdf5") else []
    found, status = told(capsys, [place / name, *words])
    assert (found["errors"], found["warnings"], status) == ([], [], 0)


def test_the_page_has_every_kind_and_no_other():
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    for group, kinds in GROUPS.items():
        told = [", ".join(n for n, k in kinds.items() if k.severity == s) or "-" for s in ("error", "warning")]
        assert f"| {group} | {told[0]} | {told[1]} |" in page.splitlines()


def test_a_file_that_changes_while_it_is_read_is_told(tmp_path):
    problems, path = Problems(), npz(tmp_path)
    with container.opened(path, problems):
        os.utime(path, (1, 1))
    assert [problem.kind for problem in problems.warnings] == ["changed"]


def test_what_only_the_loader_knows_is_told_in_its_words(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise InputError("it does not like it")

    monkeypatch.setattr(Origin, "read", refuse)
    problems = validate(npz(tmp_path), columns=Columns.parse(WORDS))
    assert [str(problem).partition("; ")[2] for problem in problems.errors] == ["it does not like it"]


def test_a_file_without_permission_is_told(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    path = npz(tmp_path)
    monkeypatch.setattr(Path, "open", refuse)
    assert [problem.kind for problem in validate(path).errors] == ["unreadable"]


def test_all_problems_are_told_at_once_and_repeated_ones_once(tmp_path):
    spoiled = log(
        obs=at((5, 1), np.nan),
        act=at(11, 1.5),
        pay=at(7, np.inf),
        solved=lambda solved: at(3, 2.0)(solved.astype(float)),
    )
    problems = validate(npz(tmp_path, spoiled), columns=Columns.parse(WORDS))
    assert [(problem.kind, problem.column, problem.row) for problem in problems.errors] == [
        ("nan", "obs", 5),
        ("infinite", "pay", 7),
        ("actions-outside", "act", 11),
        ("flag-values", "solved", 3),
    ]
    for row in range(3):
        problems.add("nan", "file", "column", row, found="NaN")
    assert str(problems.errors[-1]).startswith("file: 'column' must be finite, found NaN, first in row 0, and 2 more")


def test_training_tells_warnings_once_and_stops_at_errors(tmp_path, capsys, monkeypatch):
    trained = SimpleNamespace(dead={})
    monkeypatch.setattr(cli.train, "train", lambda *_, **__: trained)  # begins after the dataset was looked at
    monkeypatch.setattr(cli.train.Train, "_tell_what_is_next", lambda *_: None)
    path = npz(tmp_path, log(act=at((slice(None), 1), 0.5)))
    words = ["train", "bc", "--task", str(path), "--columns", *WORDS, "--out", str(tmp_path / "run")]
    main([*words, "--steps", "1", "--log-interval", "1", "--batch-size", "2", "--hidden", "4"])
    told = capsys.readouterr().err
    assert told.count("warning: log: 'actions' must change in each dimension, found one number in dimension 1") == 1
    with pytest.raises(SystemExit, match="2"):
        main([*words[:-1], str(tmp_path / "other"), "--horizon", "21", "--chunk"])
    told = capsys.readouterr().err.splitlines()
    assert told[-1].startswith("guidedflow: log must have an episode as long as a chunk of 21 steps")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "seen",
    [
        *(ONE_IMAGE[:, 0, :, 0], ONE_IMAGE[..., 0], ONE_IMAGE.astype(int), ONE_IMAGE[..., None]),
        np.moveaxis(ONE_IMAGE, 3, 1),
    ],
)
def test_observations_that_no_network_takes_are_errors(tmp_path, seen):
    path = npz(tmp_path, log(obs=seen))
    columns = Columns.parse(WORDS)
    with pytest.raises(InputError, match="expected float32 states"):
        Cutting().check(read_dataset("my-arm", path, columns=columns))
    assert validate(path, columns=columns).errors


def test_a_step_into_an_observation_that_nobody_recorded_is_not_idle(tmp_path):
    """It leads to a row that holds the place; before it, what does not move is idle all the same."""
    solved = np.ones(240, bool)
    short = validate(npz(tmp_path, log(run=EVERY, solved=solved)), columns=Columns.parse(WORDS))
    assert [problem.kind for problem in short.warnings] == ["always-set", "one-step"]
    tails = validate(npz(tmp_path, log(obs=idle)), columns=Columns.parse(WORDS))
    assert [(problem.kind, problem.row) for problem in tails.warnings] == [("idle-tail", LENGTH // 2)]


def test_a_walker_is_looked_for_where_its_data_lie(tmp_path, monkeypatch):
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path))
    assert [problem.kind for problem in validate("hopper-medium-v2").errors] == ["missing"]
    d4rl(tmp_path)[0].rename(tmp_path / "hopper_medium-v2.hdf5")
    assert not validate("hopper-medium-v2").errors


def test_names_are_kept_when_nothing_is_wrong_with_the_data(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli.train, "train", lambda *_, **__: SimpleNamespace(dead={}))
    monkeypatch.setattr(cli.train.Train, "_tell_what_is_next", lambda *_: None)
    path, beside = npz(tmp_path), tmp_path / "log.npz.columns.json"
    words = ["train", "bc", "--task", str(path), "--out", str(tmp_path / "run"), "--columns"]
    with pytest.raises(SystemExit, match="2"):
        main([*words, *WORDS, "--horizon", "21", "--chunk"])
    assert not beside.exists()

    def refuse(*_):
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        main([*words, *WORDS])
    assert capsys.readouterr().err.count("warning: other commands will not know the names of the columns") == 1
    assert list(tmp_path.iterdir()) == [path]
    main([*words, *WORDS])
    main([*words, "weights=solved"])
    assert json.loads(beside.read_text()) == dict(word.split("=") for word in (*WORDS, "weights=solved"))
    with pytest.raises(SystemExit, match="2"):
        main([*words, "weights=pay"])
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"guidedflow: {beside} names other columns")


def test_the_demonstrations_of_the_door_have_one_error(shared_data):
    problems = validate(shared_data / "door-human-v1.hdf5")
    assert [(problem.kind, problem.column, problem.row) for problem in problems.errors] == [
        ("actions-outside", "actions", 4)
    ]
    assert [problem.kind for problem in problems.warnings] == ["never-set"]
    problems = validate(shared_data / "door-human-v1.hdf5", clip_actions=True)
    assert not problems.errors
    cubes = validate(shared_data / f"{CUBE}-val.npz", task=f"{CUBE[:-3]}-singletask-task1-v0")
    assert not cubes.errors + cubes.warnings


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_file_with_any_bytes_changed_is_read_or_refused_without_a_traceback(data):
    """Of each format, cut off anywhere and with any bytes changed."""
    with tempfile.TemporaryDirectory() as folder:
        columns = {name: column[:40] for name, column in log().items()}
        path = data.draw(st.sampled_from([npz, hdf5]))(Path(folder), columns)
        whole = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(whole[: data.draw(st.integers(1, len(whole)))])
        problems = validate(path, columns=Columns.parse(WORDS))
        assert all("\n" not in str(problem) for problem in problems.errors)
