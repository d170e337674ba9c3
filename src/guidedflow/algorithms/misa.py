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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.algorithms.learner import Learner, polyak
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.algorithms.parts.gap import information_gap
from guidedflow.flows import hmc
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import Aggregate, Critic, Style
from guidedflow.networks.gaussians import Deviation, GaussianActor
from guidedflow.policies.density import DensityPolicy, density
from guidedflow.policies.policy import Policy
from guidedflow.settings import check_settings, hyperparameters
from guidedflow.types import Action, Metrics, Observation, Scalar, Transition

ELU = Style(activation=jax.nn.elu)
"""Of the critic."""


class State(NamedTuple):
    """Networks and optimiser states of MISA."""

    actor: Learner[GaussianActor]
    log_alpha: Learner[Array]
    critic: Learner[Critic]
    target_critic: Critic


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
        shape, size = example.observation.shape, example.action.size
        actor_key, critic_key = jax.random.split(key)
        actor = GaussianActor(shape, size, self.hidden, deviation=Deviation(), key=actor_key)
        critic = Critic(shape, size, self.hidden, size=self.ensemble.members, style=ELU, key=critic_key)
        return State(
            actor=Learner.init(actor, self.actor_optimizer),
            log_alpha=Learner.init(jnp.zeros(()), self.actor_optimizer),
            critic=Learner.init(critic, self.optimizer),
            target_critic=critic,
        )

    def update(self, state: State, batch: Transition, key: PRNGKeyArray) -> tuple[State, Metrics]:
        *keys, chain_key = jax.random.split(key, 4)
        rows, size = batch.action.shape
        action, next_action = (jax.random.normal(k, (rows, size)) for k in keys[:2])
        current = jax.random.normal(keys[2], (rows, self.samples, size))
        chains = jax.vmap(self.chain, in_axes=(None, 0, 0))(state, batch.acting, jax.random.split(chain_key, rows))
        return self.step(state, batch, Noise(action, next_action, current, chains))

    def policies(self, state: State) -> dict[str, Policy]:
        aggregate = self.ensemble.acting(Aggregate.min)
        judge: dict[str, Any] = {"critic": state.target_critic, "aggregate": aggregate, "sampler": Sampler()}
        return {"actor": DensityPolicy(network=state.actor.network, **judge)}

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam, of the critic."""
        return optax.adam(self.learning_rate)

    @property
    def actor_optimizer(self) -> optax.GradientTransformation:
        """Adam, one state each for actor and alpha."""
        return optax.adam(self.actor_learning_rate)

    def chain(self, state: State, data: Transition, key: PRNGKeyArray) -> Float[Array, "samples action"]:
        """a^: actions of the density that the bound's partition function integrates."""
        pi, values = density(state.actor.network, data.observation), state.critic.network.given(data.observation)
        value = self.ensemble.actor(Aggregate.min)

        def log_density(action: Action) -> Scalar:
            return pi.log_density(action) + value(values(action))

        return hmc.chain(log_density, data.action, key, samples=self.samples, step_size=self.hmc_step)

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
            values = critic.given(data.observation)
            proposals = jax.vmap(lambda noise: act(data.observation, noise))(noise.current_actions)
            q, gaps = values(data.action), information_gap(values, data.action, proposals, self.temperature)
            error = jnp.sum(jnp.square(q - target))
            return error + self.gap * jnp.sum(gaps), {"critic_loss": error, "gap": jnp.mean(gaps), "q": jnp.mean(q)}

        def actor_loss(actor: GaussianActor, data: Transition, noise: Noise) -> tuple[Scalar, Metrics]:
            pi = density(actor, data.observation)
            action, log_density = pi.draw(noise.action)
            log_likelihood = pi.log_density(data.action)
            q = for_actor(critic.given(data.observation)(action))
            loss = self.weight * (alpha * log_density - log_likelihood) - q
            unbiased = self.correction * jnp.mean(jax.vmap(pi.log_density)(noise.hmc_samples))
            metrics = {"actor_loss": loss, "q_loss": -q, "log_likelihood": log_likelihood, "log_density": log_density}
            return loss + unbiased, metrics

        def alpha_loss(log_alpha: Array, data: Transition, noise: Array) -> tuple[Scalar, Metrics]:
            log_density = density(actor, data.observation).draw(noise)[1]
            loss = -log_alpha * (log_density - data.action.size)
            return loss, {"alpha": jnp.exp(log_alpha)}

        critic_learner, metrics = state.critic.step(self.optimizer, critic_loss, batch, noise)
        actor_learner, actor_metrics = state.actor.step(self.actor_optimizer, actor_loss, batch.acting, noise)
        log_alpha, alpha_metrics = state.log_alpha.step(self.actor_optimizer, alpha_loss, batch.acting, noise.action)
        followed = polyak(target_critic, critic_learner.network, self.tau)
        after = State(actor_learner, log_alpha, critic_learner, followed)
        return after, {**metrics, **actor_metrics, **alpha_metrics}
