"""Published datasets, from the servers of their suites or from a copy, into the folders where the suites look for them.

    OGBench                       NAME-v0: a file to train with and one to validate; also by the name of a task
    OGBench's large sets          NAME-100m-v0: a folder of slices NAME-v0-000.npz, each with its -val.npz
    D4RL                          the hands, the mazes, and the walkers of its gym tasks: one HDF5 file
    Minari                        NAMESPACE/NAME-vN, by the minari package

Servers, their copies and the checksums that are known are in `servers.json`. This module does not know how a file
travels (`transfer`), nor what is in it.
"""

import contextlib
import os
import re
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from guidedflow import environments
from guidedflow.data.formats import d4rl, minari
from guidedflow.data.formats.arrays import DAMAGE, needing
from guidedflow.data.formats.opening import open_file
from guidedflow.data.obtain.collect import FOLDER, collectable
from guidedflow.data.obtain.transfer import Known, Patience, Report, Unavailable, fetch
from guidedflow.errors import InputError, did_you_mean
from guidedflow.files import read_json, reason, rename

LARGE = tuple(
    f"{name}-100m-v0"
    for name in (
        "humanoidmaze-giant-navigate",
        *(f"cube-{count}-play" for count in ("double", "triple", "quadruple", "octuple")),
        "cube-quadruple-noisy",
        "scene-play",
        *(f"puzzle-{size}-play" for size in ("3x3", "4x4", "4x5", "4x6")),
    )
)
"""The sets of 100 million transitions that OGBench hosts."""

_MINARI = re.compile(r"([\w.-]+/)*[\w.-]+-v\d+")


@dataclass(frozen=True)
class Source:
    """The files of a dataset: where each lies below its server, and what it is called here."""

    suite: str
    folder: Path
    files: tuple[tuple[str, str], ...]
    collect: str | None = None
    """The name by which the same data can be made without a download."""


def download(
    name: str,
    out: Path | None = None,
    server: str | None = None,
    slices: int | None = None,
    patience: Patience | None = None,
    report: Report | None = None,
) -> list[Path]:
    """Get a published dataset and return the paths of its files; files that are there already are left alone.

    `out` is a folder, by default the suite's own; `server` is asked before the known ones; `slices` takes only the
    first so many of a large set. Raises `InputError` for an unknown name, and where no server gives all of a file.
    """
    source = find(name, out)
    if source is None:
        return [_minari(name, out)]
    count = len(source.files) if slices is None else 2 * slices
    if slices is not None and (name not in LARGE or not 0 < count <= len(source.files)):
        raise InputError(f"--slices must be 1 to {len(source.files) // 2} of a set such as {LARGE[0]}, not {slices}")
    servers = ([] if server is None else [_address(server)]) + _table()["servers"][source.suite]
    paths = []
    for remote, local in source.files[:count]:
        path, addresses = source.folder / local, [f"{each}/{remote}" for each in servers]
        try:
            fetch(addresses, path, _known(local), _whole, patience, report)
        except Unavailable as error:
            raise InputError(_nobody(name, source, local, str(error))) from error
        paths.append(path)
    return paths


def _of_d4rl(name: str, place: Path | None) -> Source:
    folder, file = d4rl.address(name).split("/")[-2:]
    return Source("d4rl", place or d4rl.folder(), ((f"{folder}/{file}", file),))


