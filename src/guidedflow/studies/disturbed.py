"""A critic with noise on its values: a fixed smooth function of state and action, the same for all members.

The function is a sum of random cosines (random Fourier features, Rahimi and Recht, 2007), of deviation 1 over standard
normal inputs. Its length scale is one deviation of each observation and half the range of an action. This module does
not know what the noise is for.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.errors import InputError
from guidedflow.networks import Critic
from guidedflow.networks.critics import Values
from guidedflow.policies.policy import Policy
from guidedflow.studies import probes
from guidedflow.types import Action, Observation, Time, Transition

FEATURES = 64
"""Cosines of the function."""


class Disturbed(Critic):
    """A critic whose values are disturbed: a copy of another one, with the function added."""

    size: Float[Array, ""]
    mean: Float[Array, " observation"]
    scale: Float[Array, " observation"]
    frequencies: Float[Array, "features numbers"]
    phases: Float[Array, " features"]

    def __init__(
        self,
        critic: Critic,
        size: Float[Array, ""],
        observations: Float[Array, "states observation"],
        key: PRNGKeyArray,
    ):
        self.encoder, self.members = critic.encoder, critic.members
        self.observation_shape, self.action_size = critic.observation_shape, critic.action_size
        spread = jnp.std(observations, axis=0)
        self.size, self.mean = size, jnp.mean(observations, axis=0)
        self.scale = jnp.where(spread > 1e-6, spread, 1.0)
        one, two = jax.random.split(key)
        seen = observations.shape[1]
        frequencies = jax.random.normal(one, (FEATURES, seen + critic.action_size))
        lengths = jnp.concatenate([jnp.full(seen, 1.0), jnp.full(critic.action_size, 0.5)])
        self.frequencies = frequencies / (lengths * jnp.sqrt(1.0 * frequencies.shape[1]))[None, :]
        self.phases = jax.random.uniform(two, (FEATURES,), maxval=2 * jnp.pi)

    def given(self, observation: Observation) -> Values:
        """The disturbed values of an action at an observation; the time is ignored."""
        inner = Critic.given(self, observation)
        assert isinstance(observation, jax.Array)
        seen = (observation - self.mean) / self.scale

        def values(action: Action, t: Time = 1.0) -> Float[Array, " members"]:
            angles = self.frequencies @ jnp.concatenate([seen, action]) + self.phases
            return inner(action, t) + self.size * jnp.sqrt(2.0 / FEATURES) * jnp.sum(jnp.cos(angles))

        return values


def disturbed(policy: Policy, batch: Transition, size: float, seed: int = 0) -> Policy:
    """The policy under its critic with noise of `size` deviations of its values over a batch.

    Raises `InputError` for images, and for a critic of noisy actions.
    """
    observations = batch.observation
    if not isinstance(policy.critic, Critic) or not isinstance(observations, jax.Array) or observations.ndim != 2:
        raise InputError("noise on Q needs a critic of clean actions at states; images are not for study critic.")
    claimed = probes.values(policy, batch, batch.action)
    one = Disturbed(policy.critic, jnp.ones(()), observations, jax.random.key(seed))
    unit = jnp.std(probes.values(policy.with_critic(one, policy.aggregate), batch, batch.action) - claimed)
    scaled = size * jnp.std(claimed) / jnp.maximum(unit, 1e-6)
    return policy.with_critic(Disturbed(policy.critic, scaled, observations, jax.random.key(seed)), policy.aggregate)
