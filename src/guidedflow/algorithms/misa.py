"""MISA: Mutual Information Regularized Offline RL (arXiv 2210.07484). A tanh-Gaussian and its critic share one bound.

    critic    sum_i | Q_i(s, a) - (r + gamma min_j Q'_j(s', a')) |^2 + c gap_i,   a' ~ pi(s')     `parts.gap`
    actor     weight (alpha log pi(a~ | s) - log pi(a | s)) - min_i Q_i(s, a~) + correction mean log pi(a^ | s)
    alpha     -log alpha (log pi(a~ | s) - d)

a~ is drawn from pi. The a^ are drawn from the density proportional to pi(. | s) exp(min_i Q_i(s, .)) by Hamiltonian
Monte Carlo from the data's action, and held fixed: they make the gradient of the bound's partition function unbiased.
All gradients are taken at the parameters of before the step; the target critic follows the critic of *after* it. Order
and networks follow the authors' code (sail-sg/MISA, bd350e5). This file does not know of horizons and discounts.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.algorithms.parts import regression, soft_actor
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.algorithms.parts.gap import information_gap
from guidedflow.algorithms.parts.soft_actor import State
from guidedflow.networks import ELU, Aggregate, Critic
from guidedflow.networks.gaussians import GaussianActor
from guidedflow.policies.density import density
from guidedflow.policies.policy import Policy
from guidedflow.settings import check_settings, hyperparameters
from guidedflow.types import Action, Metrics, Observation, Scalar, Transition


class Noise(NamedTuple):
    """Every random number of one update; rows are transitions."""

    action: Float[Array, "*batch action"]
    """Of the action a~."""
    next_action: Float[Array, "*batch action"]
    """Of the target's action."""
    current_actions: Float[Array, "*batch samples action"]
    """Of the actions in the critic's gap."""
    hmc_samples: Float[Array, "*batch samples action"]
    """a^: not noise but actions, the chain's."""


@hyperparameters
class MISA:
    """Mutual-information regularised learning: a tanh-Gaussian actor, and a critic that is low where it alone goes."""

    gap: float = 5.0
    """Weight of the critic's gap (c), in values."""
    weight: float = 0.5
    """Of the likelihood of the data's actions, and of the entropy, beside Q."""
    correction: float = 0.1
    """Weight of the term that makes the bound's gradient unbiased; 0 leaves it, and the chain, out."""
    samples: int = 50
    """Actions in the gap, and in the chain."""
    temperature: float = 1.0
    """Of the gap."""
    hmc_step: float = 1.0
    """Step size of the chain; at the published 1 no proposal is taken, so the chain stays at the data's action."""
    tau: float = 0.005
    """Rate at which the target critic follows the critic."""
    learning_rate: float = 3e-4
    """Step size of Adam, for the critic."""
    actor_learning_rate: float = 1e-4
    """Step size of Adam, for actor and alpha."""
    hidden: tuple[int, ...] = (256, 256)
    """Sizes of the hidden layers of every network."""
    ensemble: Ensemble = Ensemble()
    """Members of the critic, and how their values become one."""

    shown = ("critic_loss", "gap", "actor_loss", "log_likelihood")

    def __post_init__(self) -> None:
        check_settings(
            self, gap=(0, math.inf), correction=(0, math.inf), samples=(1, math.inf), hmc_step=(0, math.inf),
            actor_learning_rate=(0, math.inf),
        )  # fmt: skip

    def init(self, example: Transition, key: PRNGKeyArray) -> State:
        return soft_actor.init(example, self.hidden, ELU, self.optimizers, self.ensemble, key)

    def update(self, state: State, batch: Transition, key: PRNGKeyArray) -> tuple[State, Metrics]:
        *keys, chain_key = jax.random.split(key, 4)
        rows, size = batch.action.shape
        action, next_action = (jax.random.normal(k, (rows, size)) for k in keys[:2])
        current = jax.random.normal(keys[2], (rows, self.samples, size))
        combine, chain_keys = self.ensemble.actor(Aggregate.min), jax.random.split(chain_key, rows)
        chains = soft_actor.chains(state, combine, batch.acting, chain_keys, self.samples, self.hmc_step)
        return self.step(state, batch, Noise(action, next_action, current, chains))

    def policies(self, state: State) -> dict[str, Policy]:
        return soft_actor.policies(state, self.ensemble.acting(Aggregate.min))

    @property
    def optimizers(self) -> soft_actor.Optimizers:
        """Adam, one state a network."""
        return soft_actor.Optimizers(optax.adam(self.actor_learning_rate), optax.adam(self.learning_rate))

    def step(self, state: State, batch: Transition, noise: Noise) -> tuple[State, Metrics]:
        """One update with the given noise."""
        actor, critic, target_critic = state.actor.network, state.critic.network, state.target_critic
        alpha = jnp.exp(state.log_alpha.network)
        for_target, for_actor = self.ensemble.target(Aggregate.min), self.ensemble.actor(Aggregate.min)

        def act(observation: Observation, noise: Array) -> Action:
            return density(actor, observation).draw(noise)[0]

        def critic_loss(critic: Critic, data: Transition, noise: Noise) -> tuple[Scalar, Metrics]:
            next_action = act(data.next_observation, noise.next_action)
            target = data.reward + data.discount * for_target(target_critic.given(data.next_observation)(next_action))
            error, metrics = regression.critic_loss(critic, data, target, jnp.sum)
            proposals = jax.vmap(lambda noise: act(data.observation, noise))(noise.current_actions)
            gaps = information_gap(critic.given(data.observation), data.action, proposals, self.temperature)
            return error + self.gap * jnp.sum(gaps), {**metrics, "gap": jnp.mean(gaps)}

        def actor_loss(actor: GaussianActor, data: Transition, noise: Noise) -> tuple[Scalar, Metrics]:
            pi = density(actor, data.observation)
            action, log_density = pi.draw(noise.action)
            log_likelihood = pi.log_density(data.action)
            q = for_actor(critic.given(data.observation)(action))
            loss = self.weight * (alpha * log_density - log_likelihood) - q
            unbiased = self.correction * jnp.mean(jax.vmap(pi.log_density)(noise.hmc_samples))
            metrics = {"actor_loss": loss, "q_loss": -q, "log_likelihood": log_likelihood, "log_density": log_density}
            return loss + unbiased, metrics

        losses = soft_actor.Losses(actor_loss, critic_loss)
        return soft_actor.step(state, self.optimizers, losses, batch, noise, self.tau)
