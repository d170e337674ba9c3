"""LAPO: Latent-variable Advantage-weighted Policy Optimization (arXiv 2203.08949). A CVAE clones what is good.

    q(s)     k min_i Q'_i + (1 - k) max_i Q'_i at D'(s, rho'(s) + noise), clipped to the range of values
    critic   sum_i | Q_i(s, a) - (r + gamma V(s')) |^2 + | V(s) - q(s) |^2
    CVAE     w [ |D(s, z) - a|^2 + beta KL ],   w = expectile if r + gamma q(s') > V(s) else 1 - expectile
    actor    -Q_1(s, D'(s, rho(s))),   rho(s) in [-bound, bound]^2d

The updates run in this order, each with the networks that the ones before it have moved. D' and rho' are Polyak copies;
the gradient passes through D' into rho. Order and copies follow the authors' code (pcchenxi/LAPO-offlienRL, d2493b1).
This file does not know of horizons and discounts: they are in the data.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.algorithms.learner import polyak
from guidedflow.algorithms.parts.ensemble import Members, first
from guidedflow.algorithms.parts.latent_policy import LatentPolicy, Sizes, State
from guidedflow.algorithms.parts.smoothing import smoothing
from guidedflow.algorithms.parts.value_range import within
from guidedflow.algorithms.parts.variational import evidence
from guidedflow.networks import Decoded
from guidedflow.networks.vae import ConditionalVAE, LatentActor
from guidedflow.policies.policy import Policy
from guidedflow.settings import hyperparameters
from guidedflow.types import Metrics, Observation, Scalar, Transition


class Noise(NamedTuple):
    """Every random number of one update; rows are transitions."""

    latent: Float[Array, "*batch latent"]
    """Added to the target's latent, after scaling and clipping."""
    vae: Float[Array, "*batch latent"]
    """Of the autoencoder's latent."""


@hyperparameters
class LAPO(LatentPolicy):
    """Latent-variable policy optimization: a value-weighted CVAE, and a policy of its latent that climbs the critic."""

    expectile: float = 0.9
    """Weight of cloning where the advantage is positive, and 1 minus that of the others."""
    latent_bound: float = 2.0
    """Largest absolute number of the latent policy."""
    pessimism: float = 1.0
    """k: share of the smaller value in the target, the larger one having the rest; published for antmaze: 0.7."""
    beta: float = 1.0
    """Weight of the divergence; published for maze2d: 0.3."""
    smoothing: float = 0.1
    """Deviation of the noise on the target's latent."""
    smoothing_limit: float = 0.2
    """Where that noise is cut."""
    value_range: tuple[float, ...] = ()
    """Smallest and largest value that is possible, which V's target is clipped to; published: 0 100 for antmaze."""
    learning_rate: float = 2e-4
    """Step size of Adam, for all networks."""
    hidden: tuple[int, ...] = (256, 256, 256)
    """Sizes of the hidden layers of every network."""

    shown = ("critic_loss", "value_loss", "vae_loss", "actor_loss")

    def __post_init__(self) -> None:
        self.check(pessimism=(0, 1), smoothing_limit=(0, 10), latent_bound=(0, 100))

    def init(self, example: Transition, key: PRNGKeyArray) -> State:
        return self.begin(example, key, Sizes(self.hidden, self.hidden, self.hidden), copied=True)

    def update(self, state: State, batch: Transition, key: PRNGKeyArray) -> tuple[State, Metrics]:
        rows, size = batch.action.shape
        return self.step(state, batch, Noise(*jax.random.normal(key, (2, rows, 2 * size))))

    def policies(self, state: State) -> dict[str, Policy]:
        actor = Decoded(state.actor.network, state.decoder, Partial(jnp.multiply, jnp.asarray(self.latent_bound)))
        return self.acting_by(actor, state.target_critic)

    def cautious(self, values: Members) -> Scalar:
        """k min + (1 - k) max."""
        return self.pessimism * jnp.min(values) + (1 - self.pessimism) * jnp.max(values)

    def step(self, state: State, batch: Transition, noise: Noise) -> tuple[State, Metrics]:
        """One update with the given noise."""
        before, vae_copy, nothing = state, state.decoder, jnp.zeros(state.decoder.latent_size)
        for_target, for_actor = self.ensemble.target(self.cautious), self.ensemble.actor(first)

        def latent(actor: LatentActor, observation: Observation) -> Array:
            return self.latent_bound * actor.given(observation)(nothing)

        def q(observation: Observation, noise: Array) -> Scalar | Members:
            smoothed = smoothing(noise, self.smoothing, self.smoothing_limit)
            action = vae_copy.given(observation)(latent(before.target_actor, observation) + smoothed)
            return for_target(before.target_critic.given(observation)(action))

        def ahead(data: Transition) -> Scalar:
            return data.reward + data.discount * before.value.network(data.next_observation)

        def here(data: Transition, noise: Array) -> Scalar | Members:
            return within(q(data.observation, noise), self.value_range)

        state, value_metrics = self.regress(state, batch, jax.vmap(ahead)(batch), jax.vmap(here)(batch, noise.latent))
        critic, value = state.critic.network, state.value.network

        def advantage(data: Transition) -> Scalar:
            q_ahead = jnp.mean(q(data.next_observation, nothing))
            return data.reward + data.discount * q_ahead - value(data.observation)

        def vae_loss(vae: ConditionalVAE, data: Transition, noise: Noise, advantage: Scalar) -> tuple[Scalar, Metrics]:
            errors, kl = evidence(vae, data, noise.vae, lambda log_variance: log_variance / 2)
            weight = jnp.where(advantage > 0, self.expectile, 1 - self.expectile)
            loss = weight * (jnp.sum(errors) + self.beta * jnp.sum(kl))
            return loss, {"vae_loss": loss, "weight": weight, "kl": jnp.sum(kl)}

        def actor_loss(actor: LatentActor, data: Transition) -> tuple[Scalar, Metrics]:
            action = vae_copy.given(data.observation)(latent(actor, data.observation))
            loss = -for_actor(critic.given(data.observation)(action))
            return loss, {"actor_loss": loss}

        advantages = jax.vmap(advantage)(batch)
        vae, vae_metrics = state.vae.step(self.optimizer, vae_loss, batch.acting, noise, advantages)
        actor, actor_metrics = state.actor.step(self.optimizer, actor_loss, batch.acting)
        target_vae = polyak(vae_copy, vae.network, self.tau)
        after = self.follow(state._replace(actor=actor, vae=vae, target_vae=target_vae), self.tau)
        return after, {**value_metrics, **vae_metrics, **actor_metrics}
