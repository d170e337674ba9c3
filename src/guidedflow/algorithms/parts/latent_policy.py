"""A conditional VAE of actions, an actor of its latent, and the values that it climbs: what A2PO and LAPO share.

    critic    sum_i |Q_i(s, a) - y|^2
    value     |V(s) - y'|^2

The latent has twice the size of an action. This module does not know what y and y' are, nor how autoencoder and actor
learn.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, PRNGKeyArray

from guidedflow.algorithms.learner import Learner, polyak
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.algorithms.parts.regression import critic_loss, value_loss
from guidedflow.algorithms.parts.value_range import check_limits
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import RELU, Actor, Aggregate, Critic, StateValue
from guidedflow.networks.vae import ConditionalVAE, LatentActor
from guidedflow.policies.kinds import ActorPolicy
from guidedflow.policies.policy import Policy
from guidedflow.settings import check_settings, hyperparameters
from guidedflow.types import Metrics, Scalar, Transition


class State(NamedTuple):
    """Networks and optimiser states."""

    actor: Learner[LatentActor]
    target_actor: LatentActor
    vae: Learner[ConditionalVAE]
    target_vae: ConditionalVAE | None
    """The autoencoder's Polyak copy, in LAPO."""
    critic: Learner[Critic]
    target_critic: Critic
    value: Learner[StateValue]
    updates: Int[Array, ""] | None
    """How many updates were made, in A2PO."""

    @property
    def decoder(self) -> ConditionalVAE:
        """The autoencoder that policies act by: its copy, where there is one."""
        return self.vae.network if self.target_vae is None else self.target_vae


class Sizes(NamedTuple):
    """Sizes of the hidden layers."""

    actor: tuple[int, ...]
    vae: tuple[int, ...]
    values: tuple[int, ...]


@hyperparameters
class LatentPolicy:
    """Settings that both methods have, and what they do in the same way."""

    beta: float = 1.0
    """Weight of the autoencoder's divergence."""
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
    ensemble: Ensemble = Ensemble()
    """Members of the critic, and how their values become one."""

    def check(self, **ranges: tuple[float, float]) -> None:
        """Raise `InputError` for a setting outside its range: those given, and those of the shared settings."""
        check_settings(self, smoothing=(0, 10), **ranges)
        check_limits(self.value_range)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam, one state a network."""
        return optax.adam(self.learning_rate)

    def begin(
        self,
        example: Transition,
        key: PRNGKeyArray,
        sizes: Sizes,
        *,
        copied: bool = False,
        counted: bool = False,
        condition_size: int = 0,
        squash: bool = False,
    ) -> State:
        """The state before the first update.

        The autoencoder has a copy if `copied`, and updates are counted if `counted`. Actor and autoencoder see a
        condition of `condition_size` numbers beside the observation. If `squash`, decoded actions go through tanh.
        """
        shape, size = example.observation.shape, example.action.size
        latent, seen = 2 * size, condition_size
        actor_key, vae_key, critic_key, value_key = jax.random.split(key, 4)
        actor = LatentActor(shape, latent, sizes.actor, condition_size=seen, key=actor_key)
        vae = ConditionalVAE(
            shape, size, sizes.vae, latent_size=latent, condition_size=seen, squash=squash, key=vae_key
        )
        critic = Critic(shape, size, sizes.values, size=self.ensemble.members, style=RELU, key=critic_key)
        value = StateValue(shape, sizes.values, style=RELU, key=value_key)
        return State(
            actor=Learner.init(actor, self.optimizer),
            target_actor=actor,
            vae=Learner.init(vae, self.optimizer),
            target_vae=vae if copied else None,
            critic=Learner.init(critic, self.optimizer),
            target_critic=critic,
            value=Learner.init(value, self.optimizer),
            updates=jnp.zeros((), jnp.int32) if counted else None,
        )

    def regress(
        self,
        state: State,
        batch: Transition,
        critic_targets: Float[Array, "*batch_members"],
        value_targets: Float[Array, "*batch_members"],
    ) -> tuple[State, Metrics]:
        """One step of the critic, and one of the state's value, towards targets of a row each transition."""
        loss = Partial(critic_loss, over_members=jnp.sum)
        critic, critic_metrics = state.critic.step(self.optimizer, loss, batch, critic_targets)
        value, value_metrics = state.value.step(self.optimizer, value_loss, batch, value_targets)
        return state._replace(critic=critic, value=value), {**critic_metrics, **value_metrics}

    def follow(self, state: State, tau: float | Scalar) -> State:
        """The state in which the copies of actor and critic have followed them at a rate."""
        return state._replace(
            target_actor=polyak(state.target_actor, state.actor.network, tau),
            target_critic=polyak(state.target_critic, state.critic.network, tau),
        )

    def acting_by(self, actor: Actor, critic: Critic) -> dict[str, Policy]:
        """The policy of a decoded actor, with a critic to choose and refine by."""
        combine = self.ensemble.acting(Aggregate.min)
        return {"actor": ActorPolicy(actor=actor, critic=critic, aggregate=combine, sampler=Sampler())}
