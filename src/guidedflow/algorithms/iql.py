"""IQL: Implicit Q-Learning (arXiv 2110.06169), as FQL (arXiv 2502.02538) and GFP (arXiv 2512.03973) compare with it.

    V, Q     `parts.implicit_values`
    actor    awr       -min(exp(alpha A), 100) log pi(a | s),   A = min_i Q_i(s, a) - V(s)
             ddpgbc    -min_i Q_i(s, mu(s)) / mean |Q| - alpha log pi(a | s)

pi is a Gaussian around mu(s) with unit deviation. This is the form of seohongpark/fql 719d044, where the three losses
step together and the actor's advantage uses the online critic; the original steps V, actor and Q in turn, squashes the
mean, learns a deviation and decays the actor's rate. This file does not know of horizons and discounts.
"""

from functools import partial
from typing import NamedTuple

import jax
import optax
from jaxtyping import PRNGKeyArray

from guidedflow.algorithms.learner import Learner
from guidedflow.algorithms.parts import figures
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.algorithms.parts.extraction import LIMIT, Extraction, weight
from guidedflow.algorithms.parts.implicit_values import FQL_FORM, ImplicitValues, Values, advantage
from guidedflow.algorithms.parts.losses import squared_error, unit_log_likelihood, value_scale
from guidedflow.flows.path import clip
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import Aggregate, MeanActor, Style, glorot
from guidedflow.policies.kinds import ActorPolicy
from guidedflow.policies.policy import Policy
from guidedflow.settings import hyperparameters
from guidedflow.types import Action, Metrics, Observation, Scalar, Transition


class State(NamedTuple):
    """Networks and optimiser states of IQL."""

    actor: Learner[MeanActor]
    values: Values


@hyperparameters
class IQL:
    """Implicit Q-Learning: values by expectile regression on the data's actions, and a Gaussian actor."""

    alpha: float = 10.0
    """Inverse temperature of the weights (awr), or weight of cloning (ddpgbc); published for awr: 0.3 to 10."""
    expectile: float = 0.9
    """Of the critic's values over the data's actions: 0.5 is their mean, 1 their maximum."""
    extraction: Extraction = Extraction.awr
    """How the actor is drawn from the values."""
    tau: float = 0.005
    """Rate at which the target critic follows the critic."""
    learning_rate: float = 3e-4
    """Step size of Adam, for all networks."""
    hidden: tuple[int, ...] = (512, 512, 512, 512)
    """Sizes of the hidden layers of every network."""
    ensemble: Ensemble = Ensemble()
    """Members of the critic, and how their values become one."""

    shown = ("critic_loss", "actor_loss", "error")

    def init(self, example: Transition, key: PRNGKeyArray) -> State:
        actor_key, values_key = jax.random.split(key)
        shape, size = example.observation.shape, example.action.size
        actor = MeanActor(shape, size, self.hidden, style=Style(head=glorot(1e-2)), key=actor_key)
        values = self.values.init(example, values_key)
        return State(Learner.init(actor, self.optimizer), values)

    def update(self, state: State, batch: Transition, key: PRNGKeyArray) -> tuple[State, Metrics]:
        return self.step(state, batch)  # nothing in it is random

    def policies(self, state: State) -> dict[str, Policy]:
        actor, critic = state.actor.network, state.values.target_critic
        combine = self.ensemble.acting(Aggregate.min)
        return {"actor": ActorPolicy(actor=actor, critic=critic, aggregate=combine, sampler=Sampler())}

    def diagnostics(self, state: State, batch: Transition, key: PRNGKeyArray) -> Metrics:
        """The spread of the advantage weights, the share of them at their limit, and the target critic's distance."""
        critic, value = state.values.critic.network, state.values.value.network
        found = figures.of_target(critic, state.values.target_critic, batch, self.tau)
        if self.extraction is Extraction.awr:
            better = partial(advantage, critic, value, self.ensemble.actor(Aggregate.min))
            found |= figures.of_limited_weights(weight(jax.vmap(better)(batch.acting), self.alpha), LIMIT)
        return found

    @property
    def values(self) -> ImplicitValues:
        """How the values are learned."""
        return ImplicitValues(self.optimizer, self.hidden, self.ensemble, self.expectile, self.tau, FQL_FORM)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam, one state a network."""
        return optax.adam(self.learning_rate)

    def step(self, state: State, batch: Transition) -> tuple[State, Metrics]:
        """One update."""
        actor, critic, state_value = state.actor.network, state.values.critic.network, state.values.value.network
        combine = self.ensemble.actor(Aggregate.min)

        def value(observation: Observation, action: Action) -> Scalar:
            return combine(critic.given(observation)(action))

        # Compiled away where the loss does not use it, as is `climbed` below.
        scale = value_scale(jax.vmap(lambda s: value(s, clip(actor(s))))(batch.acting.observation))

        def actor_loss(actor: MeanActor, data: Transition) -> tuple[Scalar, Metrics]:
            mean = actor(data.observation)
            better = advantage(critic, state_value, combine, data)
            climbed = scale * value(data.observation, clip(mean))
            loss = self.extraction(unit_log_likelihood(mean, data.action), better, climbed, self.alpha)
            return loss, {"actor_loss": loss, "advantage": better, "error": squared_error(mean, data.action)}

        actor_learner, actor_metrics = state.actor.step(self.optimizer, actor_loss, batch.acting)
        values, value_metrics = self.values.step(state.values, batch)
        return State(actor_learner, values), {**value_metrics, **actor_metrics}
