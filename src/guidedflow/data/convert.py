"""A dataset written to disk, in a format that the loaders here read back.

    npz, hdf5             the columns of `Dataset`, and beside the file the names of its columns
    minari, minari-arrow  a folder of Minari's; no rows of final observations' actions and rewards, which mean nothing
    mapped                a folder of memory-mapped columns, to be trained on where it exceeds memory

This module does not know where a dataset is from.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from guidedflow import environments
from guidedflow.data.dataset import Dataset
from guidedflow.data.formats import columns, minari
from guidedflow.data.formats.arrays import needing
from guidedflow.data.ondisk import mapper
from guidedflow.errors import InputError
from guidedflow.files import folders_above, remove_quietly, replacing
from guidedflow.packing import unpacked

Format = Literal["npz", "hdf5", "minari", "minari-arrow", "mapped"]

_SUFFIXES: dict[str, Format] = {".npz": "npz", ".hdf5": "hdf5", ".h5": "hdf5", "": "minari", ".mapped": "mapped"}


_PART = "observations/"
"""What the columns of observations of several parts begin with."""


def convert(
    dataset: Dataset | Iterable[Dataset], path: Path, to: Format | None = None, source: str | None = None
) -> Path:
    """Write a dataset to `path`, complete or not at all; the format is by default told by the suffix.

    A mapped folder may be written from parts, of which only one is in memory at a time. Raises `InputError` where
    something is there already, for an unknown suffix, for parts of another format, for goals that it has no place for,
    and where the disk refuses.
    """
    path = path.expanduser()
    to = to or _SUFFIXES.get(path.suffix)
    if to is None:
        raise InputError(
            f"{path} has no known suffix: say the format by --to, one of npz, hdf5, minari, minari-arrow, mapped"
        )
    dataset = (
        _check_goals(dataset, to) if isinstance(dataset, Dataset) else (_check_goals(part, to) for part in dataset)
    )
    for taken in (path, columns.place(path)):
        if taken.exists():
            raise InputError(f"{taken} exists: remove it, or convert to another place")
    with folders_above(path):
        if to == "mapped":
            parts = [dataset] if isinstance(dataset, Dataset) else dataset
            mapper.write(map(_without_goals, parts), path, source or "memory")
        elif not isinstance(dataset, Dataset):
            raise InputError(
                f"data in parts becomes a mapped folder, not {to}; add --to mapped, or end {path} with .mapped"
            )
        elif to in ("minari", "minari-arrow"):
            minari.write(dataset, path, "arrow" if to == "minari-arrow" else "hdf5")
        else:
            columns.keep(path, _told(dataset), dataset.name)
            try:
                _write(dataset, path, to)
            except BaseException:
                remove_quietly(columns.place(path))
                raise
    return path


def _check_goals(dataset: Dataset, to: Format) -> Dataset:
    """The dataset. Raises `InputError` for goals that would be lost: those of a name are its observations."""
    if dataset.goals is None or (_named_goals(dataset) and dataset.goals is dataset.observations):
        return dataset
    if _named_goals(dataset):
        raise InputError(
            f"the goals of {dataset.name!r} have no place in another format: keep OGBench's own file, or convert "
            f"{dataset.name.replace('-oraclerep', '')!r}, whose goals are its observations"
        )
    if to not in ("npz", "hdf5"):
        raise InputError(f"the goals of {dataset.name!r} have no place in the format {to}; convert to npz or HDF5")
    return dataset


def _without_goals(dataset: Dataset) -> Dataset:
    """The dataset without goals that its observations are: the name tells them again."""
    return dataset if dataset.goals is None else dataset.with_goals(itself=False)


def _named_goals(dataset: Dataset) -> bool:
    """Whether the name alone tells that it has goals."""
    return environments.known(dataset.name) and bool(environments.task_ids(dataset.name))


def _told(dataset: Dataset) -> columns.Columns:
    """The names of its columns."""
    told = columns.OURS
    if dataset.weights is not None:
        told = dataclasses.replace(told, weights="weights")
    if (names := dataset.observations.dtype.names) is not None:
        told = dataclasses.replace(told, observations="+".join(f"{_PART}{name}" for name in names))
    if dataset.goals is not None and not _named_goals(dataset):
        told = dataclasses.replace(told, goals="observations" if dataset.goals is dataset.observations else "goals")
    return told


def _write(dataset: Dataset, path: Path, to: Format) -> None:
    """The columns."""
    stored: dict[str, NDArray[Any]] = {
        name: getattr(dataset, name) for name in _told(dataset).told().values() if _PART not in name
    }
    if dataset.observations.dtype.names is not None:
        stored |= {f"{_PART}{name}": part for name, part in unpacked(dataset.observations).items()}
    with replacing(path) as part, part.open("wb") as file:
        if to == "npz":
            np.savez(file, allow_pickle=False, **stored)
        else:
            _write_hdf5(file, stored, path)


def _write_hdf5(file: Any, stored: dict[str, NDArray[Any]], path: Path) -> None:
    with needing("h5py", path, "hdf5"):
        import h5py
    with h5py.File(file, "w") as made:
        for name, column in stored.items():
            made.create_dataset(name, data=column)
