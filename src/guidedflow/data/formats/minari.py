"""Minari's datasets (Younis et al., Farama Foundation), read and written through the minari package, HDF5 or Arrow.

A dataset lies in `$MINARI_DATASETS_PATH/ID/data`, by default under `~/.minari/datasets`. An episode of L steps holds
L + 1 observations, L `actions`, `rewards`, `terminations` and `truncations`. Masks are 1 - `terminations`; an episode
ends at `terminations`, `truncations` or its own end, so that one which goes on after a terminal state comes in pieces.
Observations of a dictionary or tuple stand side by side, in the order of their space, as Gymnasium flattens them. Where
a dictionary has an image, its entries are the parts of an observation. No
environment that a dataset names is ever built, since its author chose that code. This module does not know what acts.
"""

import json
import os
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from guidedflow import environments
from guidedflow.data.dataset import Dataset
from guidedflow.data.formats.arrays import DAMAGE, needing, words
from guidedflow.data.formats.recording import Recording
from guidedflow.data.observations import fault
from guidedflow.errors import InputError
from guidedflow.files import DamagedFile, read_json, replacing
from guidedflow.packing import pack, unpacked

FORMATS = ("hdf5", "arrow")


class UnevenEpisode(InputError):
    """An episode whose columns are not of the lengths that its rewards ask for."""

    def __init__(self, data: Path, episode: object, steps: int, found: str) -> None:
        super().__init__(
            f"{data}: episode {episode} must have one observation more than its {steps} rewards and as many actions "
            f"and flags, found {found}"
        )
        self.found = found


def folder() -> Path:
    """Where Minari keeps its datasets."""
    return Path(os.environ.get("MINARI_DATASETS_PATH", "~/.minari/datasets")).expanduser()


def is_minari(path: Path) -> bool:
    """Whether a folder is a dataset of Minari's: the one with the name, or the `data` inside."""
    return _data(path) is not None


def claims(task: str, place: Path | None) -> bool:
    """Whether a name is that of one of Minari's datasets: known here, or in Minari's own folder."""
    if environments.known(task):
        return environments.parse(task).suite == "minari"
    return place is None and is_minari(folder() / task)


def home(name: str, place: Path | None = None) -> Path:
    """The folder of a dataset: the place, or under its name in the place or in Minari's own; it need not be there."""
    candidates = [folder() / name] if place is None else [place.expanduser(), place.expanduser() / name]
    return next((path for path in candidates if is_minari(path)), candidates[-1])


def recorded_name(path: Path) -> str | None:
    """The name that a folder gives its dataset."""
    if (data := _data(path)) is None:
        return None
    try:
        name = read_json(data / "metadata.json").get("dataset_id")
    except DamagedFile:  # told better when it is read
        return None
    return name if isinstance(name, str) else None


def data_of(path: Path, name: str) -> Path:
    """The folder of a dataset's data, in a folder of Minari's. Raises `InputError` where there is none."""
    if (data := _data(path)) is None:
        raise missing(path, name)
    return data


def missing(path: Path, name: str) -> InputError:
    """The sentence about a dataset that is not there."""
    return InputError(
        f"{path} holds no Minari dataset: download it by `guidedflow data download {name}`, or name a folder by "
        "--dataset"
    )


def load(path: Path, name: str) -> Dataset:
    """The dataset of a folder, with its actions as recorded. Raises `InputError` as `record` does, and for NaN."""
    return record(path, name).to_dataset(name)


def record(path: Path, name: str) -> Recording:
    """What the episodes of a folder hold, whatever their numbers are.

    Raises `InputError` where it is missing, damaged, of a version that minari does not read, or not of boxes.
    """
    data = data_of(path, name)
    with needing("minari", data, "minari"):
        from minari import supported_dataset_versions
        from minari.dataset.minari_storage import MinariStorage
    metadata = _check(data, supported_dataset_versions)
    try:
        storage = MinariStorage.read(data)
        observation, action = in_order(storage.observation_space, metadata), storage.action_space
        if not isinstance(action, gymnasium.spaces.Box) or len(action.shape) != 1:
            raise InputError(f"{data}: actions must be a box of numbers, found {action}")
        episodes = [
            episode_columns(data, observation, each) for each in storage.get_episodes(range(storage.total_episodes))
        ]
    except ImportError as error:
        raise InputError(
            f"{data} needs a package to be read ({error}): install it by pip install 'guidedflow[minari]'"
        ) from error
    except (*DAMAGE, AssertionError, AttributeError, IndexError) as error:
        told = f"{data} must be a complete Minari dataset, found damage ({words(error)})"
        raise InputError(f"{told}; get it again") from error
    if not episodes:
        raise InputError(f"{data} must hold episodes, found none")
    steps = sum(np.count_nonzero(~each["last"]) for each in episodes)
    if metadata.get("total_steps", steps) != steps:
        raise InputError(
            f"{data} must hold as many steps as its metadata says, {metadata['total_steps']}, found {steps}; "
            "it is incomplete: get it again"
        )
    columns: dict[str, Any] = {key: np.concatenate([each[key] for each in episodes]) for key in episodes[0]}
    last = columns.pop("last")
    return Recording(**columns, ends=last, final=last)


