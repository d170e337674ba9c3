"""Policies with a density: a Gaussian, or a mixture of several, seen through tanh."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.errors import InputError
from guidedflow.flows.densities import Mixture
from guidedflow.flows.guidance import Unguided
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import Combine, Critic, NoisyCritic
from guidedflow.networks.gaussians import GaussianActor
from guidedflow.policies.policy import Policy, value_of
from guidedflow.types import Action, Observation


def density(network: GaussianActor, observation: Observation) -> Mixture:
    """The density of actions at an observation."""
    heads = network(observation)
    return Mixture(heads.log_weights, heads.means, jnp.exp(heads.log_deviations), squashed=True)


class DensityPolicy(Policy):
    """Acts by the mean of the heaviest component, or, if `sampled` or given candidates to choose from, at random."""

    network: GaussianActor
    critic: Critic | NoisyCritic | None
    aggregate: Combine
    sampler: Sampler
    sampled: bool = eqx.field(static=True, default=False)

    @property
    def observation_shape(self) -> tuple[int, ...]:
        return self.network.observation_shape

    @property
    def action_size(self) -> int:
        return self.network.action_size

    def act(self, observation: Observation, key: PRNGKeyArray) -> Action:
        pi, count = density(self.network, observation), self.sampler.candidates
        random = self.sampled or count > 1

        def propose(noise: Float[Array, " numbers"]) -> Action:
            return pi.draw(noise[1:], noise[0].astype(jnp.int32))[0] if random else pi.mode()

        component_key, noise_key = jax.random.split(key)
        components = jax.random.categorical(component_key, pi.log_weights, shape=(count, 1))
        noise = jax.random.normal(noise_key, (count, self.action_size))
        noise = jnp.concatenate([components.astype(noise.dtype), noise], axis=1)
        return self.sampler.choose(propose, value_of(self, observation), noise)

    def columns(self) -> dict[str, Any]:
        return super().columns() | {"guidance": None, "flow_steps": None}

    def _refuse(self, sampler: Sampler) -> None:
        if not isinstance(sampler.guidance, Unguided):
            raise InputError("A Gaussian policy is no flow to guide; ask for candidates or refinement.")