def find(name: str, out: Path | None = None) -> Source | None:
    """The files of a dataset; None for one of Minari's. Raises `InputError` for a name that nobody publishes."""
    place = None if out is None else out.expanduser()
    if name in LARGE:
        stem, count = name.replace("-100m", ""), 25 if name.startswith("humanoid") else 100
        names = [f"{stem}-{number:03d}{kind}.npz" for number in range(count) for kind in ("", "-val")]
        return Source("ogbench", (place or FOLDER.expanduser()) / name, tuple((f"{name}/{n}", n) for n in names))
    if d4rl.is_walker(name):
        return _of_d4rl(name, place)
    if environments.known(name):
        parsed = environments.parse(name)
        if parsed.suite == "ogbench":
            names = [f"{parsed.dataset}.npz", f"{parsed.dataset}-val.npz"]
            made = parsed.dataset if parsed.dataset in collectable() else None
            return Source("ogbench", place or FOLDER.expanduser(), tuple((n, n) for n in names), made)
        if parsed.suite == "d4rl":
            return _of_d4rl(name, place)
        if parsed.suite == "metaworld":
            raise InputError(f"{name!r} is not published; make it by `guidedflow data collect {name}`")
        return None
    if "/" in name and _MINARI.fullmatch(name) and ".." not in name:
        return None
    close = did_you_mean(name, [name for names in published().values() for name in names])
    raise InputError(
        f"unknown dataset {name!r}{close}; see `guidedflow data list`; Minari's are named like D4RL/door/human-v2"
    )


@cache
def published() -> dict[str, tuple[str, ...]]:
    """The datasets of each suite whose names are known here; Minari has others."""
    tasks = [environments.parse(name) for name in environments.names()]
    walkers = [
        f"{body}-{data}-v2"
        for body in ("halfcheetah", "hopper", "walker2d")
        for data in ("random", "medium", "expert", "medium-replay", "full-replay", "medium-expert")
    ]
    return {
        "ogbench": (*environments.datasets(), *LARGE),
        "d4rl": (*(task.name for task in tasks if task.suite == "d4rl"), *walkers),
        "minari": tuple(task.name for task in tasks if task.suite == "minari"),
    }


@cache
def _table() -> dict[str, Any]:
    with as_file(files("guidedflow.data.obtain") / "servers.json") as path:
        return read_json(path)


def _known(file: str) -> Known:
    return Known(**_table()["checksums"].get(file, {}))


def _address(server: str) -> str:
    if not server.startswith(("http://", "https://")):
        raise InputError(f"--server must begin with http:// or https://, not {server!r}")
    return server.rstrip("/")


def _nobody(name: str, source: Source, file: str, told: str) -> str:
    """The sentence where no server has a file."""
    other = f", or make the same data without a download by `guidedflow data collect {source.collect}`"
    return (
        f"{file} of {name} could not be downloaded ({told}): try again later, name another copy by --server"
        f"{other if source.collect else ''}"
    )


def _whole(path: Path) -> str | None:
    """What is wrong with a file that has arrived: its directory, its checksums."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            return None if damaged is None else f"damage in {damaged}"
        with open_file(path) as file:
            return None if file.names else "no columns"
    except InputError as error:
        return f"damage ({error.__cause__ or error})"
    except DAMAGE as error:
        return f"damage ({error})"


def _minari(name: str, out: Path | None) -> Path:
    """One of Minari's datasets, by its own package into a folder beside, then renamed."""
    root = minari.folder() if out is None else out.expanduser()
    path = root / name
    if path.exists():
        if not minari.is_minari(path):
            raise InputError(f"{path} exists, but is no whole dataset of Minari's: remove it, and download it again")
        return path
    with needing("minari", name, "minari"):
        import minari as package
    try:
        root.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=root, prefix=".", suffix=".part") as beside:
            with _root(Path(beside)), contextlib.redirect_stdout(sys.stderr):  # where the package tells what it does
                package.download_dataset(name)
            minari.load(Path(beside) / name, name)  # each episode is there
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():  # else another process was faster
                rename(Path(beside) / name, path)
    except InputError as error:
        told = str(error).replace(str(beside), str(root))
        raise InputError(f"{name} arrived, but is not whole: {told}") from error
    except OSError as error:
        raise InputError(f"{name} could not be downloaded: {reason(error)}; try again later") from error
    except Exception as error:  # of the package, and of the packages of the clouds that it asks
        told = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name} could not be downloaded by the minari package: {told}") from error
    return path


@contextmanager
def _root(folder: Path) -> Iterator[None]:
    """Within it, Minari keeps its datasets in a folder."""
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = before
