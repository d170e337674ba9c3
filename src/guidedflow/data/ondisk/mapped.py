"""A dataset on disk that may be larger than memory: a folder of memory-mapped columns, read by stretches of rows.

    manifest.json      name, source, fingerprint, sizes, types and ranges of the columns, the actions' in each dimension
    COLUMN.npy         one for each column of `Dataset`
    ends.npy           the final row of each episode
    returns.npy        the undiscounted return of each episode

The fingerprint is that of the same `Dataset` in memory, without goals. Nothing is unpickled. This module does not know
how a folder is written, nor what is done with rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from guidedflow.data.dataset import Dataset, Excess
from guidedflow.data.summary import spread
from guidedflow.errors import InputError
from guidedflow.files import DamagedFile, read_json, reason
from guidedflow.normalization import ActionScale
from guidedflow.packing import Shape, shape_of, type_from, type_of

MANIFEST = "manifest.json"
MARK = "guidedflow_data"  # its presence tells a manifest from any other JSON file
FORMAT = 1

_TYPES = {"observations": ("<f4", "|u1"), "last": ("|b1",), "ends": ("<i8",), "returns": ("<f8",)}


@dataclass(frozen=True)
class Mapped:
    """An open folder. Columns are opened for each reading, so that what was read does not stay in memory."""

    path: Path
    manifest: Mapping[str, Any]
    name: str
    """Of the task, as for a `Dataset`."""
    clip_actions: bool = False
    """Clip actions that lie outside [-1, 1], where they are trained on."""
    action_scale: ActionScale | None = None
    """Map actions into [-1, 1], where they are trained on."""
    goal_conditioned: bool = False
    """Whether it is for reaching goals, which are its own observations, and not for rewards."""

    @classmethod
    def open(cls, path: Path | str, name: str | None = None, clip_actions: bool = False) -> "Mapped":
        """The folder at `path`. Raises `InputError` where a file is missing, damaged or not as the manifest says."""
        path = Path(path).expanduser()
        manifest = _manifest(path)
        opened = cls(path, manifest, name or manifest["name"], clip_actions)
        for column in (*manifest["columns"], "ends", "returns"):
            opened.column(column)
        return opened

    def __len__(self) -> int:
        """Number of transitions."""
        return int(self.manifest["transitions"])

    def __repr__(self) -> str:
        return f"Mapped({str(self.path)!r}, {self.name!r}, episodes={self.episodes}, transitions={len(self)})"

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return int(self.manifest["episodes"])

    @property
    def fingerprint(self) -> str:
        """That of the `Dataset` in memory."""
        return str(self.manifest["fingerprint"])

    @property
    def action_range(self) -> ActionScale:
        """The range of the actions in each dimension. Raises `InputError` where a folder does not tell it."""
        try:
            low, high = (tuple(map(float, self.manifest["action_range"][end])) for end in ("low", "high"))
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"{self.path} does not tell the range of its actions in each dimension; convert it again"
            ) from None
        return ActionScale(low, high)

    @property
    def observation_shape(self) -> Shape:
        """Shape of one observation."""
        return shape_of(tuple(self.manifest["columns"]["observations"]["shape"][1:]), self.observation_dtype)

    @property
    def observation_dtype(self) -> np.dtype[Any]:
        """Type of an observation's numbers."""
        return type_from(self.manifest["columns"]["observations"]["type"])

    @property
    def actions_outside(self) -> Excess:
        """How much of the actions that are trained on lies outside [-1, 1]: nothing, if they are clipped or mapped."""
        excess = Excess(**self.manifest["actions_outside"])
        return excess._replace(share=0.0, row=None) if self.clip_actions or self.action_scale is not None else excess

    @cached_property
    def ends(self) -> Int64[np.ndarray, " episodes"]:
        """The final row of each episode."""
        return np.array(self.column("ends"))

    @cached_property
    def returns(self) -> Float64[np.ndarray, " episodes"]:
        """The undiscounted return of each episode."""
        return np.array(self.column("returns"))

    def __contains__(self, column: str) -> bool:
        return column in self.manifest["columns"]

    def rows(self, column: str, begin: int, stop: int) -> NDArray[Any]:
        """A copy of a stretch of rows."""
        return np.array(self.column(column)[begin:stop])

    def column(self, name: str) -> NDArray[Any]:
        """A column as a memory map: what is read of it is in memory as long as it lives."""
        path = self.path / f"{name}.npy"
        try:
            column = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            told = reason(error) if isinstance(error, OSError) else str(error)
            raise InputError(f"{path} must be a column of the dataset, found damage ({told}); convert again") from error
        expected = self._expected(name)
        found = (list(column.shape), type_of(column.dtype))
        if found != expected:
            raise InputError(f"{path} must have shape and type {expected} as {MANIFEST} says, found {found}")
        return column

    def read(self, rows: int | None = None) -> Dataset:
        """All of it in memory, or its first whole episodes, at least one, of about so many rows."""
        stop = len(self) + self.episodes
        if rows is not None:
            stop = int(self.ends[min(int(np.searchsorted(self.ends, rows)), self.episodes - 1)]) + 1
        columns: dict[str, Any] = {name: self.rows(name, 0, stop) for name in self.manifest["columns"]}
        goals = columns["observations"] if self.goal_conditioned else None
        return Dataset(name=self.name, **columns, goals=goals)

    def summary(self) -> dict[str, Any]:
        """What `summarize` tells of a dataset in memory, as far as the manifest and the episodes tell it."""
        told, outside = self.manifest["columns"], self.manifest["actions_outside"]
        ranges = {name: {end: entry[end] for end in ("least", "greatest")} for name, entry in told.items()}
        shape = told["observations"]["shape"][1:]
        of_actions = {"share_outside": outside["share"], "first_outside_row": outside["row"]}
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "source": self.manifest["source"],
            "episodes": self.episodes,
            "transitions": len(self),
            "observations": {"shape": shape, "type": told["observations"]["type"], **ranges["observations"]},
            "actions": {"size": told["actions"]["shape"][1], **ranges["actions"], **of_actions},
            "rewards": ranges["rewards"],
            "episode_lengths": spread(np.diff(self.ends, prepend=-1) - 1),
            "returns": spread(self.returns),
        }

    def _expected(self, name: str) -> tuple[list[int], str]:
        if name in ("ends", "returns"):
            return [self.episodes], _TYPES[name][0]
        entry = self.manifest["columns"][name]
        return entry["shape"], entry["type"]


