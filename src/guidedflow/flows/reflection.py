"""Reflected flows: integration that never leaves a ball (ReFORM, arXiv 2602.05051).

    published    y - (step n) n where y = point + step leaves the ball, n = y / |y|
    projected    R n: the nearest point of the ball

The published point has the direction of y and a norm of at most |point|: whoever starts in the ball stays in it. In
one dimension it is `point`, so a step that leaves is not taken at all. Both work for any velocity; this module does not
know where it comes from.
"""

import enum
from collections.abc import Callable

import jax
import jax.numpy as jnp

from guidedflow.settings import Choice
from guidedflow.types import Action, Noise, Scalar, Velocity


def published(attempt: Noise, step: Noise, direction: Noise, radius: float) -> Noise:
    """Drop the part of the step along the new direction."""
    return attempt - jnp.sum(step * direction) * direction


def projected(attempt: Noise, step: Noise, direction: Noise, radius: float) -> Noise:
    """Stop at the boundary, in the new direction."""
    return radius * direction


class Reflection(Choice):
    """What becomes of a step that leaves the ball."""

    published = enum.member(published)
    projected = enum.member(projected)


def reflect(point: Noise, step: Noise, radius: float, reflection: Callable[..., Noise] = Reflection.published) -> Noise:
    """The point after a step, reflected where the step leaves the ball of this radius."""
    attempt = point + step
    squared: Scalar = jnp.sum(jnp.square(attempt))
    outside = squared > radius**2
    norm = jnp.sqrt(jnp.where(outside, squared, 1.0))  # away from 0, where a root has no gradient
    return jnp.where(outside, reflection(attempt, step, attempt / (norm + 1e-8), radius), attempt)


def integrate_reflected(
    velocity: Velocity,
    noise: Noise,
    steps: int,
    radius: float,
    reflection: Callable[..., Noise] = Reflection.published,
) -> Action:
    """Euler's method from t = 0 to t = 1 in `steps` equal steps, each of them reflected; differentiable."""

    def step(point: Action, i: jax.Array) -> tuple[Action, None]:
        return reflect(point, velocity(point, i / steps) / steps, radius, reflection), None

    return jax.lax.scan(step, noise, jnp.arange(steps, dtype=noise.dtype))[0]
