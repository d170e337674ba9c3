"""A replay buffer: the newest rows of episodes in a ring, and the transitions among them.

    row          an observation, and what was done there; an episode of L actions has L + 1 rows, as in a `Dataset`
    transition   made once its next action is known, one step (a chunk) later, or when its episode ends
    dropped      with its first row, so that no transition spans the seam of the ring

Rewards, discounts and chunks are those of `Dataset.cut`, bit for bit. The columns are arrays in memory, or `.npy`
files that are mapped into it. This module does not know who acts, nor how a buffer and a dataset are mixed.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Int64, PRNGKeyArray, Shaped
from numpy.typing import NDArray

from guidedflow import files
from guidedflow.data.sampling.cutting import CUTTING, Cutting
from guidedflow.errors import InputError
from guidedflow.packing import PartShapes, Shape, dtype_of
from guidedflow.parts import Parts, on_device
from guidedflow.types import Transition

MANIFEST = "manifest.json"

_COUNTS = ("rows", "made", "dropped", "pending", "first")


class Replay:
    """The transitions of the newest `capacity` rows: `example`, `sample` and a length, as an update draws from them.

    Observations are as a policy sees them, frames included, in the units of the environment; batches hold them
    normalised where `cutting` says so. Those of several parts are rows of a structured column, and parts by name in a
    batch. With `folder` the columns are files there, which are made anew. Raises `InputError` for a capacity that holds
    no transition, and for a folder that cannot be written.
    """

    def __init__(
        self,
        capacity: int,
        observation_shape: Shape,
        action_size: int,
        *,
        observation_dtype: str = "float32",
        cutting: Cutting = CUTTING,
        folder: Path | None = None,
    ) -> None:
        self.capacity, self._cutting, self._folder = capacity, cutting, folder
        self._chunk = cutting.horizon if cutting.chunk else 1
        if capacity < (least := cutting.horizon + self._chunk + 1):
            raise InputError(f"capacity must be at least {least} rows to hold a transition, but is {capacity}.")
        powers = np.power(cutting.discount, np.arange(cutting.horizon + 1))
        self._powers = powers.astype(np.float32)
        seen: tuple[tuple[int, ...], np.dtype[Any]]
        if isinstance(observation_shape, PartShapes):
            seen = (), dtype_of(observation_shape)
        else:
            seen = observation_shape, np.dtype(observation_dtype)
        kinds: dict[str, tuple[tuple[int, ...], np.dtype[Any] | str]] = {
            "observations": seen,
            "actions": ((action_size,), "float32"),
            **dict.fromkeys(("rewards", "masks", "sums", "discounts"), ((), "float32")),
            **dict.fromkeys(("starts", "nexts", "stops"), ((), "int64")),
        }
        self._columns = {name: self._column(name, *kind) for name, kind in kinds.items()}
        self.rows = self.made = self.dropped = self.pending = 0
        self.first = -1
        """First row of the episode in progress; -1 between episodes. All rows are counted from the first ever."""

    def __len__(self) -> int:
        """Number of transitions that can be drawn."""
        return self.made - self.dropped

    @property
    def newest(self) -> Shaped[np.ndarray, "*observation"]:
        """The newest observation."""
        return self._columns["observations"][(self.rows - 1) % self.capacity, ...]

    def begin(self, observation: Shaped[np.ndarray, "*observation"]) -> None:
        """The first observation of an episode; one that is in progress ends."""
        self.end()
        self.first = self.pending = self.rows
        self._append(observation)

    def add(
        self,
        action: Float32[np.ndarray, " action"],
        reward: float,
        mask: float,
        observation: Shaped[np.ndarray, "*observation"],
    ) -> None:
        """A step of the episode in progress: its action in the box, and what it led to; `mask` as in a `Dataset`."""
        self._fill(action, reward, mask)
        self._append(observation)
        while self.pending + self._cutting.horizon + self._chunk <= self.rows - 1:
            self._make()

    def end(self) -> None:
        """End the episode in progress, if there is one: its final row repeats the last action."""
        if self.first < 0:
            return
        final = self.rows - 1
        if final > self.first:
            self._fill(self._columns["actions"][(final - 1) % self.capacity], 0.0, 1.0)
        while self.pending + self._chunk <= final:
            self._make()
        self.first = -1

    def example(self) -> Transition:
        """A transition of zeros, without a batch axis."""
        return jax.tree.map(lambda column: jnp.zeros(column.shape[1:], column.dtype), self.take(np.zeros(1, np.int64)))

    def sample(self, key: PRNGKeyArray, batch_size: int) -> Transition:
        """A batch drawn uniformly with replacement, on the host: not within a compiled program.

        Raises `InputError` while there is no transition.
        """
        if not len(self):
            raise InputError("the replay buffer has no transition yet; add the steps of an episode first.")
        return self.take(np.asarray(jax.random.randint(key, (batch_size,), 0, len(self)), np.int64))

    def take(self, indices: Int64[np.ndarray, " batch"]) -> Transition:
        """The transitions of these indices, from 0 for the oldest, each field with a leading batch axis."""
        place = (self.dropped + indices) % self.capacity
        starts, nexts, stops = (self._columns[name][place] for name in ("starts", "nexts", "stops"))
        return Transition(
            observation=self._observations(starts),
            action=self._actions(starts, stops),
            reward=jnp.asarray(self._columns["sums"][place]),
            discount=jnp.asarray(self._columns["discounts"][place]),
            next_observation=self._observations(nexts),
            next_action=self._actions(nexts, stops),
        )

    def state(self) -> dict[str, NDArray[Any]]:
        """All that `restore` needs: the columns as far as they are filled, and counts."""
        counts = np.asarray([getattr(self, name) for name in _COUNTS], np.int64)
        filled = min(self.rows, self.capacity)
        return {"counts": counts, **{name: column[:filled] for name, column in self._columns.items()}}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Become the buffer whose `state` this is. Raises `InputError` for one of another capacity or other shapes."""
        counts = dict(zip(_COUNTS, state["counts"].tolist(), strict=True))
        filled = min(counts["rows"], self.capacity)
        for name, column in self._columns.items():
            saved = state[name]
            if saved.shape != (filled, *column.shape[1:]) or saved.dtype != column.dtype:
                raise InputError(
                    f"the saved replay buffer has {name} of shape {saved.shape}, but this one needs "
                    f"{(filled, *column.shape[1:])}; give the capacity that it was made with."
                )
            column[:filled] = saved
        for name, count in counts.items():
            setattr(self, name, count)

    def _column(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any] | str) -> NDArray[Any]:
        if self._folder is None:
            return np.zeros((self.capacity, *shape), dtype)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{name}.npy"
            return np.lib.format.open_memmap(path, "w+", np.dtype(dtype), (self.capacity, *shape))
        except OSError as error:
            raise InputError(f"{self._folder} cannot hold a replay buffer: {files.reason(error)}.") from error

    def _append(self, observation: Shaped[np.ndarray, "*observation"]) -> None:
        """A new row, in the place of the oldest; the transitions that begin there are dropped."""
        self._columns["observations"][self.rows % self.capacity] = observation
        self.rows += 1
        starts, oldest = self._columns["starts"], self.rows - self.capacity
        while self.dropped < self.made and starts[self.dropped % self.capacity] < oldest:
            self.dropped += 1

    def _fill(self, action: Float32[np.ndarray, " action"], reward: float, mask: float) -> None:
        """What was done at the newest row."""
        place = (self.rows - 1) % self.capacity
        for name, value in (("actions", action), ("rewards", reward), ("masks", mask)):
            self._columns[name][place] = value

    def _make(self) -> None:
        """The transition that begins at the pending row, with the numbers of `Cut.of`."""
        start, horizon, discount = self.pending, self._cutting.horizon, self._cutting.discount
        after = min(start + horizon, self.rows - 1)
        rewards, masks = self._columns["rewards"], self._columns["masks"]
        total, alive = rewards[start % self.capacity], masks[start % self.capacity]
        for ahead in range(1, after - start):
            row = (start + ahead) % self.capacity
            total = total + np.float32(discount**ahead) * alive * rewards[row]
            alive = alive * masks[row]
        values = total, alive * self._powers[after - start], start, after, self.rows - 1
        for name, value in zip(("sums", "discounts", "starts", "nexts", "stops"), values, strict=True):
            self._columns[name][self.made % self.capacity] = value
        self.made += 1
        self.pending += 1

    def _observations(self, rows: Int64[np.ndarray, " batch"]) -> Shaped[jax.Array, " batch *observation"] | Parts:
        seen = on_device(self._columns["observations"][rows % self.capacity])
        scale = self._cutting.observation_scale
        return seen if scale is None else scale(seen)

    def _actions(
        self, rows: Int64[np.ndarray, " batch"], stops: Int64[np.ndarray, " batch"]
    ) -> Float32[jax.Array, "batch action"]:
        """The actions from these rows on, a chunk as one; at an episode's end its final row is repeated."""
        steps = np.minimum(rows[:, None] + np.arange(self._chunk), stops[:, None])
        return jnp.asarray(self._columns["actions"][steps % self.capacity].reshape(len(rows), -1))


