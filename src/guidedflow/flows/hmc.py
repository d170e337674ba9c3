"""Hamiltonian Monte Carlo: a chain of actions whose law tends to a density that is known up to a factor.

A proposal is a leapfrog path of the action under the density's gradient, from a fresh normal momentum; it is taken by
Metropolis' rule (Neal, arXiv 1206.1901). In the first four fifths of the steps that are thrown away, the step size
grows by a hundredth where a proposal is likelier to be taken than 3/4, and shrinks otherwise. This module does not
know whose density it is.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.types import Action, Scalar


def chain(
    log_density: Callable[[Action], Scalar],
    start: Action,
    key: PRNGKeyArray,
    *,
    samples: int,
    burn_in: int = 5,
    leapfrog_steps: int = 2,
    step_size: float | Scalar = 1.0,
) -> Float[Array, "samples action"]:
    """The actions of the chain after `burn_in` steps; where the density is not finite no proposal is taken."""
    slope = jax.grad(log_density)

    def step(state: tuple[Action, Scalar], data: tuple[PRNGKeyArray, Array]) -> tuple[tuple[Action, Scalar], Action]:
        (action, size), (key, adapts) = state, data
        momentum_key, coin_key = jax.random.split(key)
        before = jax.random.normal(momentum_key, action.shape)
        proposal, momentum = action, before + 0.5 * size * slope(action)
        for i in range(leapfrog_steps):
            proposal = proposal + size * momentum
            momentum = momentum + (0.5 if i + 1 == leapfrog_steps else 1.0) * size * slope(proposal)
        energy = log_density(proposal) - 0.5 * jnp.sum(jnp.square(momentum))
        gain = energy - (log_density(action) - 0.5 * jnp.sum(jnp.square(before)))
        gain = jnp.where(jnp.isfinite(gain), gain, -jnp.inf)
        taken = jnp.log(jax.random.uniform(coin_key)) < gain
        factor = jnp.where(gain > jnp.log(0.75), 1.01, 1 / 1.01)
        after = jnp.where(taken, proposal, action)
        return (after, jnp.where(adapts, size * factor, size)), after

    count = burn_in + samples
    adapts = jnp.arange(count) < (4 * burn_in) // 5
    _, actions = jax.lax.scan(
        step, (start, jnp.asarray(step_size, start.dtype)), (jax.random.split(key, count), adapts)
    )
    return actions[burn_in:]
