"""Policies with a density: a Gaussian, or a mixture of several, seen through tanh."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from guidedflow.errors import InputError
from guidedflow.flows.densities import Mixture
from guidedflow.flows.guidance import Unguided
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import Combine, Critic, NoisyCritic
from guidedflow.networks.gaussians import GaussianActor
from guidedflow.packing import Shape
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
    def observation_shape(self) -> Shape:
        return self.network.observation_shape

    @property
    def action_size(self) -> int:
        return self.network.action_size

    @property
    def noise_shape(self) -> tuple[int, int]:
        weights = self.network.components if self.network.components > 1 else 0
        return self.sampler.candidates, self.action_size + weights

    def act_from(self, observation: Observation, noise: Float[Array, "candidates numbers"]) -> Action:
        pi = density(self.network, observation)
        random = self.sampled or self.sampler.candidates > 1

        def propose(noise: Float[Array, " numbers"]) -> Action:
            if not random:
                return pi.mode()
            # The largest of the log-weights plus Gumbel noise is a draw by the weights.
            gumbel = -jnp.log(-jnp.log(jnp.clip(norm.cdf(noise[self.action_size :]), 1e-7, 1 - 1e-7)))
            component = jnp.argmax(pi.log_weights + gumbel) if len(gumbel) else 0
            return pi.draw(noise[: self.action_size], component)[0]

        return self.sampler.choose(propose, value_of(self, observation), noise)

    def columns(self) -> dict[str, Any]:
        return super().columns() | {"guidance": None, "flow_steps": None}

    def _refuse(self, sampler: Sampler) -> None:
        if not isinstance(sampler.guidance, Unguided):
            raise InputError("A Gaussian policy is no flow to guide; ask for candidates or refinement.")
