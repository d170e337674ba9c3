"""Real-time chunking: a new chunk that agrees with the old one, which is executed meanwhile (arXiv 2506.07339).

A chunk of H steps is requested every s steps and arrives d steps later. The old chunk, shifted to the present, is the
target Y of the new one. Weights W say how far each step of the new chunk is bound to it:

    W_i = 1                                       i < d: executed before the new chunk arrives
    W_i = u (exp(u) - 1) / (e - 1)                d <= i < H - s,   u = (H - s - i) / (H - s - d + 1)
    W_i = 0                                       H - s <= i: beyond the old chunk

    v' = v + min(limit, r) J' [W (Y - a1)],       a1 = a + (1 - t) v,   J the derivative of a1 in a,
    r  = ((1 - t)^2 + t^2) / (t (1 - t))

r is infinite at t = 0, where the limit stands. This module does not know how chunks are executed.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from guidedflow.errors import InputError
from guidedflow.flows.guidance import Guidance, Unguided
from guidedflow.types import Action, Scalar, Time, Value, Velocity

LIMIT = 5.0
"""Largest factor of the pull towards the old chunk, as published."""


class RealTime(eqx.Module):
    """Another guidance, and a pull towards the old chunk: the two corrections are added."""

    target: Action
    """The old chunk from the present step on, flat and in the box; what lies beyond it has the binding 0."""
    binding: Action
    """W for each number of the action, from 0 (free) to 1 (frozen)."""
    guidance: Guidance = Unguided()
    """Guidance by a value; by default none."""
    limit: float = LIMIT
    """Largest factor of the pull."""

    @property
    def asks(self) -> bool:
        """Whether the guidance inside needs a value."""
        return getattr(self.guidance, "asks", True)

    def __call__(self, velocity: Velocity, value: Value) -> Velocity:
        inner = self.guidance(velocity, value)

        def guided(point: Action, t: Time) -> Action:
            end, pull_back = jax.vjp(lambda point: point + (1 - t) * velocity(point, t), point)
            (pull,) = pull_back(self.binding * (self.target - end))
            return inner(point, t) + pull_factor(t, self.limit) * pull

        return guided


def pull_factor(t: Time, limit: float = LIMIT) -> Scalar:
    """min(limit, ((1 - t)^2 + t^2) / (t (1 - t))), which is the limit at both ends."""
    inside = t * (1 - t)
    return jnp.minimum(limit, ((1 - t) ** 2 + t**2) / jnp.maximum(inside, 1e-6))


def binding(chunk: int, delay: int, every: int) -> Float[np.ndarray, " chunk"]:
    """W of each step, for chunks of `chunk` steps that are requested every `every` steps and arrive `delay` later.

    Raises `InputError` for a chunk that is over before the next arrives.
    """
    check_delay(chunk, delay, every)
    steps, end = np.arange(chunk), chunk - every
    u = (end - steps) / (end - delay + 1)
    soft = u * np.expm1(u) / math.expm1(1)
    return np.where(steps < delay, 1.0, np.where(steps < end, soft, 0.0)).astype(np.float32)


def check_delay(chunk: int, delay: int, every: int) -> None:
    """Raise `InputError` for a delay that does not fit into chunks of `chunk` steps, requested every `every` steps.

    The old chunk must last until the new one arrives, and a step of that one must be executed before the next request.
    """
    longest = max(0, min(every - 1, chunk - every))
    if not 0 <= delay <= longest:
        raise InputError(
            f"--delay is {delay}, but a chunk of {chunk} steps that is requested anew after {every} leaves at most "
            f"{longest} steps for the next to arrive; take a smaller delay, another --replan or longer chunks."
        )


def shifted(chunk: Float[np.ndarray, " chunk *action"], every: int) -> Float[np.ndarray, " chunk *action"]:
    """The chunk as seen `every` steps later: its rest, then zeros."""
    moved = np.zeros_like(chunk)
    moved[: len(chunk) - every] = chunk[every:]
    return moved
