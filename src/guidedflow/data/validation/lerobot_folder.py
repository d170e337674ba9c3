"""LeRobot's metadata, and the files that they list.

This module does not know what is in a column.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from guidedflow.data.formats import lerobot_layout
from guidedflow.data.formats.arrays import Arrays
from guidedflow.data.validation import container
from guidedflow.data.validation.problem import Problems
from guidedflow.data.validation.rows import read
from guidedflow.errors import InputError
from guidedflow.files import DamagedFile


def check(folder: Path, problems: Problems) -> bool:
    """Whether a folder's metadata lead to its files; what is wrong with either is told."""
    try:
        info = lerobot_layout.info_of(folder)
    except DamagedFile as error:
        problems.add("info-damaged", folder / "meta" / "info.json", found=error.found)
        return False
    version = str(info.get("codebase_version"))
    if not lerobot_layout.is_known(info):
        problems.add("unknown-version", folder / "meta" / "info.json", found=version, versions=lerobot_layout.READ)
        return False
    template = info.get("data_path")
    if not isinstance(template, str):
        problems.add("no-path", folder / "meta" / "info.json", "data_path", found=f"{template!r}")
        return False
    try:
        listed = lerobot_layout.Listing(folder, info).files()
    except InputError as error:
        problems.add("no-listing", folder, found=f"this: {error}")
        return False
    parts = []
    for numbers in listed:
        try:
            parts.append(lerobot_layout.part(folder, template, numbers))
        except lerobot_layout.OutsideFolder:
            problems.add("path-outside", folder, found=template)
        except InputError:
            named = " and ".join(f"{name} {number}" for name, number in numbers.items())
            problems.add("missing-part", folder, found=f"no file of {named}")
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
    features = lerobot_layout.info_of(folder).get("features")
    for name, told in features.items() if isinstance(features, dict) else ():
        shape = told.get("shape") if isinstance(told, dict) else None
        if name not in file or not isinstance(shape, list) or told.get("dtype") == "video":
            continue  # a film's shape is looked at when it is decoded
        try:
            column = file.read(name)
        except InputError:
            continue  # told with the rows
        if int(np.prod(column.shape[1:])) != int(np.prod(shape)):
            problems.add("feature-shape", folder, name, found=f"{list(column.shape[1:])}", told=shape)
