"""Flows between noise and actions: t = 0 is noise, t = 1 is an action, and the path between them is straight.

Flow matching with the optimal-transport path (Lipman et al., arXiv 2210.02747; Liu et al., arXiv 2209.03003).
Everything is a function of one action. This module does not know of observations, networks or values.
"""

import jax
import jax.numpy as jnp

from guidedflow.types import Action, Noise, Time, Velocity


def straight_path(noise: Noise, action: Action, t: Time) -> tuple[Action, Action]:
    """The point (1 - t) noise + t action, and the constant velocity action - noise there."""
    return (1 - t) * noise + t * action, action - noise


def clip(action: Action) -> Action:
    """The nearest action inside the box [-1, 1]."""
    return jnp.clip(action, -1.0, 1.0)


def landing(point: Action, velocity: Action, t: Time) -> Action:
    """The clean action that `point` is heading for: one Euler step from t to 1, clipped to the action box."""
    return clip(point + (1 - t) * velocity)


def integrate(velocity: Velocity, noise: Noise, steps: int) -> Action:
    """Euler's method from t = 0 to t = 1 in `steps` equal steps; the result is not clipped."""

    def step(point: Action, i: jax.Array) -> tuple[Action, None]:
        return point + velocity(point, i / steps) / steps, None

    return jax.lax.scan(step, noise, jnp.arange(steps, dtype=noise.dtype))[0]


def integrate_from(velocity: Velocity, point: Action, t: Time, steps: int) -> Action:
    """The rest of `integrate` for a point that stands at time t, a multiple of 1 / steps; differentiable in `point`."""

    def step(point: Action, i: jax.Array) -> tuple[Action, None]:
        # Compared between grid points, so that rounding of t cannot gain or lose a step.
        ahead = i + 0.5 > t * steps
        return jnp.where(ahead, point + velocity(point, i / steps) / steps, point), None

    return jax.lax.scan(step, point, jnp.arange(steps, dtype=point.dtype))[0]
