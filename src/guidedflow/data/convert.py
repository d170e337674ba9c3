"""A dataset written to disk, in a format that the loaders here read back.

    npz, hdf5             the columns of `Dataset`, and beside the file the names of its columns
    minari, minari-arrow  a folder of Minari's; no rows of final observations' actions and rewards, which mean nothing
    mapped                a folder of memory-mapped columns, to be trained on where it exceeds memory

This module does not know where a dataset is from.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from guidedflow import environments
from guidedflow.data.dataset import Dataset
from guidedflow.data.formats import columns, making, minari
from guidedflow.data.formats.arrays import needing
from guidedflow.data.formats.npz import NpzArrays
from guidedflow.data.load import read_parts
from guidedflow.data.mixing import Part, check_shares, mix
from guidedflow.data.ondisk import mapper
from guidedflow.data.sources import Origin
from guidedflow.errors import InputError
from guidedflow.files import folders_above, remove_quietly, replacing
from guidedflow.packing import unpacked

Format = Literal["npz", "hdf5", "minari", "minari-arrow", "mapped"]

_SUFFIXES: dict[str, Format] = {".npz": "npz", ".hdf5": "hdf5", ".h5": "hdf5", "": "minari", ".mapped": "mapped"}


_PART = "observations/"
"""What the columns of observations of several parts begin with."""


def check_free(paths: Sequence[Path], to: Format | None = None) -> None:
    """Raises `InputError` where something is at one of the paths, two are the same, or a suffix is unknown."""
    places = [path.expanduser() for path in paths]
    for place in places:
        format_of(place, to)
        for taken in (place, columns.place(place)):
            if taken.exists():
                raise InputError(f"{taken} exists: remove it, or choose another place")
    if len({place.resolve() for place in places}) < len(places):
        raise InputError(f"{' and '.join(map(str, places))} are one place: name a different one for each part")


def convert(
    dataset: Dataset | Iterable[Dataset],
    path: Path,
    to: Format | None = None,
    source: str | None = None,
    record: Mapping[str, Any] | None = None,
) -> Path:
    """Write a dataset to `path`, complete or not at all; the format is by default told by the suffix.

    A mapped folder may be written from parts, of which only one is in memory at a time. A `record` of how the data were
    made goes into an npz or HDF5 file; other formats have no place for one. Raises `InputError` where something is
    there already, for an unknown suffix, for parts of another format, for goals that it has no place for, and where the
    disk refuses.
    """
    path = path.expanduser()
    to = format_of(path, to)
    dataset = (
        _check_goals(dataset, to) if isinstance(dataset, Dataset) else (_check_goals(part, to) for part in dataset)
    )
    check_free([path], to)
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
                _write(dataset, path, to, record)
            except BaseException:
                remove_quietly(columns.place(path))
                raise
    return path


def format_of(path: Path, to: Format | None = None) -> Format:
    """The format that is asked for, or by default told by the suffix. Raises `InputError` for an unknown suffix."""
    if to is None and (to := _SUFFIXES.get(path.suffix)) is None:
        raise InputError(
            f"{path} has no known suffix: say the format by --to, one of npz, hdf5, minari, minari-arrow, mapped"
        )
    return to


def convert_mixture(
    origins: Sequence[Origin],
    shares: Sequence[float],
    path: Path,
    to: Format | None = None,
    *,
    seed: int = 0,
    episodes: int | None = None,
) -> Path:
    """Write whole episodes of several sources into one file, with these shares of its episodes; see `mixing`.

    Files of OGBench's layout keep all their columns, so the mixture serves every task of their environment. Others are
    written as `convert` writes them. Raises `InputError` for shares that are none, for data of other sizes or of other
    environments, for a format that cannot record the mixture, and for what `convert` refuses.
    """
    path = path.expanduser()
    to = to or _SUFFIXES.get(path.suffix)
    raw = all(origin.source.name == "ogbench" for origin in origins)
    allowed = ("npz",) if raw else ("npz", "hdf5")
    if to not in allowed:
        words = "npz" if raw else "npz or HDF5"
        raise InputError(f"a mixture of such files is written as {words}, which records it; let {path} end in .npz.")
    if path.exists():
        raise InputError(f"{path} exists: remove it, or write the mixture to another place")
    check_shares(shares, len(origins))
    if not raw:
        datasets = [_whole(origin) for origin in origins]
        parts = [Part(str(o.path), _columns(d), d.last) for o, d in zip(origins, datasets, strict=True)]
        columns, record = mix(parts, shares, seed, episodes)
        _add_records(record, origins)
        made: dict[str, Any] = {"name": datasets[0].name, **columns}
        return convert(Dataset(**made), path, to, None, record)
    _check_environments(origins)
    columns, record = mix([_archive(origin.path) for origin in origins], shares, seed, episodes)
    _add_records(record, origins)
    with folders_above(path), replacing(path) as part:
        with part.open("wb") as file:
            np.savez(file, allow_pickle=False, **columns)
        making.write(part, record)
    return path


def _add_records(record: dict[str, Any], origins: Sequence[Origin]) -> None:
    """Add to the record of a mixture how each source was made, where its file tells."""
    for part, origin in zip(record["parts"], origins, strict=True):
        if (made := making.read(origin.path)) is not None:
            part["made"] = made


def _whole(origin: Origin) -> Dataset:
    """A source of a mixture in memory, without goals that its observations are."""
    dataset = read_parts(origin)
    if not isinstance(dataset, Dataset):
        raise InputError(f"{origin.path} comes in parts that may exceed memory; mix some of its files instead")
    return _without_goals(dataset) if dataset.goals is dataset.observations else dataset


def _columns(dataset: Dataset) -> dict[str, NDArray[Any]]:
    """The columns of a dataset, by the names of its fields."""
    names = ("observations", "actions", "rewards", "masks", "last", "goals", "weights")
    return {name: getattr(dataset, name) for name in names if getattr(dataset, name) is not None}


def _archive(path: Path) -> Part:
    """A file of OGBench's as it is, with the states of the simulator."""
    with NpzArrays(path) as file:
        columns = {name: file.read(name) for name in file.names}
        for name, column in columns.items():
            if len(column) != len(file.read("terminals")):
                raise file.complaint(name, "have as many rows as 'terminals'", f"{len(column)} rows")
        return Part(str(path), columns, columns["terminals"].astype(bool))


