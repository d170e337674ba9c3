"""What a suite has beside its columns: OGBench's second file and slices, Minari's and LeRobot's metadata.

Two files are compared by the headers and checksums in their directories, so that nothing is read for it. This module
does not know what is in a column.
"""

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from guidedflow import environments
from guidedflow.data import d4rl, lerobot, minari
from guidedflow.data.arrays import DAMAGE, Arrays, needing
from guidedflow.data.collect import FOLDER
from guidedflow.data.validation import container
from guidedflow.data.validation.problem import Problems
from guidedflow.data.validation.rows import read
from guidedflow.errors import InputError

_SLICE = re.compile(r".+-(\d{3})\.npz")
_KEYS = ("observation_space", "action_space", "data_format", "total_episodes", "minari_version")
_DATA = {"hdf5": "main_data.hdf5"}


def has_home(name: str) -> bool:
    """Whether a name says where its data lie: that of a known task, or of one of Minari's datasets on this disk."""
    return environments.known(name) or minari.is_minari(minari.folder() / name)


def home(task: str, folder: Path | None = None) -> Path:
    """Where the data of a known task lie, in a folder or by default in their suite's own, whether they do or not."""
    if not environments.known(task):
        return minari.folder() / task
    parsed = environments.parse(task)
    if parsed.suite == "ogbench":
        return (FOLDER.expanduser() if folder is None else folder) / f"{parsed.dataset}.npz"
    if parsed.suite == "minari":
        return (minari.folder() if folder is None else folder) / task
    try:
        return d4rl.locate(task, folder)
    except InputError:
        return (d4rl.folder() if folder is None else folder) / d4rl.address(task).rsplit("/", 1)[1]


def slices(folder: Path) -> list[Path]:
    """The training files of a dataset in slices, NAME-000.npz and so on."""
    found = sorted(folder.glob("*-[0-9][0-9][0-9].npz")) if folder.is_dir() else []
    return [path for path in found if _SLICE.fullmatch(path.name)]


def check_slices(paths: list[Path], problems: Problems) -> None:
    """Whether slices are of one dataset, none of them twice and none missing."""
    numbers = [int(path.stem.rpartition("-")[2]) for path in paths]
    if gaps := sorted(set(range(numbers[-1] + 1)) - set(numbers)):
        problems.add("slice-missing", paths[0].parent, found=f"{len(gaps)} gaps, the first at number {gaps[0]:03d}")
    first, seen = None, dict[object, Path]()
    for path in paths:
        if not container.look(path, problems) or (found := _directory(path)) is None:
            continue
        headers, contents = found
        first = headers if first is None else first
        if headers != first:
            problems.add("slice-differs", path, found=_difference(first, headers))
        if contents in seen:
            problems.add("slice-repeats", path, found=f"the same checksums as in {seen[contents].name}")
        seen.setdefault(contents, path)


def check_validation(path: Path, problems: Problems) -> None:
    """Whether OGBench's validation file stands beside its training file, and is another of the same dataset."""
    if path.stem.endswith("-val"):
        return
    other = path.with_name(f"{path.stem}-val.npz")
    if not other.exists():
        problems.add("no-validation", path, found=f"no {other.name}")
        return
    train, validation = _directory(path), _directory(other) if container.look(other, problems) else None
    if train is None or validation is None:
        return
    if train[0] != validation[0]:
        problems.add("validation-differs", other, found=_difference(train[0], validation[0]))
    elif train[1] == validation[1]:
        problems.add("validation-repeats", other, found="the same checksums")


def is_minari_like(folder: Path) -> bool:
    """Whether a folder holds the data of one of Minari's datasets, with its metadata or without."""
    return any((place / name).exists() for place in (folder, folder / "data") for name in ("main_data.hdf5", "0"))


