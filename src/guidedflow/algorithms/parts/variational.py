"""The evidence lower bound of a conditional variational autoencoder, for one action and term by term.

    errors    (decoder(s, c, z) - a)^2, by dimension of the action,   z = mean + deviation noise
    kl        KL(N(mean, deviation^2) | N(0, 1)), by dimension of the latent

A2PO takes means over dimensions, LAPO sums. This module does not know what the autoencoder is for.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from guidedflow.networks.vae import NOTHING, Condition, ConditionalVAE, Latent
from guidedflow.types import Transition


def evidence(
    vae: ConditionalVAE,
    data: Transition,
    noise: Latent,
    log_deviation: Callable[[Latent], Latent],
    condition: Condition = NOTHING,
) -> tuple[Float[Array, " action"], Latent]:
    """Errors and divergences; `log_deviation` says what the second head of the recognition network means."""
    mean, head = vae.recognise(data.observation, data.action, condition)
    log_std = log_deviation(head)
    decoded = vae.given(data.observation, condition)(mean + jnp.exp(log_std) * noise)
    kl = 0.5 * (jnp.square(mean) + jnp.exp(2 * log_std) - 1) - log_std
    return jnp.square(decoded - data.action), kl
