"""LPS: Latent Policy Steering (arXiv 2603.05296). An actor of latents climbs Q through a one-step generator.

    flow      MeanFlow of the data, a one-step generator G(s, z)          `parts.one_step_flow`
    critic    | Q(s, a) - (r + gamma agg Q'(s', G(s', pi(s')))) |^2
    actor     -scale mean_i Q_i(s, G(s, pi(s))),   scale = 1 / mean |Q|

The actor's latent lies where those of the data lie, by default on a sphere, so G keeps the action on the data and no
weight of cloning is needed. The actor's loss reaches neither G nor Q. Networks and order of updates follow the authors'
code (jellyho/LPS, c87dee0). This file does not know of chunks and discounts: they are in the data.
"""

from typing import NamedTuple

import jax
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.algorithms.learner import polyak
from guidedflow.algorithms.parts import latent_actor, one_step_flow, regression
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.algorithms.parts.latent_actor import Extraction, Sizes, State, steer
from guidedflow.algorithms.parts.losses import squared_error, value_scale
from guidedflow.algorithms.parts.one_step_flow import Generator
from guidedflow.flows.meanflow import Prediction
from guidedflow.flows.sources import Latent
from guidedflow.networks import Aggregate, Critic, JumpField, MeanActor, OneStepActor
from guidedflow.policies.policy import Policy
from guidedflow.settings import check_settings, hyperparameters
from guidedflow.types import Action, Metrics, Scalar, Transition


class Noise(NamedTuple):
    """Every random number of one update; rows are transitions."""

    flow: one_step_flow.Noise
    latent: Float[Array, "*batch action"]
    """What the actor of `onestep` sees, and the generator that it stays near."""
    next_latent: Float[Array, "*batch action"]
    """What the actor of `onestep` sees in the critic's target."""


@hyperparameters
class LPS:
    """Latent Policy Steering: a latent actor in front of a one-step generator, with no weight of cloning to tune."""

    alpha: float = 1.0
    """Weight of the distance in onestep; in ddpg it scales the whole loss, which Adam all but cancels."""
    latent: Latent = Latent.sphere
    """Where latents lie."""
    prediction: Prediction = Prediction.clean
    """What the flow's network predicts; published_velocity is the release's form of velocity."""
    extraction: Extraction = Extraction.ddpg
    """What the actor learns from: value, or also a distance; published_onestep is the release's form of onestep."""
    aggregate: Aggregate = Aggregate.min
    """How the critic's target combines the ensemble."""
    instant_share: float = 0.75
    """Share of a batch whose jumps have no length: plain flow matching."""
    tau: float = 0.005
    """Rate at which the target critic follows the critic."""
    learning_rate: float = 3e-4
    """Step size of Adam, for all networks."""
    hidden: tuple[int, ...] = (512, 512, 512, 512)
    """Sizes of the hidden layers of the flow."""
    critic_hidden: tuple[int, ...] = (256, 256, 256, 256)
    """Sizes of the hidden layers of the critic."""
    actor_hidden: tuple[int, ...] = (256, 256)
    """Sizes of the hidden layers of the actor."""
    ensemble: Ensemble = Ensemble()
    """Members of the critic, and how their values become one."""

    shown = ("critic_loss", "flow_loss", "actor_loss")

    def __post_init__(self) -> None:
        check_settings(self, instant_share=(0, 1))

    def init(self, example: Transition, key: PRNGKeyArray) -> State:
        sizes = Sizes(self.actor_hidden, self.hidden, self.critic_hidden)
        return latent_actor.init(example, sizes, self.extraction, self.optimizer, self.ensemble, key)

    def update(self, state: State, batch: Transition, key: PRNGKeyArray) -> tuple[State, Metrics]:
        flow_key, *keys = jax.random.split(key, 3)
        source = self.latent.value.source
        flow = one_step_flow.draw(batch, flow_key, source, self.instant_share)
        return self.step(state, batch, Noise(flow, *(source.draw(key, batch.action.shape) for key in keys)))

    def policies(self, state: State) -> dict[str, Policy]:
        generator = Generator(state.flow.network, self.prediction)
        return latent_actor.policies(state, generator, self.latent, self.ensemble.acting(self.aggregate))

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam, one state a network."""
        return optax.adam(self.learning_rate)

    def step(self, state: State, batch: Transition, noise: Noise) -> tuple[State, Metrics]:
        """One update with the given noise."""
        actor, critic, target_critic = state.actor.network, state.critic.network, state.target_critic
        generator = Generator(state.flow.network, self.prediction)
        for_target, for_actor = self.ensemble.target(self.aggregate), self.ensemble.actor(Aggregate.mean)

        def propose(actor: MeanActor | OneStepActor, data: Transition, noise: Array) -> tuple[Action, Scalar]:
            action = self.extraction.proposal(steer(actor, generator, self.latent), data.observation, noise)
            return action, for_actor(critic.given(data.observation)(action))

        _, values = jax.vmap(propose, in_axes=(None, 0, 0))(actor, batch.acting, noise.latent)
        scale = value_scale(values)

        def critic_loss(critic: Critic, data: Transition, noise: Noise) -> tuple[Scalar, Metrics]:
            next_action = steer(actor, generator, self.latent).given(data.next_observation)(noise.next_latent)
            next_value = for_target(target_critic.given(data.next_observation)(next_action))
            return regression.critic_loss(critic, data, data.reward + data.discount * next_value)

        def flow_loss(flow: JumpField, data: Transition, noise: Noise) -> tuple[Scalar, Metrics]:
            return one_step_flow.flow_loss(flow, data, noise.flow, self.prediction)

        def actor_loss(actor: MeanActor | OneStepActor, data: Transition, noise: Noise) -> tuple[Scalar, Metrics]:
            action, value = propose(actor, data, noise.latent)
            q_loss = -scale * value
            if self.extraction is Extraction.ddpg:
                return self.alpha * q_loss, {"actor_loss": self.alpha * q_loss}
            distance = squared_error(action, generator.given(data.observation)(noise.latent))
            loss = q_loss + self.alpha * distance
            return loss, {"actor_loss": loss, "q_loss": q_loss, "distillation_loss": distance}

        actor_learner, actor_metrics = state.actor.step(self.optimizer, actor_loss, batch.acting, noise)
        flow_learner, flow_metrics = state.flow.step(self.optimizer, flow_loss, batch.acting, noise)
        critic_learner, critic_metrics = state.critic.step(self.optimizer, critic_loss, batch, noise)
        # The target follows the critic of before this step, as in the published code.
        next_state = State(actor_learner, flow_learner, critic_learner, polyak(target_critic, critic, self.tau))
        return next_state, {**critic_metrics, **flow_metrics, **actor_metrics}
