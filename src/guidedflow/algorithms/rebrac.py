"""ReBRAC: TD3+BC revisited (arXiv 2305.09836), as FQL (arXiv 2502.02538) and GFP (arXiv 2512.03973) compare with it.

    critic   | Q(s, a) - (r + gamma (agg Q'(s', a') - alpha_critic |a' - a'_data|^2)) |^2,   a' = mu'(s') + smoothing
    actor    alpha_actor |mu(s) - a|^2 - Q(s, mu(s)) / mean |Q|

Distances are sums over action dimensions. The actor steps, and both targets follow, at every `actor_interval`-th update
only. In between Adam goes on for the actor with a gradient of zero, as one optimiser for all parameters does in
seohongpark/fql 719d044. This file does not know of horizons and discounts.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from guidedflow.algorithms.learner import Learner, polyak
from guidedflow.algorithms.parts import figures
from guidedflow.algorithms.parts.ascent import ascent
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.algorithms.parts.losses import squared_error
from guidedflow.algorithms.parts.smoothing import smoothing
from guidedflow.flows.path import clip
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import Aggregate, Critic, MeanActor, Style, glorot
from guidedflow.policies.kinds import ActorPolicy
from guidedflow.policies.policy import Policy
from guidedflow.settings import check_settings, hyperparameters
from guidedflow.types import Metrics, Scalar, Transition


class State(NamedTuple):
    """Networks and optimiser states of ReBRAC, and how many updates were made."""

    actor: Learner[MeanActor]
    target_actor: MeanActor
    critic: Learner[Critic]
    target_critic: Critic
    updates: Int[Array, ""]


@hyperparameters
class ReBRAC:
    """A deterministic actor that climbs the critic, with a price on leaving the data in both losses."""

    alpha_actor: float = 0.1
    """Price of the actor's distance to the data, against a Q of mean absolute value 1; published: 0.001 to 1."""
    alpha_critic: float = 0.01
    """Price of the same distance in the critic's target, in units of reward; published: 0 to 0.5."""
    aggregate: Aggregate = Aggregate.min
    """How the ensemble's values become one: min as published by FQL, mean for most tasks in GFP's comparison."""
    smoothing: float = 0.2
    """Deviation of the noise on the target's action."""
    smoothing_limit: float = 0.5
    """Where that noise is cut."""
    actor_interval: int = 2
    """Updates of the critic for one of the actor and the targets."""
    tau: float = 0.005
    """Rate at which the targets follow."""
    learning_rate: float = 3e-4
    """Step size of Adam, for all networks."""
    hidden: tuple[int, ...] = (512, 512, 512, 512)
    """Sizes of the hidden layers of every network."""
    ensemble: Ensemble = Ensemble()
    """Members of the critic, and how their values become one."""

    shown = ("critic_loss", "actor_loss", "q_loss")

    def __post_init__(self) -> None:
        check_settings(self, smoothing=(0, 10), smoothing_limit=(0, 2), actor_interval=(1, 1000))

    def init(self, example: Transition, key: PRNGKeyArray) -> State:
        shape, size = example.observation.shape, example.action.size
        actor_key, critic_key = jax.random.split(key)
        actor = MeanActor(shape, size, self.hidden, squash=True, style=Style(head=glorot(1e-2)), key=actor_key)
        critic = Critic(shape, size, self.hidden, size=self.ensemble.members, key=critic_key)
        learners = Learner.init(actor, self.optimizer), Learner.init(critic, self.optimizer)
        return State(learners[0], actor, learners[1], critic, jnp.zeros((), jnp.int32))

    def update(self, state: State, batch: Transition, key: PRNGKeyArray) -> tuple[State, Metrics]:
        return self.step(state, batch, jax.random.normal(key, batch.action.shape))

    def policies(self, state: State) -> dict[str, Policy]:
        actor, combine = state.actor.network, self.ensemble.acting(self.aggregate)
        return {"actor": ActorPolicy(actor=actor, critic=state.target_critic, aggregate=combine, sampler=Sampler())}

    def diagnostics(self, state: State, batch: Transition, key: PRNGKeyArray) -> Metrics:
        """The target actor's distance to the data's next actions, and that between critic and target critic."""
        after = jax.vmap(state.target_actor)(batch.next_observation)
        target = figures.of_target(state.critic.network, state.target_critic, batch, self.tau)
        return figures.apart("next_action_distance", after, batch.next_action) | target

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam, one state a network."""
        return optax.adam(self.learning_rate)

    def step(self, state: State, batch: Transition, noise: Float[Array, "batch action"]) -> tuple[State, Metrics]:
        """One update with the given noise on the target's actions."""
        actor, critic, target_actor, target_critic = (
            state.actor.network, state.critic.network, state.target_actor, state.target_critic
        )  # fmt: skip
        for_target, for_actor = self.ensemble.target(self.aggregate), self.ensemble.actor(self.aggregate)

        def critic_loss(critic: Critic, data: Transition, noise: Array) -> tuple[Scalar, Metrics]:
            smoothed = smoothing(noise, self.smoothing, self.smoothing_limit)
            next_action = clip(target_actor(data.next_observation) + smoothed)
            distance = jnp.sum(jnp.square(next_action - data.next_action))
            next_value = for_target(target_critic.given(data.next_observation)(next_action))
            target = data.reward + data.discount * (next_value - self.alpha_critic * distance)
            values = critic.given(data.observation)(data.action)
            loss = squared_error(values, target)
            return loss, {"critic_loss": loss, "q": jnp.mean(values)}

        def measure(actor: MeanActor, data: Transition) -> tuple[Scalar, Scalar]:
            action = actor(data.observation)
            return for_actor(critic.given(data.observation)(action)), jnp.sum(jnp.square(action - data.action))

        def gradient() -> tuple[MeanActor, Metrics]:
            return state.actor.gradient(ascent(actor, measure, batch.acting, price=self.alpha_actor), batch.acting)

        every, updates = self.actor_interval, state.updates
        critic_learner, critic_metrics = state.critic.step(self.optimizer, critic_loss, batch, noise)
        actor_learner, metrics = state.actor.step_every(every, updates, self.optimizer, gradient, coasting=True)
        tau = jnp.where(updates % every == 0, self.tau, 0.0)
        target_actor, target_critic = polyak(target_actor, actor, tau), polyak(target_critic, critic, tau)
        after = State(actor_learner, target_actor, critic_learner, target_critic, updates + 1)
        return after, {**critic_metrics, **metrics}
