"""Which transitions a batch is made of: indices, drawn with replacement.

    Uniform     each transition has the same chance
    Weighted    its own
    Slots       as many transitions of each slot as of any other, uniform inside a slot

A drawing is a part of the pytree that a compiled update draws from. This module does not know what a transition is.
"""

from typing import Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Int64, PRNGKeyArray, Real, UInt32

BITS = 31
"""A weighted draw is a whole number of so many bits: any share is right to 2**-31, where float32 ends at 2**-24."""


@runtime_checkable
class Drawing(Protocol):
    """Draws `batch_size` indices of `count` transitions."""

    def __call__(self, key: PRNGKeyArray, batch_size: int, count: int) -> Int[Array, " batch"]: ...

    def every(self, count: int) -> Int64[np.ndarray, " transitions"]:
        """The indices that may be drawn, in order."""
        ...


class Uniform(eqx.Module):
    """Each of the `count` transitions has the same chance."""

    def __call__(self, key: PRNGKeyArray, batch_size: int, count: int) -> Int[Array, " batch"]:
        return jax.random.randint(key, (batch_size,), 0, count)

    def every(self, count: int) -> Int64[np.ndarray, " transitions"]:
        return np.arange(count)


UNIFORM = Uniform()


class Weighted(eqx.Module):
    """Each transition by its weight: the inverse of the cumulative distribution, in whole numbers."""

    edges: UInt32[Array, " transitions"]
    """Where the share of a transition ends, of 2**31; one without a weight ends where it begins, and is never drawn."""

    @classmethod
    def of(cls, weights: Real[np.ndarray, " transitions"]) -> "Weighted":
        """By weights that need not sum to 1; at least one must be above 0."""
        sums = np.cumsum(weights, dtype=np.float64)
        return cls(jnp.asarray(np.round(sums * (2**BITS / sums[-1])).astype(np.uint32)))

    def __call__(self, key: PRNGKeyArray, batch_size: int, count: int) -> Int[Array, " batch"]:
        numbers = jax.random.bits(key, (batch_size,), jnp.uint32) >> (32 - BITS)
        return jnp.searchsorted(self.edges, numbers, side="right")

    def every(self, count: int) -> Int64[np.ndarray, " transitions"]:
        return np.flatnonzero(np.diff(np.asarray(self.edges), prepend=np.uint32(0)))


class Slots(eqx.Module):
    """A slot, each with the same chance, and one of its transitions, each with the same chance again.

    Both are remainders of 32 bits, so that the chances in a slot of 10,000 differ by two millionths of themselves.
    """

    counts: UInt32[Array, " slots"]
    """Transitions of each slot; those of slot m begin at index m * `width`."""
    width: int = eqx.field(static=True)

    def __call__(self, key: PRNGKeyArray, batch_size: int, count: int) -> Int[Array, " batch"]:
        which, inside = jax.random.bits(key, (2, batch_size), jnp.uint32)
        slots = which % jnp.uint32(len(self.counts))
        return (slots * jnp.uint32(self.width) + inside % self.counts[slots]).astype(jnp.int32)

    def every(self, count: int) -> Int64[np.ndarray, " transitions"]:
        return np.flatnonzero(np.arange(self.width) < np.asarray(self.counts)[:, None])
