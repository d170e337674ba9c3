"""Noisy paths of a flow, and gradients that are carried back along them: the machinery of adjoint matching.

    path       x <- x + h (2 v - x / (t + h)) + sqrt(h) sigma_t noise,   sigma_t^2 = 2 (1 - t + h) / (t + h)
    adjoint    adj <- adj + h J^T adj,   J the Jacobian of x -> 2 b(x, t + h) - x / (t + h)

The path is the flow's memoryless diffusion, whose last step is one of the base flow b without noise
(arXiv 2409.08861, in the discrete form of 2601.14234). This module does not know where velocities and gradients
come from.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.algorithms.parts import cloning
from guidedflow.types import Action, Scalar, Transition, Velocity

Steps = Float[Array, "steps action"]


class Noise(NamedTuple):
    """Every random number of one update; rows are transitions."""

    path: Float[Array, "*batch steps action"]
    """Where a path begins, and what is added on its way."""
    flow_source: Float[Array, "*batch action"]
    """x0, where the cloning path starts."""
    flow_time: Float[Array, "*batch"]
    """t in [0, 1)."""
    next_action: Float[Array, "*batch action"] | None = None
    """Where the flow begins that acts in the critic's target, if the critic bootstraps."""


def draw(batch: Transition, steps: int, key: PRNGKeyArray, bootstrapped: bool) -> Noise:
    """The noise of an update on `batch`, for paths of so many steps."""
    path_key, flow_key = jax.random.split(key)
    size, actions = batch.action.shape
    next_action = jax.random.normal(jax.random.fold_in(key, 2), batch.action.shape) if bootstrapped else None
    return Noise(jax.random.normal(path_key, (size, steps, actions)), *cloning.draw(batch, flow_key), next_action)


def times(steps: int) -> Float[Array, " steps"]:
    """Where the steps of a path begin."""
    return jnp.arange(steps, dtype=jnp.float32) / steps


def deviation(t: Float[Array, "*times"], steps: int) -> Float[Array, "*times"]:
    """sigma_t."""
    h = 1 / steps
    return jnp.sqrt(2 * (1 - t + h) / (t + h))


def noisy_path(flow: Velocity, base: Velocity, noise: Steps) -> tuple[Steps, Action]:
    """The points where each step of a path begins, from the first row of `noise` on, and where the last one ends."""
    h = 1 / len(noise)

    def forward(point: Action, data: tuple[Scalar, Action]) -> tuple[Action, Action]:
        t, fresh = data
        drift = 2 * flow(point, t) - point / (t + h)
        return point + h * drift + jnp.sqrt(h) * deviation(t, len(noise)) * fresh, point

    starts = times(len(noise))
    last, points = jax.lax.scan(forward, noise[0], (starts[:-1], noise[1:]))
    return jnp.concatenate([points, last[None]]), last + h * base(last, starts[-1])


def carried_back(base: Velocity, points: Steps, gradient: Action) -> Steps:
    """The adjoint at each of the `points` of a path, from a gradient at its end; only `base` is differentiated."""
    h = 1 / len(points)

    def backward(adjoint: Action, data: tuple[Scalar, Action]) -> tuple[Action, Action]:
        t, point = data
        _, pull_back = jax.vjp(lambda point: 2 * base(point, t + h) - point / (t + h), point)
        earlier = adjoint + h * pull_back(adjoint)[0]
        return earlier, earlier

    return jax.lax.scan(backward, gradient, (times(len(points)), points), reverse=True)[1]