def write(dataset: Dataset, path: Path, data_format: str = "hdf5") -> None:
    """Write a dataset as Minari's folder `path`, complete or not at all; episodes without a step are left out.

    The last step of an episode is terminated where its mask is 0 and truncated elsewhere. Raises `InputError` for masks
    other than 0 and 1, and where the disk refuses.
    """
    with needing("minari", path, "minari"):
        import minari
        from minari.dataset.minari_storage import MinariStorage
    if dataset.weights is not None:
        raise InputError(f"dataset {dataset.name!r}: Minari has no place for weights; convert to npz, hdf5 or mapped")
    if not np.isin(dataset.masks[~dataset.last], (0, 1)).all():
        raise InputError(f"dataset {dataset.name!r}: Minari has only masks of 0 and 1")
    with replacing(path.resolve()) as part:  # minari joins a relative path to itself
        (part / "data").mkdir(parents=True)
        storage = MinariStorage.new(
            part / "data",
            observation_space=_space(dataset.observations),
            action_space=_box(dataset.actions[~dataset.last]),
            data_format=data_format,
            jpeg_encoding=False,
        )
        storage.update_episodes(_buffers(dataset))
        storage.update_metadata({"dataset_id": _identifier(dataset.name), "minari_version": minari.__version__})


def episode_columns(data: Path, space: gymnasium.Space[Any], episode: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """An episode's columns; where it goes on after its end, a row more for each piece."""
    steps = len(episode["rewards"])
    observations = _side_by_side(space, episode["observations"])
    lengths = {key: len(episode[key]) for key in ("actions", "terminations", "truncations")}
    if len(observations) != steps + 1 or set(lengths.values()) - {steps}:
        raise UnevenEpisode(data, episode["id"], steps, f"{len(observations)} observations, {lengths}")
    ends = (episode["terminations"] | episode["truncations"]).astype(bool)
    inner = np.flatnonzero(ends[:-1]) + 1  # rows that are an end's successor, and also begin the next piece
    order = np.sort(np.concatenate([np.arange(steps + 1), inner]))
    last = np.append(np.diff(order) == 0, True)

    def padded(column: NDArray[Any]) -> NDArray[Any]:
        whole = np.concatenate([column, np.zeros_like(column[:1], shape=(1, *column.shape[1:]))])[order]
        whole[last] = 0
        return whole.astype(np.float32, copy=False)

    # Whatever follows an episode's last action, that action is repeated: as a next action, it is at least a real one.
    acting = np.minimum(order, steps - 1) - (last & (order < steps))
    return {
        "observations": observations[order],
        "actions": np.asarray(episode["actions"])[acting].astype(np.float32, copy=False),
        "rewards": padded(np.asarray(episode["rewards"])),
        "masks": padded(1 - np.asarray(episode["terminations"]).astype(np.float32)),
        "last": last,
    }


def in_order(space: gymnasium.Space[Any], metadata: Mapping[str, Any]) -> gymnasium.Space[Any]:
    """The observation space, its dictionaries in the order that was recorded: minari sorts the keys when it reads."""
    return _ordered(space, json.loads(metadata["observation_space"]))


def _ordered(space: gymnasium.Space[Any], told: Any) -> gymnasium.Space[Any]:
    """A space with its keys in the order of JSON's; one that JSON does not describe stays as it is."""
    inner = told.get("subspaces") if isinstance(told, dict) else None
    if isinstance(space, gymnasium.spaces.Dict) and isinstance(inner, dict):
        return gymnasium.spaces.Dict(
            OrderedDict((key, _ordered(space.spaces[key], inner[key])) for key in inner if key in space.spaces)
        )
    if isinstance(space, gymnasium.spaces.Tuple) and isinstance(inner, list):
        return gymnasium.spaces.Tuple([_ordered(each, own) for each, own in zip(space.spaces, inner, strict=True)])
    return space


def leaves(space: gymnasium.Space[Any]) -> Iterator[gymnasium.Space[Any]]:
    """The spaces that a space is made of."""
    inner = getattr(space, "spaces", None)
    if inner is None:
        yield space
        return
    for each in inner.values() if isinstance(inner, dict) else inner:
        yield from leaves(each)


def _side_by_side(space: gymnasium.Space[Any], observations: Any) -> NDArray[Any]:
    """A space's observations as one matrix; images stay what they are, and those beside others are parts."""
    if has_images(space) and not isinstance(space, gymnasium.spaces.Box):
        return pack(dict(_parts(space, observations)))
    if isinstance(space, gymnasium.spaces.Dict):
        parts = [_side_by_side(inner, observations[key]) for key, inner in space.spaces.items()]
    elif isinstance(space, gymnasium.spaces.Tuple):
        parts = [_side_by_side(inner, part) for inner, part in zip(space.spaces, observations, strict=True)]
    elif isinstance(space, gymnasium.spaces.Box):
        column = np.asarray(observations)
        return column if column.dtype == np.uint8 else column.reshape(len(column), -1).astype(np.float32)
    else:
        raise InputError(f"observations must be boxes of numbers, found {space}")
    return np.concatenate([part.reshape(len(part), -1).astype(np.float32) for part in parts], axis=1)


def has_images(space: gymnasium.Space[Any]) -> bool:
    """Whether a space is an image, or has one inside."""
    return any(len(leaf.shape or ()) == 3 and leaf.dtype == np.uint8 for leaf in leaves(space))


def _parts(space: gymnasium.Space[Any], observations: Any, prefix: str = "") -> Iterator[tuple[str, NDArray[Any]]]:
    """The parts of a dictionary by name, those of inner ones as OUTER/INNER. Raises `InputError` for other spaces."""
    if isinstance(space, gymnasium.spaces.Dict):
        for key, inner in space.spaces.items():
            yield from _parts(inner, observations[key], f"{prefix}/{key}" if prefix else key)
    elif isinstance(space, gymnasium.spaces.Box) and prefix:
        column = np.asarray(observations)
        column = column if len(space.shape) == 3 else column.reshape(len(column), -1)
        if (fault(column.shape[1:], column.dtype)) is not None:
            raise InputError(
                f"the part {prefix!r} of observations must be numbers or an image in bytes, (height, width, channels), "
                f"found {column.dtype} of shape {column.shape[1:]}"
            )
        yield prefix, column
    else:
        raise InputError(f"images and numbers together must be a dictionary of boxes, so that they have names: {space}")


def _buffers(dataset: Dataset) -> Iterator[Any]:
    from minari.data_collector import EpisodeBuffer

    ends = np.flatnonzero(dataset.last)
    for begin, end in zip([0, *(ends[:-1] + 1)], ends, strict=True):
        if begin == end:
            continue
        terminations = dataset.masks[begin:end] == 0
        truncations = np.zeros(end - begin, bool)
        truncations[-1] = not terminations[-1]
        seen = dataset.observations[begin : end + 1]
        yield EpisodeBuffer(
            observations=seen if seen.dtype.names is None else unpacked(seen),
            actions=dataset.actions[begin:end],
            rewards=dataset.rewards[begin:end],
            terminations=terminations,
            truncations=truncations,
        )


def _space(observations: NDArray[Any]) -> gymnasium.Space[Any]:
    if observations.dtype.names is not None:
        return gymnasium.spaces.Dict({name: _space(part) for name, part in unpacked(observations).items()})
    if observations.dtype == np.uint8:
        return gymnasium.spaces.Box(0, 255, observations.shape[1:], np.uint8)
    return gymnasium.spaces.Box(-np.inf, np.inf, observations.shape[1:], np.float32)


def _box(actions: NDArray[np.float32]) -> gymnasium.spaces.Box:
    """[-1, 1], and as much more in a dimension as it takes to hold actions as they were recorded."""
    return gymnasium.spaces.Box(actions.min(0, initial=-1), actions.max(0, initial=1), dtype=np.float32)


def _identifier(name: str) -> str:
    """A name that Minari takes: letters, digits, - _ . and / , with a version at its end."""
    plain = "".join(letter if letter.isalnum() or letter in "-_./" else "-" for letter in name)
    return plain if plain.rpartition("-v")[2].isdigit() else f"{plain}-v0"


def _check(data: Path, versions: Collection[str]) -> dict[str, Any]:
    """The metadata.

    Raises `InputError` for another version, and where reading would build the environment that a dataset names.
    """
    path = data / "metadata.json"
    metadata = read_json(path)
    for key in ("observation_space", "action_space", "data_format", "total_episodes"):
        if key not in metadata:
            raise InputError(
                f"{path} must say its {key}, found none: it would have to be asked of the environment that the "
                "dataset names, whose code is not run unasked"
            )
    if metadata.get("minari_version") not in versions:
        raise InputError(
            f"{path} must be of a version that the installed minari reads ({', '.join(sorted(versions))}), found "
            f"{metadata.get('minari_version')!r}"
        )
    return metadata


def _data(path: Path) -> Path | None:
    return next((place for place in (path / "data", path) if (place / "metadata.json").is_file()), None)
