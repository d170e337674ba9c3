"""FQL: Flow Q-Learning (arXiv 2502.02538). A flow clones the data; a one-step actor is distilled from it and climbs Q.

    critic   | Q(s, a) - (r + gamma agg Q'(s', mu(s', z'))) |^2
    flow     | v(s, a_t, t) - (a - x0) |^2
    actor    alpha | mu(s, z) - flow(s, z) |^2 - scale Q(s, mu(s, z))

Errors are means over action dimensions, Q is the mean over the ensemble in the actor's loss, and scale is 1 unless
`normalize_q`. Networks, noise sharing, clipping and the order of updates follow the authors' code (seohongpark/fql,
719d044). This file does not know of horizons and discounts: they are in the data.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray

from guidedflow.algorithms.learner import polyak
from guidedflow.algorithms.parts import automatic, distillation, figures
from guidedflow.algorithms.parts.automatic import Found
from guidedflow.algorithms.parts.cloning import flow_loss
from guidedflow.algorithms.parts.distillation import Noise, State
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.algorithms.parts.losses import squared_error, value_scale
from guidedflow.flows.path import clip, integrate
from guidedflow.networks import Aggregate, Critic, OneStepActor, RawTime
from guidedflow.policies.policy import Policy
from guidedflow.settings import Automatic, hyperparameters
from guidedflow.types import Action, Metrics, Observation, Scalar, Transition


@hyperparameters
class FQL:
    """Flow Q-Learning: a one-step actor that climbs the critic while it stays near a flow cloned from the data."""

    alpha: Automatic = 10.0
    """Weight of the distance to the flow, or auto; its scale is that of Q, and published values span 1 to 30000."""
    normalize_q: bool = False
    """Divide the actor's Q by its mean absolute value over the batch; then start with alpha from 0.03 to 10."""
    aggregate: Aggregate = Aggregate.mean
    """How the critic's target combines the ensemble."""
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

    shown = ("critic_loss", "flow_loss", "distillation_loss", "q_loss")

    def init(self, example: Transition, key: PRNGKeyArray) -> State:
        found = Found.begin(alpha=(self.alpha, 10.0))
        return distillation.init(example, self.hidden, RawTime(), self.optimizer, self.ensemble, key, found)

    def update(self, state: State, batch: Transition, key: PRNGKeyArray) -> tuple[State, Metrics]:
        return self.step(state, batch, distillation.draw(batch, key))

    def policies(self, state: State) -> dict[str, Policy]:
        return distillation.policies(state, self.ensemble.acting(self.aggregate), self.flow_steps)

    def diagnostics(self, state: State, batch: Transition, key: PRNGKeyArray) -> Metrics:
        """The distance between critic and target critic, and the place of an automatic alpha."""
        told = figures.of_target(state.critic.network, state.target_critic, batch, self.tau)
        return told | state.found.figures()

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam, one state a network."""
        return optax.adam(self.learning_rate)

    def step(self, state: State, batch: Transition, noise: Noise) -> tuple[State, Metrics]:
        """One update with the given noise."""
        actor, flow, critic, target_critic = (
            state.actor.network, state.flow.network, state.critic.network, state.target_critic
        )  # fmt: skip

        for_target, for_actor = self.ensemble.target(self.aggregate), self.ensemble.actor(Aggregate.mean)
        alpha = state.found.alpha(self.alpha)

        def act(observation: Observation, noise: Array) -> Action:
            return clip(actor.given(observation)(noise))

        def imitate(observation: Observation, noise: Array) -> Action:
            return clip(integrate(flow.given(observation), noise, self.flow_steps))

        def value(observation: Observation, action: Action) -> Scalar:
            return for_actor(critic.given(observation)(action))

        # What both policies do at s with the same z: constants of every loss below.
        acting = batch.acting
        imitations = jax.vmap(imitate)(acting.observation, noise.action)
        scale = jnp.ones(())
        if self.normalize_q:
            proposals = jax.vmap(act)(acting.observation, noise.action)
            scale = value_scale(jax.vmap(value)(acting.observation, proposals))

        def critic_loss(critic: Critic, data: Transition, noise: Noise) -> tuple[Scalar, Metrics]:
            next_action = act(data.next_observation, noise.next_action)
            next_value = for_target(target_critic.given(data.next_observation)(next_action))
            values = critic.given(data.observation)(data.action)
            loss = squared_error(values, data.reward + data.discount * next_value)
            return loss, {"critic_loss": loss, "q": jnp.mean(values)}

        def actor_loss(
            actor: OneStepActor, data: Transition, noise: Noise, imitation: Action
        ) -> tuple[Scalar, Metrics]:
            action = actor.given(data.observation)(noise.action)
            distillation = squared_error(action, imitation)
            q_loss = -scale * value(data.observation, clip(action))
            loss = alpha * distillation + q_loss
            return loss, {"actor_loss": loss, "distillation_loss": distillation, "q_loss": q_loss}

        actor_learner, actor_metrics = state.actor.step(self.optimizer, actor_loss, acting, noise, imitations)
        flow_learner, flow_metrics = state.flow.step(self.optimizer, flow_loss, acting, noise)
        critic_learner, critic_metrics = state.critic.step(self.optimizer, critic_loss, batch, noise)
        found, found_metrics = state.found.after(
            alpha=automatic.spacing(imitate, acting, imitations, noise.action, actor_metrics, self.distance)
        )
        # The target follows the critic of before this step, as in the published code.
        target = polyak(target_critic, critic, self.tau)
        next_state = State(actor_learner, flow_learner, critic_learner, target, found)
        return next_state, {**critic_metrics, **flow_metrics, **actor_metrics, **found_metrics}
