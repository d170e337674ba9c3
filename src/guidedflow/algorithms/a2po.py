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
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.algorithms.parts.ascent import ascent
from guidedflow.algorithms.parts.ensemble import Members, first
from guidedflow.algorithms.parts.latent_policy import LatentPolicy, Sizes, State
from guidedflow.algorithms.parts.losses import squared_error
from guidedflow.algorithms.parts.smoothing import smoothing
from guidedflow.algorithms.parts.value_range import within
from guidedflow.algorithms.parts.variational import evidence
from guidedflow.flows.path import clip
from guidedflow.networks import Aggregate
from guidedflow.networks.vae import ConditionalVAE, Conditioned, LatentActor
from guidedflow.policies.policy import Policy
from guidedflow.settings import hyperparameters
from guidedflow.types import Metrics, Scalar, Transition

BEST = 1.0
"""The condition of the best actions."""


class Noise(NamedTuple):
    """Every random number of one update; rows are transitions."""

    target_smoothing: Float[Array, "*batch action"]
    """On the target's action, before scaling and clipping."""
    vae: Float[Array, "*batch latent"]
    """Of the autoencoder's latent."""


@hyperparameters
class A2PO(LatentPolicy):
    """Advantage-aware policy optimization: a CVAE conditioned on advantage, and a policy of its latent."""

    alpha: float = 1.0
    """Weight of the actor's Q, whose mean absolute value is brought to 1; 2.5 is the default of the authors' class."""
    weight: float = 1.0
    """Of the actor's distance to the data."""
    levels: bool = False
    """Condition on -1, 0 or 1 (worse, about as good, better) instead of the tanh of the advantage."""
    threshold: float = 0.0
    """With levels: tanh of the advantage beyond which an action counts as worse or better."""
    vae_updates: int = 200_000
    """Updates after which the autoencoder is frozen."""
    actor_interval: int = 2
    """Updates of the critic for one of the actor and the copies."""
    hidden: tuple[int, ...] = (256, 256)
    """Sizes of the hidden layers of the actor."""
    critic_hidden: tuple[int, ...] = (256, 256, 256)
    """Sizes of the hidden layers of critic and value."""
    vae_hidden: tuple[int, ...] = (750, 750)
    """Sizes of the hidden layers of the autoencoder."""

    shown = ("critic_loss", "vae_loss", "q_loss", "distance")

    def __post_init__(self) -> None:
        self.check(threshold=(0, 1), smoothing_limit=(0, 2), actor_interval=(1, 1000), vae_updates=(0, math.inf))

    def init(self, example: Transition, key: PRNGKeyArray) -> State:
        sizes = Sizes(self.hidden, self.vae_hidden, self.critic_hidden)
        return self.begin(example, key, sizes, counted=True, condition_size=1, squash=True)

    def update(self, state: State, batch: Transition, key: PRNGKeyArray) -> tuple[State, Metrics]:
        smoothing_key, vae_key = jax.random.split(key)
        latent = jax.random.normal(vae_key, (len(batch.action), 2 * batch.action.shape[-1]))
        return self.step(state, batch, Noise(jax.random.normal(smoothing_key, batch.action.shape), latent))

    def policies(self, state: State) -> dict[str, Policy]:
        return self.acting_by(Conditioned(state.actor.network, state.decoder, BEST), state.target_critic)

    def step(self, state: State, batch: Transition, noise: Noise) -> tuple[State, Metrics]:
        """One update with the given noise."""
        before, acting, updates = state, batch.acting, jnp.asarray(state.updates) + 1
        for_target, for_actor = self.ensemble.target(Aggregate.min), self.ensemble.actor(first)

        def target(data: Transition, noise: Array) -> Scalar | Members:
            action = Conditioned(before.target_actor, before.decoder, BEST).given(data.next_observation)(noise)
            smoothed = clip(action + smoothing(noise, self.smoothing, self.smoothing_limit))
            values = for_target(before.target_critic.given(data.next_observation)(smoothed))
            return within(data.reward + data.discount * values, self.value_range)

        targets = jax.vmap(target)(batch, noise.target_smoothing)
        state, value_metrics = self.regress(state, batch, targets, targets)
        critic, value = state.critic.network, state.value.network

        def condition(data: Transition) -> Scalar:
            xi = jnp.tanh(for_actor(critic.given(data.observation)(data.action)) - value(data.observation))
            if self.levels:
                xi = jnp.where(xi > self.threshold, 1.0, jnp.where(xi < -self.threshold, -1.0, 0.0))
            return xi

        def vae_loss(vae: ConditionalVAE, data: Transition, noise: Noise, xi: Scalar) -> tuple[Scalar, Metrics]:
            errors, kl = evidence(vae, data, noise.vae, lambda head: jnp.clip(head, -4.0, 15.0), xi[None])
            loss = jnp.mean(errors) + self.beta * jnp.mean(kl)
            return loss, {"vae_loss": loss, "kl": jnp.mean(kl), "condition": xi}

        conditions = jax.vmap(condition)(acting)
        trained, vae_metrics = state.vae.step(self.optimizer, vae_loss, acting, noise, conditions)
        vae = trained.unless(updates > self.vae_updates, state.vae)

        def measure(actor: LatentActor, data: Transition, xi: Scalar) -> tuple[Scalar, Scalar]:
            best, cloned = (Conditioned(actor, vae.network, it).given(data.observation) for it in (BEST, xi))
            q = for_actor(critic.given(data.observation)(best(data.action)))
            return q, squared_error(cloned(data.action), data.action)

        def gradient() -> tuple[LatentActor, Metrics]:
            now, data = state.actor.network, (acting, conditions)
            return state.actor.gradient(ascent(now, measure, *data, weight=self.alpha, price=self.weight), *data)

        # Counted from 1, as in the release: the first update leaves the actor where it is.
        actor, actor_metrics = state.actor.step_every(self.actor_interval, updates, self.optimizer, gradient)
        tau = jnp.where(updates % self.actor_interval == 0, self.tau, 0.0)
        after = self.follow(state._replace(actor=actor, vae=vae, updates=updates), tau)
        return after, {**value_metrics, **vae_metrics, **actor_metrics}
