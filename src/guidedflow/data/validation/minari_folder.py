"""Minari's metadata, and the lengths of each episode.

The spaces are read from the metadata alone: no environment that a dataset names is built. This module does not know
what an episode is worth.
"""

from pathlib import Path
from typing import Any

import numpy as np

from guidedflow.data.formats import minari
from guidedflow.data.formats.arrays import DAMAGE, needing
from guidedflow.data.validation.problem import Problems
from guidedflow.files import DamagedFile, read_json
from guidedflow.packing import finite_rows

_KEYS = ("observation_space", "action_space", "data_format", "total_episodes", "minari_version")
_DATA = {"hdf5": "main_data.hdf5"}


def is_alike(folder: Path) -> bool:
    """Whether a folder holds the data of one of Minari's datasets, with its metadata or without."""
    return any((place / name).exists() for place in (folder, folder / "data") for name in ("main_data.hdf5", "0"))


def check(name: str, path: Path, problems: Problems) -> None:
    """Metadata, and the lengths of each episode."""
    data = minari.data_of(path, name)
    metadata = _metadata(data, problems)
    if metadata is None:
        return
    _check_spaces(data, metadata, problems)
    file = data / _DATA.get(str(metadata["data_format"]), "0")
    if metadata["total_episodes"] and not file.exists():
        problems.add("no-data", data, found=f"no {file.name}")
    if not problems.errors:
        _check_episodes(data, metadata, problems)


def _metadata(data: Path, problems: Problems) -> dict[str, Any] | None:
    path = data / "metadata.json"
    try:
        metadata = read_json(path)
    except DamagedFile as error:
        problems.add("metadata-damaged", path, found=error.found)
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
    for space in minari.leaves(found["observation_space"]):
        if not isinstance(space, spaces.Box):
            problems.add("odd-space", data, "observations", found=f"{space}")
        images |= isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) in (2, 3)
    if images and not isinstance(found["observation_space"], spaces.Box | spaces.Dict):
        problems.add("odd-space", data, "observations", found="images without names; make them a dictionary")
    if images and metadata.get("jpeg_encoding", True):
        problems.add("lossy", data, "observations", found="JPEG")


def _check_episodes(data: Path, metadata: dict[str, Any], problems: Problems) -> None:
    """Each episode alone, so that all that are broken are told."""
    from minari.dataset.minari_storage import MinariStorage

    steps = 0
    try:
        storage = MinariStorage.read(data)
        count, space = int(storage.total_episodes), minari.in_order(storage.observation_space, metadata)
        if not count:
            problems.add("no-episodes", data, found="none")
        for index in range(count):
            episode = next(iter(storage.get_episodes([index])))
            steps += len(episode["rewards"])
            try:
                columns = minari.episode_columns(data, space, episode)
            except minari.UnevenEpisode as error:
                problems.add("episode-lengths", data, f"episode_{index}", found=error.found)
                continue
            for key in ("observations", "actions", "rewards"):
                wrong = ~finite_rows(columns[key])
                if wrong.any():
                    problems.add("nan", data, key, int(np.argmax(wrong)), found=f"NaN or infinity in episode {index}")
    except (*DAMAGE, AssertionError, AttributeError, IndexError, StopIteration) as error:
        told = metadata["total_episodes"]
        problems.add("episode-count", data, found=f"no episode that can be read there ({error})", told=told)
        return
    told = metadata.get("total_steps", steps)
    if told != steps:
        problems.add("step-count", data, found=f"{steps}", told=told)
