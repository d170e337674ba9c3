"""MeanFlow: one-step generation by a network of average velocities (Geng et al., arXiv 2505.13447).

    u(a, t, r)     the average velocity on the way from a at time t to time r >= t
    identity       u = v + (r - t) du/dt,   d/dt along the path: (da, dt, dr) = (v, 1, 0)
    generation     noise + u(noise, 0, 1)

The identity is MeanFlow's with time running from noise (0) to action (1). This module does not know which network
gives u, nor of observations.
"""

import enum
from collections.abc import Callable

import jax
import jax.numpy as jnp

from guidedflow.flows.path import straight_path
from guidedflow.settings import Choice
from guidedflow.types import Action, Noise, Scalar, Time

AverageVelocity = Callable[[Action, Time, Time], Action]
"""u(a, t, r): the average velocity from the point a at time t to the time r."""


def clean(jump: AverageVelocity) -> AverageVelocity:
    """Of a network that predicts where a jump of length 1 lands: seen from noise, the action itself."""
    return lambda point, start, end: jump(point, start, end) - point


def velocity(jump: AverageVelocity) -> AverageVelocity:
    """Of a network that predicts the average velocity."""
    return jump


def published_velocity(jump: AverageVelocity) -> AverageVelocity:
    """As `velocity`, for training along (v, 0, 1), which LPS's release does, where the identity has (v, 1, 0)."""
    return jump


class Prediction(Choice):
    """What a network predicts, and how an average velocity is made of it."""

    clean = enum.member(clean)
    velocity = enum.member(velocity)
    published_velocity = enum.member(published_velocity)

    @property
    def tangent(self) -> tuple[float, float]:
        """(dt, dr) of the total derivative in the target."""
        return (0.0, 1.0) if self is Prediction.published_velocity else (1.0, 0.0)


def mean_flow_error(
    average: AverageVelocity,
    noise: Noise,
    action: Action,
    start: Time,
    end: Time,
    tangent: tuple[float, float] = (1.0, 0.0),
) -> Scalar:
    """The mean over dimensions of |u - target|^2 at one point of the straight path from noise to action.

    `tangent` is (dt, dr) of the total derivative. The target has no gradient.
    """
    point, speed = straight_path(noise, action, start)
    times = jnp.asarray(start), jnp.asarray(end)
    tangents = speed, *(jnp.full_like(time, rate) for time, rate in zip(times, tangent, strict=True))
    velocity, change = jax.jvp(average, (point, *times), tangents)
    target = jax.lax.stop_gradient(speed + (end - start) * change)
    return jnp.mean(jnp.square(velocity - target))


def adaptive(error: Scalar) -> Scalar:
    """MeanFlow's robust loss: the error over the root of itself + 1e-3, the root without gradient."""
    return error * jax.lax.stop_gradient(jax.lax.rsqrt(error + 1e-3))


def generate(average: AverageVelocity, noise: Noise) -> Action:
    """The action at the end of one jump from noise, unclipped."""
    return noise + average(noise, 0.0, 1.0)
