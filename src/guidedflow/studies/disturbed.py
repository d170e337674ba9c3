"""A critic with noise on its values: a fixed smooth function of state and action, the same for all members.

The function is a sum of random cosines (random Fourier features, Rahimi and Recht, 2007), of deviation 1 over standard
normal inputs. Its length scale is one deviation of each observation and half the range of an action. This module does
not know what the noise is for.
"""

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from guidedflow.policies.policy import Policy
from guidedflow.studies import probes
from guidedflow.types import Action, Observation, Transition

FEATURES = 64
"""Cosines of the function."""


class Disturbed(eqx.Module):
    """A critic whose values are disturbed; acts as the critic inside it."""

    critic: Any
    size: Float[Array, ""]
    mean: Float[Array, " observation"]
    scale: Float[Array, " observation"]
    frequencies: Float[Array, "features numbers"]
    phases: Float[Array, " features"]

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        shape: tuple[int, ...] = self.critic.observation_shape
        return shape

    @property
    def action_size(self) -> int:
        """Numbers of one action."""
        size: int = self.critic.action_size
        return size

    def given(self, observation: Observation) -> Any:
        """The disturbed values of an action at an observation."""
        inner = self.critic.given(observation)
        seen = (observation - self.mean) / self.scale

        def values(action: Action, *time: Any) -> Array:
            angles = self.frequencies @ jnp.concatenate([seen, action]) + self.phases
            noise = jnp.sqrt(2.0 / FEATURES) * jnp.sum(jnp.cos(angles))
            return inner(action, *time) + self.size * noise

        return values


def disturbed(policy: Policy, batch: Transition, size: float, seed: int = 0) -> Policy:
    """The policy under its critic with noise of `size` deviations of its values over a batch."""
    claimed = probes.values(policy, batch, batch.action)
    observations = batch.observation
    mean, scale = jnp.mean(observations, axis=0), jnp.std(observations, axis=0)
    one, two = jax.random.split(jax.random.key(seed))
    numbers = observations.shape[1] + batch.action.shape[1]
    frequencies = jax.random.normal(one, (FEATURES, numbers)) / jnp.sqrt(1.0 * numbers)
    frequencies = frequencies.at[:, observations.shape[1] :].multiply(2.0)
    phases = jax.random.uniform(two, (FEATURES,), maxval=2 * jnp.pi)
    critic: Any = Disturbed(
        policy.critic, size * jnp.std(claimed), mean, jnp.where(scale > 1e-6, scale, 1.0), frequencies, phases
    )
    return replace(policy, critic=critic)
