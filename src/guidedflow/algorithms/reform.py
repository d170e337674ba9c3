"""ReFORM: reflected flows for on-support offline RL (arXiv 2602.05051). A noise generator climbs Q through a student.

    flow         | v(s, a_t, t) - (a - x0) |^2 / d,   x0 uniform in the ball of radius sqrt(d)
    student      | G(s, z) - clip(flow(s, z)) |^2 / d
    generator    -weight mean_i Q_i(s, clip(G(s, z'))),   z' = reflected flow of v_psi from a fresh z
    critic       | Q(s, a) - (r + gamma agg Q'(s', clip(G(s', z')))) |^2

Reflection keeps z' in the ball that the student was taught on, so the action stays on the data whatever Q says there
and off it. No gradient of the generator's loss reaches student or critic. Networks and order of updates follow the
authors' code (MIT-REALM/reform, f8a7875). This file does not know of horizons and discounts: they are in the data.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray

from guidedflow.algorithms.learner import clip_together, finite_or_zero, polyak
from guidedflow.algorithms.parts import reflected_noise, regression
from guidedflow.algorithms.parts.cloning import flow_loss
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.algorithms.parts.losses import squared_error, value_scale
from guidedflow.algorithms.parts.reflected_noise import Noise, Reflected, State
from guidedflow.flows.path import clip, integrate
from guidedflow.flows.reflection import Reflection
from guidedflow.networks import Aggregate, Critic, OneStepActor, VelocityField
from guidedflow.policies.policy import Policy
from guidedflow.settings import hyperparameters
from guidedflow.types import Action, Metrics, Observation, Scalar, Transition


@hyperparameters
class ReFORM:
    """ReFORM: a reflected flow chooses the noise of a distilled flow, so that actions stay on the data's support."""

    weight: float = 0.1
    """Of the generator's loss; published: 0.1 for every task. Adam all but cancels it."""
    normalize_q: bool = False
    """Divide the generator's Q by its mean absolute value over the batch."""
    aggregate: Aggregate = Aggregate.mean
    """How the critic's target combines the ensemble; published: min for the ant mazes."""
    reflection: Reflection = Reflection.published
    """What becomes of a step that leaves the ball; actions of one dimension need projected."""
    max_norm: float = 10.0
    """Where the norm of the gradient of all networks together is cut."""
    tau: float = 0.005
    """Rate at which the target critic follows the critic."""
    learning_rate: float = 3e-4
    """Step size of Adam, for all networks."""
    flow_steps: int = 10
    """Euler steps of both flows."""
    hidden: tuple[int, ...] = (512, 512, 512, 512)
    """Sizes of the hidden layers of every network."""
    ensemble: Ensemble = Ensemble()
    """Members of the critic, and how their values become one."""

    shown = ("critic_loss", "flow_loss", "distillation_loss", "q_loss")

    def init(self, example: Transition, key: PRNGKeyArray) -> State:
        return reflected_noise.init(example, self.hidden, self.optimizer, self.ensemble, key)

    def update(self, state: State, batch: Transition, key: PRNGKeyArray) -> tuple[State, Metrics]:
        return self.step(state, batch, reflected_noise.draw(batch, key))

    def policies(self, state: State) -> dict[str, Policy]:
        actor = self.steer(state.generator.network, state.student.network)
        return reflected_noise.policies(state, actor, self.ensemble.acting(self.aggregate), self.flow_steps)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam, one state a network."""
        return optax.adam(self.learning_rate)

    def steer(self, generator: VelocityField, student: OneStepActor) -> Reflected:
        """The student behind the reflected generator."""
        return Reflected(generator, student, self.flow_steps, self.reflection)

    def step(self, state: State, batch: Transition, noise: Noise) -> tuple[State, Metrics]:
        """One update with the given noise."""
        student, flow, critic, target_critic = (
            state.student.network, state.flow.network, state.critic.network, state.target_critic
        )  # fmt: skip
        for_target, for_actor = self.ensemble.target(self.aggregate), self.ensemble.actor(Aggregate.mean)

        def act(generator: VelocityField, observation: Observation, point: Array) -> Action:
            return self.steer(generator, student).given(observation)(point)

        def value(generator: VelocityField, observation: Observation, point: Array) -> Scalar:
            return for_actor(critic.given(observation)(act(generator, observation, point)))

        scale = jnp.ones(())
        if self.normalize_q:
            observations, points = batch.acting.observation, noise.generator
            scale = value_scale(jax.vmap(value, in_axes=(None, 0, 0))(state.generator.network, observations, points))

        def generator_loss(generator: VelocityField, data: Transition, noise: Noise) -> tuple[Scalar, Metrics]:
            q_loss = -scale * value(generator, data.observation, noise.generator)
            return self.weight * q_loss, {"q_loss": q_loss}

        def student_loss(student: OneStepActor, data: Transition, noise: Noise) -> tuple[Scalar, Metrics]:
            imitated = clip(integrate(flow.given(data.observation), noise.distillation, self.flow_steps))
            loss = squared_error(student.given(data.observation)(noise.distillation), imitated)
            return loss, {"distillation_loss": loss}

        def critic_loss(critic: Critic, data: Transition, noise: Noise) -> tuple[Scalar, Metrics]:
            next_action = act(state.generator.network, data.next_observation, noise.next_action)
            next_value = for_target(target_critic.given(data.next_observation)(next_action))
            return regression.critic_loss(critic, data, data.reward + data.discount * next_value)

        generator, generator_metrics = state.generator.gradient(generator_loss, batch.acting, noise)
        taught, student_metrics = state.student.gradient(student_loss, batch.acting, noise)
        cloned, flow_metrics = state.flow.gradient(flow_loss, batch.acting, noise)
        judged, critic_metrics = state.critic.gradient(critic_loss, batch, noise)
        # One norm over all networks, as published; where it is not finite, Adam moves by its moments alone.
        clipped = finite_or_zero(clip_together(self.max_norm, generator, taught, cloned, judged))
        after = State(
            generator=state.generator.descend(self.optimizer, clipped[0]),
            student=state.student.descend(self.optimizer, clipped[1]),
            flow=state.flow.descend(self.optimizer, clipped[2]),
            critic=state.critic.descend(self.optimizer, clipped[3]),
            target_critic=polyak(target_critic, critic, self.tau),
        )
        return after, {**critic_metrics, **flow_metrics, **student_metrics, **generator_metrics}
