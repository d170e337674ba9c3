"""How a network sees the time of a flow.

This module does not know what happens at which time.
"""

from typing import Protocol, runtime_checkable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from guidedflow.types import Time


@runtime_checkable
class TimeEmbedding(Protocol):
    """How a network sees the time: `size` numbers; it must be hashable, because it is structure and not learned."""

    @property
    def size(self) -> int:
        """How many numbers `__call__` returns."""
        ...

    def __call__(self, t: Time) -> Float[Array, " size"]: ...


class RawTime(eqx.Module):
    """The time itself, as one number (FQL)."""

    size: int = eqx.field(static=True, default=1)

    def __call__(self, t: Time) -> Float[Array, " 1"]:
        return jnp.asarray(t, jnp.float32)[None]


class SinusoidalTime(eqx.Module):
    """sin(t f_k) and cos(t f_k) with frequencies f_k from 1 down to 1e-4, geometrically (GFP: 64 numbers)."""

    size: int = eqx.field(static=True, default=64)

    def __call__(self, t: Time) -> Float[Array, " size"]:
        half = self.size // 2
        angles = t * jnp.exp(jnp.arange(half, dtype=jnp.float32) * (-jnp.log(1e4) / (half - 1)))
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)])


class SwiftTime(eqx.Module):
    """cos and sin of 1e4 t f_k, with frequencies f_k = 1e4^(-k / n) for k = 0 ... n - 1 (QGF: 16 numbers, so n = 8).

    The fastest turns 1600 times between t = 0 and 1, so in float32 its numbers carry errors of about 1e-3.
    """

    size: int = eqx.field(static=True, default=16)

    def __call__(self, t: Time) -> Float[Array, " size"]:
        half = self.size // 2
        angles = t * 1e4 * jnp.exp(jnp.arange(half, dtype=jnp.float32) * (-jnp.log(1e4) / half))
        return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)])
