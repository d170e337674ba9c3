"""Folders of zarr, of its second and third format, also as diffusion_policy writes them (Chi et al., arXiv 2303.04137).

    data/NAME             a column with a row a step, such as data/action and data/state
    meta/episode_ends     the number of rows up to the end of each episode

With that layout ends, actions and states need no names; rewards and what ended the task have to be told. Objects and
pickled chunks are never decoded. This module does not know what is learned.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidedflow.data.formats.arrays import DAMAGE, Arrays, Pickled, needing, words
from guidedflow.files import DamagedFile

_MARKS = (".zgroup", "zarr.json")

_CODE = ("pickle", "json2", "vlen-utf8", "vlen-bytes", "vlen-array", "msgpack2", "categorize")
"""Codecs of objects, the first of which runs code."""

_USUAL = {
    "actions": ("data/action", "data/actions"),
    "observations": ("data/state", "data/obs", "data/observations"),
    "rewards": ("data/reward", "data/rewards"),
    "episode_ends": ("meta/episode_ends",),
}


def is_zarr(path: Path) -> bool:
    """Whether a folder is one of zarr's groups."""
    return any((path / mark).is_file() for mark in _MARKS)


class ZarrArrays(Arrays):
    """The arrays of a group, and of the groups in it."""

    format = "zarr"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with needing("zarr", path, "zarr"):
            import zarr
        try:
            group = zarr.open_group(str(path), mode="r")
            self._arrays = {
                name: array for name, array in group.members(max_depth=None) if isinstance(array, zarr.Array)
            }
        except DAMAGE as error:
            raise DamagedFile(path, "a complete zarr group", f"damage ({words(error)}); get it again") from error
        self.usual = {
            role: found
            for role, names in _USUAL.items()
            if (found := next((n for n in names if n in self._arrays), None))
        }

    @property
    def names(self) -> list[str]:
        return list(self._arrays)

    def _read(self, name: str) -> NDArray[Any]:
        array = self._arrays[name]
        told = array.metadata.to_dict()
        codecs: list[Any] = [told.get("compressor")]
        for key in ("filters", "codecs"):
            listed: Any = told.get(key)
            codecs += listed or ()
        called = {
            str(codec.get("id", codec.get("name"))).removeprefix("numcodecs.")
            for codec in codecs
            if isinstance(codec, dict)
        }
        if array.dtype.hasobject or called & set(_CODE):
            raise Pickled("objects are never decoded")
        return np.asarray(array[...])

    def close(self) -> None:
        self._arrays = {}
