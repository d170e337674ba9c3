"""LAPO: Latent-variable Advantage-weighted Policy Optimization (arXiv 2203.08949). A CVAE clones what is good.

    q(s)     k min_i Q'_i + (1 - k) max_i Q'_i at D'(s, rho'(s) + noise), clipped to the range of values
    critic   sum_i | Q_i(s, a) - (r + gamma V(s')) |^2 + | V(s) - q(s) |^2
    CVAE     w [ |D(s, z) - a|^2 + beta KL ],   w = expectile if r + gamma q(s') > V(s) else 1 - expectile
    actor    -Q_1(s, D'(s, rho(s))),   rho(s) in [-bound, bound]^2d

The updates run in this order, each with the networks that the ones before it have moved. D' and rho' are Polyak copies;
the gradient passes through D' into rho. Order and copies follow the authors' code (pcchenxi/LAPO-offlienRL, d2493b1).
This file does not know of horizons and discounts: they are in the data.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.algorithms.learner import Learner, polyak
from guidedflow.algorithms.parts.ensemble import Ensemble, Members, first
from guidedflow.algorithms.parts.losses import squared_error
from guidedflow.algorithms.parts.value_range import check_limits, within
from guidedflow.algorithms.parts.variational import evidence
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import Aggregate, Critic, Decoded, StateValue
from guidedflow.networks.vae import RELU, ConditionalVAE, LatentActor
from guidedflow.policies.kinds import ActorPolicy
from guidedflow.policies.policy import Policy
from guidedflow.settings import check_settings, hyperparameters
from guidedflow.types import Metrics, Observation, Scalar, Transition


class State(NamedTuple):
    """Networks and optimiser states of LAPO."""

    actor: Learner[LatentActor]
    target_actor: LatentActor
    vae: Learner[ConditionalVAE]
    target_vae: ConditionalVAE
    critic: Learner[Critic]
    target_critic: Critic
    value: Learner[StateValue]


class Noise(NamedTuple):
    """Every random number of one update; rows are transitions."""

    latent: Float[Array, "*batch latent"]
    """Added to the target's latent, after scaling and clipping."""
    vae: Float[Array, "*batch latent"]
    """Of the autoencoder's latent."""


