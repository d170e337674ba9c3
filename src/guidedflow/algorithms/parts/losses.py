"""Losses and weights, for one transition: the mean over a batch is taken elsewhere.

This module does not know which network is trained, nor where values come from.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from guidedflow.flows.path import straight_path
from guidedflow.types import Action, Noise, Scalar, Time, Velocity


def squared_error(prediction: jax.Array, target: jax.Array) -> Scalar:
    """Mean over dimensions of the squared difference (coefficients of FQL and GFP are tuned for the mean)."""
    return jnp.mean(jnp.square(prediction - target))


def expectile_error(difference: Float[Array, "*members"], expectile: float | Scalar) -> Float[Array, "*members"]:
    """w difference^2, w = expectile above zero and 1 - expectile below (arXiv 2110.06169, Eq. 5), by element."""
    return jnp.where(difference > 0, expectile, 1 - expectile) * jnp.square(difference)


def unit_log_likelihood(mean: Action, action: Action) -> Scalar:
    """Of an action under a Gaussian of unit deviation."""
    return -0.5 * jnp.sum(jnp.square(action - mean)) - 0.5 * mean.size * math.log(2 * math.pi)


def flow_matching_error(velocity: Velocity, noise: Noise, action: Action, t: Time) -> Scalar:
    """|v(a_t, t) - (action - noise)|^2 / dimensions at a_t on the straight path (arXiv 2210.02747)."""
    point, speed = straight_path(noise, action, t)
    return squared_error(velocity(point, t), speed)


def softmax_weight(value: Scalar, reference: Scalar, scale: Scalar, temperature: float | Scalar) -> Scalar:
    """GFP's g = sigmoid(scale (value - reference) / temperature); 1 at temperature 0 (arXiv 2512.03973, Eq. 10)."""
    advantage, off = _scaled_advantage(value, reference, scale, temperature)
    return jnp.where(off, 1.0, jax.nn.sigmoid(advantage))


def advantage_weight(value: Scalar, reference: Scalar, scale: Scalar, temperature: float | Scalar) -> Scalar:
    """exp(scale (value - reference) / temperature), unclipped; 1 at temperature 0 (arXiv 2512.03973, Eq. 11)."""
    advantage, off = _scaled_advantage(value, reference, scale, temperature)
    return jnp.where(off, 1.0, jnp.exp(advantage))


def clipped_advantage_weight(value: Scalar, reference: Scalar, scale: Scalar, temperature: float | Scalar) -> Scalar:
    """min(`advantage_weight`, 100), with the limit that IQL sets: GFP's paper asks for one, its numbers had none."""
    return jnp.minimum(advantage_weight(value, reference, scale, temperature), 100.0)


def _scaled_advantage(
    value: Scalar, reference: Scalar, scale: Scalar, temperature: float | Scalar
) -> tuple[Scalar, jax.Array]:
    off = jnp.asarray(temperature, value.dtype) == 0
    return scale * (value - reference) / jnp.where(off, 1.0, temperature), off


def value_scale(values: Float[Array, " batch"]) -> Scalar:
    """1 / mean |value| over a batch: what makes one alpha serve rewards of any scale (arXiv 2512.03973, Eq. 8).

    Bounded by 1e8, which is reached where nothing was ever rewarded; the published code has no bound.
    """
    return 1 / jnp.maximum(jnp.mean(jnp.abs(values)), 1e-8)