def _check_environments(origins: Sequence[Origin]) -> None:
    """Raises `InputError` for collections of different environments, whose rewards mean different things."""
    named = {environments.parse(origin.task).environment: origin.path for origin in origins}
    if len(named) > 1:
        words = " and ".join(f"{environment} ({path})" for environment, path in named.items())
        raise InputError(f"a mixture needs collections of one environment, but these are of {words}.")


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


def _write(dataset: Dataset, path: Path, to: Format, record: Mapping[str, Any] | None) -> None:
    """The columns, and the record of how they were made."""
    stored: dict[str, NDArray[Any]] = {
        name: getattr(dataset, name) for name in _told(dataset).told().values() if _PART not in name
    }
    if dataset.observations.dtype.names is not None:
        stored |= {f"{_PART}{name}": part for name, part in unpacked(dataset.observations).items()}
    with replacing(path) as part:
        with part.open("wb") as file:
            if to == "npz":
                np.savez(file, allow_pickle=False, **stored)
            else:
                _write_hdf5(file, stored, path)
        if record is not None:
            making.write(part, record)


def _write_hdf5(file: Any, stored: dict[str, NDArray[Any]], path: Path) -> None:
    with needing("h5py", path, "hdf5"):
        import h5py
    with h5py.File(file, "w") as made:
        for name, column in stored.items():
            made.create_dataset(name, data=column)