@hyperparameters
class LAPO:
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
    tau: float = 0.005
    """Rate at which the copies follow."""
    learning_rate: float = 2e-4
    """Step size of Adam, for all networks."""
    hidden: tuple[int, ...] = (256, 256, 256)
    """Sizes of the hidden layers of every network."""
    ensemble: Ensemble = Ensemble()
    """Members of the critic, and how their values become one."""

    shown = ("critic_loss", "value_loss", "vae_loss", "actor_loss")

    def __post_init__(self) -> None:
        check_settings(self, pessimism=(0, 1), smoothing=(0, 10), smoothing_limit=(0, 10), latent_bound=(0, 100))
        check_limits(self.value_range)

    def init(self, example: Transition, key: PRNGKeyArray) -> State:
        shape, size = example.observation.shape, example.action.size
        actor_key, vae_key, critic_key, value_key = jax.random.split(key, 4)
        actor = LatentActor(shape, 2 * size, self.hidden, key=actor_key)
        vae = ConditionalVAE(shape, size, self.hidden, latent_size=2 * size, key=vae_key)
        critic = Critic(shape, size, self.hidden, size=self.ensemble.members, style=RELU, key=critic_key)
        value = StateValue(shape, self.hidden, style=RELU, key=value_key)
        return State(
            actor=Learner.init(actor, self.optimizer),
            target_actor=actor,
            vae=Learner.init(vae, self.optimizer),
            target_vae=vae,
            critic=Learner.init(critic, self.optimizer),
            target_critic=critic,
            value=Learner.init(value, self.optimizer),
        )

    def update(self, state: State, batch: Transition, key: PRNGKeyArray) -> tuple[State, Metrics]:
        rows, size = batch.action.shape
        return self.step(state, batch, Noise(*jax.random.normal(key, (2, rows, 2 * size))))

    def policies(self, state: State) -> dict[str, Policy]:
        actor = Decoded(state.actor.network, state.target_vae, Partial(jnp.multiply, jnp.asarray(self.latent_bound)))
        aggregate = self.ensemble.acting(Aggregate.min)
        judge: dict[str, Any] = {"critic": state.target_critic, "aggregate": aggregate, "sampler": Sampler()}
        return {"actor": ActorPolicy(actor=actor, **judge)}

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam, one state a network."""
        return optax.adam(self.learning_rate)

    def cautious(self, values: Members) -> Scalar:
        """k min + (1 - k) max."""
        return self.pessimism * jnp.min(values) + (1 - self.pessimism) * jnp.max(values)

    def step(self, state: State, batch: Transition, noise: Noise) -> tuple[State, Metrics]:
        """One update with the given noise."""
        target_actor, target_vae, target_critic = state.target_actor, state.target_vae, state.target_critic
        nothing = jnp.zeros(target_vae.latent_size)
        for_target, for_actor = self.ensemble.target(self.cautious), self.ensemble.actor(first)

        def q(observation: Observation, noise: Array) -> Scalar | Members:
            smoothing = jnp.clip(self.smoothing * noise, -self.smoothing_limit, self.smoothing_limit)
            latent = self.latent_bound * target_actor.given(observation)(nothing) + smoothing
            values = target_critic.given(observation)(target_vae.given(observation)(latent))
            return for_target(values)

        before = state.value.network

        def critic_loss(critic: Critic, data: Transition) -> tuple[Scalar, Metrics]:
            values = critic.given(data.observation)(data.action)
            loss = jnp.sum(jnp.square(values - (data.reward + data.discount * before(data.next_observation))))
            return loss, {"critic_loss": loss, "q": jnp.mean(values)}

        def value_loss(value: StateValue, data: Transition, noise: Noise) -> tuple[Scalar, Metrics]:
            target = within(q(data.observation, noise.latent), self.value_range)
            v = value(data.observation)
            loss = squared_error(v, target)
            return loss, {"value_loss": loss, "v": v}

        critic, critic_metrics = state.critic.step(self.optimizer, critic_loss, batch)
        value, value_metrics = state.value.step(self.optimizer, value_loss, batch, noise)

        def advantage(data: Transition) -> Scalar:
            ahead = jnp.mean(q(data.next_observation, nothing))
            return data.reward + data.discount * ahead - value.network(data.observation)

        def vae_loss(vae: ConditionalVAE, data: Transition, noise: Noise, advantage: Scalar) -> tuple[Scalar, Metrics]:
            errors, kl = evidence(vae, data, noise.vae, lambda log_variance: log_variance / 2)
            weight = jnp.where(advantage > 0, self.expectile, 1 - self.expectile)
            loss = weight * (jnp.sum(errors) + self.beta * jnp.sum(kl))
            return loss, {"vae_loss": loss, "weight": weight, "kl": jnp.sum(kl)}

        def actor_loss(actor: LatentActor, data: Transition) -> tuple[Scalar, Metrics]:
            latent = self.latent_bound * actor.given(data.observation)(nothing)
            action = target_vae.given(data.observation)(latent)
            loss = -for_actor(critic.network.given(data.observation)(action))
            return loss, {"actor_loss": loss}

        advantages = jax.vmap(advantage)(batch)
        vae, vae_metrics = state.vae.step(self.optimizer, vae_loss, batch.acting, noise, advantages)
        actor, actor_metrics = state.actor.step(self.optimizer, actor_loss, batch.acting)
        after = State(
            actor=actor,
            target_actor=polyak(target_actor, actor.network, self.tau),
            vae=vae,
            target_vae=polyak(target_vae, vae.network, self.tau),
            critic=critic,
            target_critic=polyak(target_critic, critic.network, self.tau),
            value=value,
        )
        return after, {**critic_metrics, **value_metrics, **vae_metrics, **actor_metrics}