def check_minari(name: str, path: Path, problems: Problems) -> None:
    """Metadata, and the lengths of each episode."""
    data = minari.locate(name, path)
    metadata = _metadata(data, problems)
    if metadata is None:
        return
    _check_spaces(data, metadata, problems)
    file = data / _DATA.get(str(metadata["data_format"]), "0")
    if metadata["total_episodes"] and not file.exists():
        problems.add("no-data", data, found=f"no {file.name}")
    folder = data.parent if data.name == "data" else data
    if not str(metadata.get("dataset_id", folder.name)).endswith(folder.name):
        problems.add("other-name", data, found=f"the name {metadata['dataset_id']}")
    if not problems.errors:
        _check_episodes(data, metadata, problems)


def _metadata(data: Path, problems: Problems) -> dict[str, Any] | None:
    path = data / "metadata.json"
    try:
        metadata = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        problems.add("metadata-damaged", path, found=f"damage ({error})")
        return None
    if not isinstance(metadata, dict):
        problems.add("metadata-damaged", path, found=f"a {type(metadata).__name__}")
        return None
    missing = [key for key in _KEYS if key not in metadata]
    for key in missing:
        problems.add("metadata-incomplete", path, key, found="nothing", key=key)
    with needing("minari", data, "minari"):
        from minari import supported_dataset_versions
    version = metadata.get("minari_version")
    if version is not None and version not in supported_dataset_versions:
        versions = ", ".join(sorted(supported_dataset_versions))
        problems.add("unknown-version", path, found=f"{version}", versions=versions)
    return None if missing or problems.errors else metadata


def _check_spaces(data: Path, metadata: dict[str, Any], problems: Problems) -> None:
    with needing("minari", data, "minari"):
        from minari.serialization import deserialize_space
    from gymnasium import spaces

    found: dict[str, Any] = {}
    for key in ("observation_space", "action_space"):
        try:
            found[key] = deserialize_space(metadata[key])
        except (*DAMAGE, AssertionError, AttributeError) as error:
            problems.add("odd-space", data / "metadata.json", key, found=f"damage ({error})")
            return
    action = found["action_space"]
    if not isinstance(action, spaces.Box) or len(action.shape) != 1:
        problems.add("discrete-actions", data, "actions", found=f"{action}")
    elif (np.abs(action.low) > 1).any() or (np.abs(action.high) > 1).any():
        problems.add("wide-box", data, "actions", found=f"a box from {action.low.min():g} to {action.high.max():g}")
    images = False
    for space in _leaves(found["observation_space"]):
        if not isinstance(space, spaces.Box):
            problems.add("odd-space", data, "observations", found=f"{space}")
        images |= isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) in (2, 3)
    if images and metadata.get("jpeg_encoding", True):
        problems.add("lossy", data, "observations", found="JPEG")


def _leaves(space: Any) -> Iterator[Any]:
    inner = getattr(space, "spaces", None)
    if inner is None:
        yield space
        return
    for each in inner.values() if isinstance(inner, dict) else inner:
        yield from _leaves(each)


def _check_episodes(data: Path, metadata: dict[str, Any], problems: Problems) -> None:
    """Each episode alone, so that all that are broken are told."""
    from minari.dataset.minari_storage import MinariStorage

    steps = 0
    try:
        storage = MinariStorage.read(data)
        count = int(storage.total_episodes)
        if not count:
            problems.add("no-episodes", data, found="none")
        for index in range(count):
            episode = next(iter(storage.get_episodes([index])))
            steps += len(episode["rewards"])
            try:
                columns = minari.episode_columns(data, storage.observation_space, episode)
            except InputError as error:
                problems.add("episode-lengths", data, f"episode_{index}", found=str(error).rpartition("found ")[2])
                continue
            for key in ("observations", "actions", "rewards"):
                wrong = ~np.isfinite(columns[key].reshape(len(columns[key]), -1)).all(1)
                if wrong.any():
                    problems.add("nan", data, key, int(np.argmax(wrong)), found=f"NaN or infinity in episode {index}")
    except (*DAMAGE, AssertionError, AttributeError, IndexError, StopIteration) as error:
        told = metadata["total_episodes"]
        problems.add("episode-count", data, found=f"no episode that can be read there ({error})", told=told)
        return
    told = metadata.get("total_steps", steps)
    if told != steps:
        problems.add("step-count", data, found=f"{steps}", told=told)