def is_mapped(path: Path) -> bool:
    """Whether a folder is one of these."""
    return (path / MANIFEST).is_file()


def home(task: str, folder: Path | None) -> Path:
    """The folder. Raises `InputError` where none is named."""
    if folder is None:
        raise InputError(f"a dataset that was converted is a folder, but {task!r} is none; name it by its path")
    return folder


def recorded_name(path: Path) -> str | None:
    """The name of the dataset in a folder; None for another folder. Raises `InputError` for a damaged manifest."""
    return str(_manifest(path)["name"]) if is_mapped(path) else None


def _manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    try:
        manifest = read_json(file)
    except DamagedFile as error:
        told = f"its {MANIFEST} is not JSON"
        if isinstance(cause := error.__cause__, OSError):
            told = f"{MANIFEST} cannot be read: {reason(cause)}"
        elif cause is None:
            told = f"its {MANIFEST} has no entry {MARK!r}"
        raise InputError(f"{path} is not a converted dataset: {told}") from error
    if MARK not in manifest:
        raise InputError(f"{path} is not a converted dataset: its {MANIFEST} has no entry {MARK!r}")
    if manifest[MARK] != FORMAT:
        raise InputError(f"{file} has format {manifest[MARK]!r}; this version of guidedflow reads {FORMAT}")
    if not _is_whole(manifest):
        raise InputError(f"{file} must tell name, sizes, types and fingerprint of a dataset; convert it again")
    return manifest


def _is_known(name: str, told: str) -> bool:
    """Whether a column may be of a type."""
    if name == "observations" and told.startswith("["):
        return type_of(type_from(told)) == told
    return told in _TYPES.get(name, ("<f4",))


def _is_whole(manifest: Mapping[str, Any]) -> bool:
    """Whether a manifest tells all that is asked of it, of columns that there are."""
    try:
        columns = manifest["columns"]
        known = {"observations", "actions", "rewards", "masks", "last"}
        return (
            known <= columns.keys() <= known | {"weights"}
            and all(_is_known(name, told["type"]) for name, told in columns.items())
            and {told["shape"][0] for told in columns.values()} == {manifest["transitions"] + manifest["episodes"]}
            and all({"least", "greatest"} <= told.keys() for told in columns.values())
            and isinstance(manifest["name"], str)
            and isinstance(manifest["source"], str)
            and isinstance(manifest["fingerprint"], str)
            and {"share", "row", "largest"} <= manifest["actions_outside"].keys()
        )
    except (KeyError, TypeError, AttributeError, IndexError, ValueError):
        return False
