"""GFP: Guided Flow Policy (arXiv 2512.03973). Actor and flow guide each other through the critic.

    critic   | Q(s, a) - (r + gamma target(s')) |^2
    flow     g(s, a) | v(s, a_t, t) - (a - x0) |^2                 VaBC: clones what beats the actor
    actor    alpha | mu(s, z) - flow(s, z) |^2 - scale Q(s, mu(s, z))

    g(s, a) = sigmoid(scale (Q'(s, a) - reference) / temperature),   scale = 1 / mean |Q(s, mu(s, z))|

Q' is the target critic; errors are means over action dimensions; one z serves the actor, the flow that it is distilled
from, and the reference. Clipping, aggregation and the order of updates follow the authors' code
(Simple-Robotics/guided-flow-policy, 49f6b17). This file does not know of horizons and discounts: they are in the data.
"""

import enum
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.algorithms.learner import polyak
from guidedflow.algorithms.parts import automatic, distillation, figures
from guidedflow.algorithms.parts.automatic import Found
from guidedflow.algorithms.parts.distillation import Noise, State
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.algorithms.parts.losses import (
    advantage_weight,
    clipped_advantage_weight,
    flow_matching_error,
    softmax_weight,
    squared_error,
    value_scale,
)
from guidedflow.flows.path import clip, integrate
from guidedflow.networks import Aggregate, Critic, OneStepActor, SinusoidalTime, VelocityField
from guidedflow.policies.policy import Policy
from guidedflow.settings import Automatic, Choice, hyperparameters
from guidedflow.types import Action, Metrics, Observation, Scalar, Transition

Act = Callable[[Observation, Array], Action]
"""From an observation and noise to a clipped action."""


TargetValue = Float[Array, "*members"]
"""The value of an action for the target: one number, or one for each member with a target of its own."""


def actor_target(
    value: Callable[[Action], TargetValue], actor: Act, flow: Act, data: Transition, noise: Array
) -> TargetValue:
    """Q'(s', actor(s')): Eq. 6."""
    return value(actor(data.next_observation, noise))


def mean_target(
    value: Callable[[Action], TargetValue], actor: Act, flow: Act, data: Transition, noise: Array
) -> TargetValue:
    """The mean of Q'(s', actor(s')) and Q'(s', flow(s')): Eq. 7 as it is written."""
    return (value(actor(data.next_observation, noise)) + value(flow(data.next_observation, noise))) / 2


def published_mean_target(
    value: Callable[[Action], TargetValue], actor: Act, flow: Act, data: Transition, noise: Array
) -> TargetValue:
    """The mean of Q'(s', actor(s')) and Q'(s', flow(s)): Eq. 7 as all published numbers were made (appendix B.1)."""
    return (value(actor(data.next_observation, noise)) + value(flow(data.observation, noise))) / 2


class Target(Choice):
    """What the critic bootstraps from."""

    actor = enum.member(actor_target)
    mean = enum.member(mean_target)
    published_mean = enum.member(published_mean_target)


def actor_reference(value: Callable[[Action], Scalar], proposal: Action, imitation: Action) -> Scalar:
    """The value of the actor's action: Eq. 10."""
    return value(proposal)


def min_reference(value: Callable[[Action], Scalar], proposal: Action, imitation: Action) -> Scalar:
    """The smaller value of the actor's and the flow's action: Eq. 13."""
    return jnp.minimum(value(proposal), value(imitation))


class Reference(Choice):
    """What a data action has to beat to be cloned."""

    actor = enum.member(actor_reference)
    min = enum.member(min_reference)


class Weight(Choice):
    """How an advantage over the reference becomes a weight of cloning."""

    softmax = enum.member(softmax_weight)
    advantage = enum.member(advantage_weight)
    clipped_advantage = enum.member(clipped_advantage_weight)