def check_lerobot(folder: Path, problems: Problems) -> bool:
    """Whether a folder's metadata lead to its files; what is wrong with either is told."""
    try:
        info = lerobot.info_of(folder)
    except InputError as error:
        problems.add("info-damaged", folder / "meta" / "info.json", found=str(error).rpartition("found ")[2])
        return False
    version = str(info.get("codebase_version"))
    if not version.startswith(lerobot.VERSIONS):
        problems.add("unknown-version", folder / "meta" / "info.json", found=version, versions="v3.0")
        return False
    template = info.get("data_path")
    if not isinstance(template, str):
        problems.add("no-path", folder / "meta" / "info.json", "data_path", found=f"{template!r}")
        return False
    try:
        listed = lerobot.listing(folder)
    except InputError as error:
        problems.add("no-listing", folder, found=f"this: {error}")
        return False
    parts = []
    for chunk, number in listed:
        try:
            parts.append(lerobot.part(folder, template, chunk, number))
        except InputError as error:
            outside = "inside its folder" in str(error)
            kind, found = ("path-outside", template) if outside else ("missing-part", f"no file {number} of {chunk}")
            problems.add(kind, folder, found=found)
    _check_parts(parts, info, folder, problems)
    return not problems.errors


def _check_parts(parts: list[Path], info: dict[str, Any], folder: Path, problems: Problems) -> None:
    """Each file is whole and there once, and together they have as many rows and episodes as is said."""
    seen, count, episodes = dict[bytes, Path](), 0, set[int]()
    for path in parts:
        if not container.look(path, problems):
            continue
        with container.opened(path, problems) as file:
            if file is None:
                continue
            numbers = read(file, "episode_index", problems)
            if numbers is not None:
                count, episodes = count + len(numbers), episodes | set(np.unique(numbers).tolist())
        digest = hashlib.sha256(path.read_bytes()).digest()
        if digest in seen:
            problems.add("repeated-part", path, found=f"the same bytes as in {seen[digest].name}")
        seen.setdefault(digest, path)
    if problems.errors:
        return
    for key, kind, found in (("total_frames", "step-count", count), ("total_episodes", "episode-count", len(episodes))):
        if info.get(key, found) != found:
            problems.add(kind, folder, found=f"{found}", told=info[key])


def check_features(folder: Path, file: Arrays, problems: Problems) -> None:
    """Whether columns have the widths that the metadata say."""
    features = lerobot.info_of(folder).get("features")
    for name, told in features.items() if isinstance(features, dict) else ():
        shape = told.get("shape") if isinstance(told, dict) else None
        if name not in file or not isinstance(shape, list):
            continue
        try:
            column = file.read(name)
        except InputError:
            continue  # told with the rows
        if int(np.prod(column.shape[1:])) != int(np.prod(shape)):
            problems.add("feature-shape", folder, name, found=f"{list(column.shape[1:])}", told=shape)


def _directory(path: Path) -> tuple[dict[str, Any], object] | None:
    """Types and shapes of rows, and checksums, of the arrays of an npz file; None where it is damaged."""
    headers: dict[str, Any] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            for info in members:
                with archive.open(info) as stream:
                    version = np.lib.format.read_magic(stream)
                    old = version == (1, 0)
                    header = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
                    shape, _, dtype = header(stream)
                headers[info.filename.removesuffix(".npy")] = (shape[1:], dtype.str)
            return headers, frozenset((info.filename, info.CRC, info.file_size) for info in members)
    except DAMAGE:
        return None


def _difference(first: dict[str, Any], second: dict[str, Any]) -> str:
    """The first column in which two files are not of one kind."""
    for name in sorted(first.keys() | second.keys()):
        if first.get(name) != second.get(name):
            here, there = (f"{name} {found.get(name, 'missing')}" for found in (second, first))
            return f"{here}, there {there}"
    return "the same"
