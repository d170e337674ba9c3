"""Affine maps, one a dimension: actions into the box [-1, 1] that policies here act in, observations to unit scale."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from guidedflow.packing import PartShapes, is_image
from guidedflow.parts import Parts


@dataclass(frozen=True)
class ActionScale:
    """The actions, in the units of the data, that are -1 and 1 in the box; a dimension may be constant."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def spanning(cls, actions: Float[np.ndarray, "steps action"]) -> "ActionScale":
        """From the least to the greatest of these actions, at least one, in each dimension."""
        return cls(*(tuple(map(float, end)) for end in (actions.min(axis=0), actions.max(axis=0))))

    def to_box(self, actions: Float[np.ndarray, "steps action"]) -> Float32[np.ndarray, "steps action"]:
        """Into the box; a constant dimension becomes 0, and what was not spanned comes to lie outside."""
        middle, half = self._middle, self._half
        return ((actions - middle) / np.where(half > 0, half, 1)).astype(np.float32)

    def from_box(self, action: Float[Array, " numbers"]) -> Float[Array, " numbers"]:
        """Out of the box: an action, or a chunk of several."""
        steps = action.size // len(self.low)
        return jnp.tile(jnp.float32(self._middle), steps) + action * jnp.tile(jnp.float32(self._half), steps)

    def into_box(self, action: Float[Array, " numbers"]) -> Float[Array, " numbers"]:
        """Into the box: an action, or a chunk of several; the inverse of `from_box` where a dimension varies."""
        steps = action.size // len(self.low)
        half = np.where(self._half > 0, self._half, 1)
        return (action - jnp.tile(jnp.float32(self._middle), steps)) / jnp.tile(jnp.float32(half), steps)

    @property
    def _middle(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        return (np.asarray(self.high) + np.asarray(self.low)) / 2

    @property
    def _half(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        return (np.asarray(self.high) - np.asarray(self.low)) / 2


@dataclass(frozen=True)
class ObservationScale:
    """Mean and deviation of each number of an observation, in the units of the data.

    A dimension that is constant in the data keeps its unit and is only centred. Goals of other sizes have their own.
    Of an observation of several parts the numbers are those of its vectors, in the order of the parts' names.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    goal: "ObservationScale | None" = None

    @classmethod
    def of(
        cls, blocks: Iterable[Float[np.ndarray, "_rows numbers"]], goal: "ObservationScale | None" = None
    ) -> "ObservationScale":
        """From blocks of observations, each seen once, in double precision."""
        count, mean, square = 0, np.zeros(1), np.zeros(1)
        for block in blocks:
            rows = block.astype(np.float64)
            new = len(rows)
            step = rows.mean(axis=0) - mean
            square = square + np.square(rows - rows.mean(axis=0)).sum(axis=0) + step**2 * (count * new / (count + new))
            mean = mean + step * (new / (count + new))
            count += new
        deviation = np.sqrt(square / count)
        # Float32 cannot tell smaller differences from its own rounding.
        constant = deviation <= 1e-6 * np.maximum(np.abs(mean), 1e-6)
        return cls(tuple(mean.tolist()), tuple(np.where(constant, 1.0, deviation).tolist()), goal)

    def __call__(self, observations: Float[Array, "*rows numbers"] | Parts) -> Float[Array, "*rows numbers"] | Parts:
        """To mean 0 and deviation 1; frames, and a goal behind them, are each mapped as an observation is.

        Images beside vectors stay as they are.
        """
        if isinstance(observations, Parts):
            return self._of_parts(observations)
        mean, deviation = self.each(observations.shape[-1])
        lead = (1,) * (observations.ndim - 1)
        return (observations - jnp.float32(mean).reshape(*lead, -1)) / jnp.float32(deviation).reshape(*lead, -1)

    def _of_parts(self, observations: Parts) -> Parts:
        """Each vector by its own part of the numbers."""
        vectors = {name: part for name, part in observations.items() if part.dtype != jnp.uint8}
        scales = self.parts(PartShapes.of({name: part.shape[-1:] for name, part in vectors.items()}))
        return Parts(dict(observations) | {name: scales[name](part) for name, part in vectors.items()})

    def parts(self, shapes: PartShapes) -> dict[str, "ObservationScale"]:
        """The scale of each vector among parts, all its frames included; images have none."""
        sizes = {name: shape[-1] for name, shape in shapes.items() if not is_image(shape)}
        frames, found, begin = sum(sizes.values()) // len(self.mean), {}, 0
        for name, size in sizes.items():
            stop = begin + size // frames
            found[name] = ObservationScale(self.mean[begin:stop] * frames, self.deviation[begin:stop] * frames)
            begin = stop
        return found

    def each(self, size: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of each of the `size` numbers that a policy sees: frames, and a goal behind them."""
        behind = self.goal
        tail = 0 if behind is None or size % len(self.mean) == 0 else len(behind.mean)
        frames = (size - tail) // len(self.mean)
        mean, deviation = self.mean * frames, self.deviation * frames
        if behind is not None and tail:
            mean, deviation = mean + behind.mean, deviation + behind.deviation
        return mean, deviation