def save(folder: Path, state: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays as `.npy` files with a manifest of their checksums: all of them or none, in the place of others.

    Raises `InputError` where the disk refuses.
    """
    part = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        sums = {}
        for name, array in state.items():
            np.save(part / f"{name}.npy", array, allow_pickle=False)
            files.sync(part / f"{name}.npy")
            sums[name] = _checksum(part / f"{name}.npy")
        files.write_synced(part / MANIFEST, (json.dumps(sums, indent=1) + "\n").encode())
        files.sync(part)
        shutil.rmtree(folder, ignore_errors=True)
        files.rename(part, folder)
    except OSError as error:
        raise InputError(f"{folder} could not be written: {files.reason(error)}; earlier ones are unharmed.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def load(folder: Path) -> dict[str, NDArray[Any]]:
    """The arrays that `save` wrote, mapped from disk. Raises `InputError` where they are missing or damaged."""
    found = {}
    for name, checksum in files.read_json(folder / MANIFEST, "the manifest of a replay buffer").items():
        path = folder / f"{name}.npy"
        if Path(path.name) != Path(f"{name}.npy") or not path.is_file() or _checksum(path) != checksum:
            raise InputError(f"{path} is damaged or missing; its checksum is not that of {MANIFEST}.")
        found[name] = np.load(path, mmap_mode="r" if path.stat().st_size > 2**20 else None, allow_pickle=False)
    return found


def _checksum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
