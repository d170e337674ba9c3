"""A2PO: Advantage-Aware Policy Optimization (arXiv 2403.07262). A CVAE is told how good the action that it clones is.

    xi        tanh(Q_1(s, a) - V(s)), the condition
    critic    sum_i | Q_i(s, a) - y |^2 + | V(s) - y |^2,   y = r + gamma min_i Q'_i(s', D(s', 1, pi'(s', 1)) + noise)
    CVAE      | D(s, xi, z) - a |^2 / d + mean KL, for the first updates only
    actor     -alpha scale Q_1(s, D(s, 1, pi(s, 1))) + weight | D(s, xi, pi(s, xi)) - a |^2 / d

with scale = 1 / mean |Q_1|. The updates run in this order, each with the networks that the ones before it have moved;
the actor steps, and the copies follow, at every `actor_interval`-th update. To act, xi is 1. Order and copies follow
the authors' code (Plankson/A2PO, d9cd771). This file does not know of horizons and discounts: they are in the data.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from guidedflow.algorithms.learner import Learner, polyak
from guidedflow.algorithms.parts.ensemble import Ensemble, Members, first
from guidedflow.algorithms.parts.losses import squared_error, value_scale
from guidedflow.algorithms.parts.value_range import check_limits, within
from guidedflow.algorithms.parts.variational import evidence
from guidedflow.flows.path import clip
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import Aggregate, Critic, StateValue
from guidedflow.networks.vae import RELU, Condition, ConditionalVAE, Conditioned, LatentActor
from guidedflow.policies.kinds import ActorPolicy
from guidedflow.policies.policy import Policy
from guidedflow.settings import check_settings, hyperparameters
from guidedflow.types import Metrics, Scalar, Transition

BEST: Condition = jnp.ones(1)
"""The condition of the best actions."""


class State(NamedTuple):
    """Networks and optimiser states of A2PO, and how many updates were made."""

    actor: Learner[LatentActor]
    target_actor: LatentActor
    vae: Learner[ConditionalVAE]
    critic: Learner[Critic]
    target_critic: Critic
    value: Learner[StateValue]
    updates: Int[Array, ""]


class Noise(NamedTuple):
    """Every random number of one update; rows are transitions."""

    target_smoothing: Float[Array, "*batch action"]
    """On the target's action, before scaling and clipping."""
    vae: Float[Array, "*batch latent"]
    """Of the autoencoder's latent."""


