"""Regression of a return's quantiles (arXiv 1710.10044, 1806.06923): the levels of an update, and the loss at them.

    mean_i sum_j w_j |tau_i - 1[z_i > y_j]| huber(z_i - y_j)

This module does not know what the targets y_j are made of.
"""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from guidedflow.types import Scalar


def spaced(uniform: Float[Array, " quantiles"]) -> tuple[Float[Array, " quantiles"], Float[Array, " quantiles"]]:
    """Levels between 0 and 1, midpoints of intervals of random width, and these widths."""
    widths = (uniform + 0.1) / jnp.sum(uniform + 0.1)
    return jnp.cumsum(widths) - widths / 2, widths


def quantile_loss(
    z: Float[Array, " quantiles"],
    target: Float[Array, " quantiles"],
    levels: Float[Array, " quantiles"],
    weights: Float[Array, " quantiles"],
) -> Scalar:
    """The quantile Huber loss (arXiv 1710.10044) of one member, a mean over its own levels."""
    error = z[:, None] - target[None, :]
    share = jnp.abs(levels[:, None] - jnp.heaviside(error, 0.5))
    return jnp.mean(jnp.sum(share * optax.losses.huber_loss(error) * weights[None, :], axis=1))
