"""Target policy smoothing (TD3, arXiv 1802.09477): noise on what the target's policy does, cut where it is too large.

This module does not know whether an action or a latent is smoothed.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from guidedflow.types import Scalar


def smoothing(
    noise: Float[Array, " numbers"], deviation: float | Scalar, limit: float | Scalar
) -> Float[Array, " numbers"]:
    """Standard normal noise, scaled to a deviation and cut to [-limit, limit]."""
    return jnp.clip(deviation * noise, -limit, limit)