@hyperparameters
class GFP:
    """Guided Flow Policy: a one-step actor, and the flow that clones only what the critic prefers to the actor."""

    alpha: Automatic = 1.0
    """Weight of the actor's distance to the flow, against Q of mean absolute value 1, or auto; published 0.01 to 10."""
    temperature: Automatic = 1e-3
    """Sharpness (eta) of the choice between data and actor, or auto; 0 clones everything; published: 1e-6 to 0.1."""
    aggregate: Aggregate = Aggregate.mean
    """How the ensemble's values become one, everywhere."""
    target: Target = Target.actor
    """What the critic bootstraps from; published_mean is the release's form of mean."""
    reference: Reference = Reference.actor
    """What a data action has to beat to be cloned."""
    weight: Weight = Weight.softmax
    """From an advantage to a weight of cloning; advantage is the ablation's exponential."""
    tau: float = 0.005
    """Rate at which the target critic follows the critic."""
    learning_rate: float = 3e-4
    """Step size of Adam, for all networks."""
    flow_steps: int = 10
    """Euler steps from noise to action."""
    hidden: tuple[int, ...] = (512, 512, 512, 512)
    """Sizes of the hidden layers of every network."""
    ensemble: Ensemble = Ensemble()
    """Members of the critic, and how their values become one."""
    distance: float = 0.5
    """With alpha auto: the actor's root mean square distance to the flow, in standard deviations of the flow."""
    effective_share: float = 0.5
    """With temperature auto: the effective sample size of the weights of cloning, as a share of the batch."""

    shown = ("critic_loss", "flow_loss", "distillation_loss", "q_loss")

    def init(self, example: Transition, key: PRNGKeyArray) -> State:
        found = Found.begin(alpha=(self.alpha, 1.0), temperature=(self.temperature, 1e-3))
        return distillation.init(example, self.hidden, SinusoidalTime(), self.optimizer, self.ensemble, key, found)

    def update(self, state: State, batch: Transition, key: PRNGKeyArray) -> tuple[State, Metrics]:
        return self.step(state, batch, distillation.draw(batch, key))

    def policies(self, state: State) -> dict[str, Policy]:
        return distillation.policies(state, self.ensemble.acting(self.aggregate), self.flow_steps)

    def diagnostics(self, state: State, batch: Transition, key: PRNGKeyArray) -> Metrics:
        """The spread of the weights g, an automatic alpha, and the distance between critic and target critic."""
        data, noise, combine = batch.acting, distillation.draw(batch, key), self.ensemble.actor(self.aggregate)

        def advantages(data: Transition, noise: Noise) -> tuple[Scalar, Scalar, Scalar]:
            proposal = clip(state.actor.network.given(data.observation)(noise.action))
            imitation = clip(integrate(state.flow.network.given(data.observation), noise.action, self.flow_steps))
            q, online = state.target_critic.given(data.observation), state.critic.network.given(data.observation)
            reference = self.reference(lambda action: combine(q(action)), proposal, imitation)
            return combine(q(data.action)), reference, combine(online(proposal))

        q, reference, proposed = jax.vmap(advantages)(data, noise)
        temperature = state.found.temperature(self.temperature)
        weights = jax.vmap(self.weight, (0, 0, None, None))(q, reference, value_scale(proposed), temperature)
        told = figures.of_weights(weights) | state.found.figures()
        return told | figures.of_target(state.critic.network, state.target_critic, batch, self.tau)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam, one state a network."""
        return optax.adam(self.learning_rate)

    def step(self, state: State, batch: Transition, noise: Noise) -> tuple[State, Metrics]:
        """One update with the given noise."""
        actor, flow, critic, target_critic = (
            state.actor.network, state.flow.network, state.critic.network, state.target_critic
        )  # fmt: skip

        for_target, for_actor = self.ensemble.target(self.aggregate), self.ensemble.actor(self.aggregate)
        alpha, temperature = state.found.alpha(self.alpha), state.found.temperature(self.temperature)

        def act(observation: Observation, noise: Array) -> Action:
            return clip(actor.given(observation)(noise))

        def imitate(observation: Observation, noise: Array) -> Action:
            return clip(integrate(flow.given(observation), noise, self.flow_steps))

        def value(observation: Observation, action: Action) -> Scalar:
            return for_actor(critic.given(observation)(action))

        # What both policies do at s with the same z: constants of every loss below.
        acting = batch.acting
        proposals = jax.vmap(act)(acting.observation, noise.action)
        imitations = jax.vmap(imitate)(acting.observation, noise.action)
        scale = value_scale(jax.vmap(value)(acting.observation, proposals))

        def critic_loss(critic: Critic, data: Transition, noise: Noise) -> tuple[Scalar, Metrics]:
            next_values = target_critic.given(data.next_observation)
            bootstrap = self.target(lambda a: for_target(next_values(a)), act, imitate, data, noise.next_action)
            values = critic.given(data.observation)(data.action)
            loss = squared_error(values, data.reward + data.discount * bootstrap)
            return loss, {"critic_loss": loss, "q": jnp.mean(values)}

        def compare(data: Transition, proposal: Action, imitation: Action) -> tuple[Scalar, Scalar]:
            q = target_critic.given(data.observation)
            return for_actor(q(data.action)), self.reference(lambda action: for_actor(q(action)), proposal, imitation)

        def flow_loss(
            flow: VelocityField, data: Transition, noise: Noise, proposal: Action, imitation: Action
        ) -> tuple[Scalar, Metrics]:
            q, reference = compare(data, proposal, imitation)
            weight = self.weight(q, reference, scale, temperature)
            velocity = flow.given(data.observation)
            loss = weight * flow_matching_error(velocity, noise.flow_source, data.action, noise.flow_time)
            return loss, {"flow_loss": loss, "weight": weight, "q_reference": reference}

        def actor_loss(
            actor: OneStepActor, data: Transition, noise: Noise, imitation: Action
        ) -> tuple[Scalar, Metrics]:
            action = actor.given(data.observation)(noise.action)
            distillation = squared_error(action, imitation)
            q_loss = -scale * value(data.observation, clip(action))
            loss = alpha * distillation + q_loss
            return loss, {"actor_loss": loss, "distillation_loss": distillation, "q_loss": q_loss}

        actor_learner, actor_metrics = state.actor.step(self.optimizer, actor_loss, acting, noise, imitations)
        flow_learner, flow_metrics = state.flow.step(self.optimizer, flow_loss, acting, noise, proposals, imitations)
        critic_learner, critic_metrics = state.critic.step(self.optimizer, critic_loss, batch, noise)

        def weigh(temperature: Scalar) -> tuple[Array, Array]:
            q, reference = jax.vmap(compare)(acting, proposals, imitations)
            weights = jax.vmap(self.weight, (0, 0, None, None))(q, reference, scale, temperature)
            return weights, scale * (q - reference)

        found, found_metrics = state.found.after(
            alpha=automatic.spacing(imitate, acting, imitations, noise.action, actor_metrics, self.distance),
            temperature=automatic.sharpness(weigh, self.effective_share),
        )
        # The target follows the critic of before this step, as in the published code.
        target = polyak(target_critic, critic, self.tau)
        next_state = State(actor_learner, flow_learner, critic_learner, target, found)
        return next_state, {**critic_metrics, **flow_metrics, **actor_metrics, **found_metrics}