@hyperparameters
class A2PO:
    """Advantage-aware policy optimization: a CVAE conditioned on advantage, and a policy of its latent."""

    alpha: float = 1.0
    """Weight of the actor's Q, whose mean absolute value is brought to 1; 2.5 is the default of the authors' class."""
    weight: float = 1.0
    """Of the actor's distance to the data."""
    levels: bool = False
    """Condition on -1, 0 or 1 (worse, about as good, better) instead of the tanh of the advantage."""
    threshold: float = 0.0
    """With levels: tanh of the advantage beyond which an action counts as worse or better."""
    beta: float = 1.0
    """Weight of the autoencoder's divergence."""
    vae_updates: int = 200_000
    """Updates after which the autoencoder is frozen."""
    actor_interval: int = 2
    """Updates of the critic for one of the actor and the copies."""
    smoothing: float = 0.2
    """Deviation of the noise on the target's action."""
    smoothing_limit: float = 0.5
    """Where that noise is cut."""
    value_range: tuple[float, ...] = ()
    """Smallest and largest value that is possible, which the critic's target is clipped to; by default none."""
    tau: float = 0.005
    """Rate at which the copies follow."""
    learning_rate: float = 3e-4
    """Step size of Adam, for all networks."""
    hidden: tuple[int, ...] = (256, 256)
    """Sizes of the hidden layers of the actor."""
    critic_hidden: tuple[int, ...] = (256, 256, 256)
    """Sizes of the hidden layers of critic and value."""
    vae_hidden: tuple[int, ...] = (750, 750)
    """Sizes of the hidden layers of the autoencoder."""
    ensemble: Ensemble = Ensemble()
    """Members of the critic, and how their values become one."""

    shown = ("critic_loss", "vae_loss", "q_loss", "distance")

    def __post_init__(self) -> None:
        check_settings(
            self, threshold=(0, 1), smoothing=(0, 10), smoothing_limit=(0, 2), actor_interval=(1, 1000),
            vae_updates=(0, math.inf),
        )  # fmt: skip
        check_limits(self.value_range)

    def init(self, example: Transition, key: PRNGKeyArray) -> State:
        shape, size = example.observation.shape, example.action.size
        actor_key, vae_key, critic_key, value_key = jax.random.split(key, 4)
        actor = LatentActor(shape, 2 * size, self.hidden, condition_size=1, key=actor_key)
        vae = ConditionalVAE(
            shape, size, self.vae_hidden, latent_size=2 * size, condition_size=1, squash=True, key=vae_key
        )
        critic = Critic(shape, size, self.critic_hidden, size=self.ensemble.members, style=RELU, key=critic_key)
        value = StateValue(shape, self.critic_hidden, style=RELU, key=value_key)
        return State(
            actor=Learner.init(actor, self.optimizer),
            target_actor=actor,
            vae=Learner.init(vae, self.optimizer),
            critic=Learner.init(critic, self.optimizer),
            target_critic=critic,
            value=Learner.init(value, self.optimizer),
            updates=jnp.zeros((), jnp.int32),
        )

    def update(self, state: State, batch: Transition, key: PRNGKeyArray) -> tuple[State, Metrics]:
        smoothing_key, vae_key = jax.random.split(key)
        rows, size = batch.action.shape
        smoothing, latent = (jax.random.normal(k, (rows, n)) for k, n in ((smoothing_key, size), (vae_key, 2 * size)))
        return self.step(state, batch, Noise(smoothing, latent))

    def policies(self, state: State) -> dict[str, Policy]:
        actor = Conditioned(state.actor.network, state.vae.network, BEST)
        aggregate = self.ensemble.acting(Aggregate.min)
        judge: dict[str, Any] = {"critic": state.target_critic, "aggregate": aggregate, "sampler": Sampler()}
        return {"actor": ActorPolicy(actor=actor, **judge)}

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam, one state a network."""
        return optax.adam(self.learning_rate)

    def condition(self, critic: Critic, value: StateValue, data: Transition) -> Condition:
        """xi: how much better than V the data's action is."""
        values = critic.given(data.observation)(data.action)
        xi = jnp.tanh(self.ensemble.actor(first)(values) - value(data.observation))
        if self.levels:
            xi = jnp.where(xi > self.threshold, 1.0, jnp.where(xi < -self.threshold, -1.0, 0.0))
        return xi[None]

    def step(self, state: State, batch: Transition, noise: Noise) -> tuple[State, Metrics]:
        """One update with the given noise."""
        target_actor, target_critic = state.target_actor, state.target_critic
        learned_vae = state.vae.network
        updates = state.updates + 1

        for_target, for_actor = self.ensemble.target(Aggregate.min), self.ensemble.actor(first)

        def target(data: Transition, noise: Array) -> Scalar | Members:
            smoothing = jnp.clip(self.smoothing * noise, -self.smoothing_limit, self.smoothing_limit)
            action = Conditioned(target_actor, learned_vae, BEST).given(data.next_observation)(noise)
            values = target_critic.given(data.next_observation)(clip(action + smoothing))
            return within(data.reward + data.discount * for_target(values), self.value_range)

        def critic_loss(critic: Critic, data: Transition, target: Scalar | Members) -> tuple[Scalar, Metrics]:
            values = critic.given(data.observation)(data.action)
            loss = jnp.sum(jnp.square(values - target))
            return loss, {"critic_loss": loss, "q": jnp.mean(values)}

        def value_loss(value: StateValue, data: Transition, target: Scalar | Members) -> tuple[Scalar, Metrics]:
            v = value(data.observation)
            loss = squared_error(v, target)
            return loss, {"value_loss": loss, "v": v}

        targets = jax.vmap(target)(batch, noise.target_smoothing)
        critic, critic_metrics = state.critic.step(self.optimizer, critic_loss, batch, targets)
        value, value_metrics = state.value.step(self.optimizer, value_loss, batch, targets)
        acting = batch.acting
        conditions = jax.vmap(lambda data: self.condition(critic.network, value.network, data))(acting)

        def vae_loss(vae: ConditionalVAE, data: Transition, noise: Noise, xi: Condition) -> tuple[Scalar, Metrics]:
            errors, kl = evidence(vae, data, noise.vae, lambda head: jnp.clip(head, -4.0, 15.0), xi)
            loss = jnp.mean(errors) + self.beta * jnp.mean(kl)
            return loss, {"vae_loss": loss, "kl": jnp.mean(kl), "condition": xi[0]}

        trained, vae_metrics = state.vae.step(self.optimizer, vae_loss, acting, noise, conditions)
        vae = jax.tree.map(lambda new, old: jnp.where(updates <= self.vae_updates, new, old), trained, state.vae)

        def best(actor: LatentActor, data: Transition) -> Scalar:
            action = Conditioned(actor, vae.network, BEST).given(data.observation)(data.action)
            return for_actor(critic.network.given(data.observation)(action))

        def actor_gradient() -> tuple[LatentActor, Metrics]:
            scale = value_scale(jax.vmap(lambda data: best(state.actor.network, data))(acting))

            def actor_loss(actor: LatentActor, data: Transition, xi: Condition) -> tuple[Scalar, Metrics]:
                q_loss = -scale * best(actor, data)
                cloned = Conditioned(actor, vae.network, xi).given(data.observation)(data.action)
                distance = squared_error(cloned, data.action)
                loss = self.alpha * q_loss + self.weight * distance
                return loss, {"actor_loss": loss, "q_loss": q_loss, "distance": distance}

            return state.actor.gradient(actor_loss, acting, conditions)

        # Counted from 1, as in the release: the first update leaves the actor where it is.
        actor, actor_metrics = state.actor.step_every(self.actor_interval, updates, self.optimizer, actor_gradient)
        tau = jnp.where(updates % self.actor_interval == 0, self.tau, 0.0)
        after = State(
            actor=actor,
            target_actor=polyak(target_actor, actor.network, tau),
            vae=vae,
            critic=critic,
            target_critic=polyak(target_critic, critic.network, tau),
            value=value,
            updates=updates,
        )
        return after, {**critic_metrics, **value_metrics, **vae_metrics, **actor_metrics}
