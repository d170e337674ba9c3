"""Actions in the units of their data, and in the box [-1, 1] that policies here act in: an affine map a dimension.

This module does not know where actions are from, nor who acts.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32


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

    @property
    def _middle(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        return (np.asarray(self.high) + np.asarray(self.low)) / 2

    @property
    def _half(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        return (np.asarray(self.high) - np.asarray(self.low)) / 2
