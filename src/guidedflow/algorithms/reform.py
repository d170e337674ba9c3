"""ReFORM: reflected flows for on-support offline RL (arXiv 2602.05051). A noise generator climbs Q through a student.

    flow         | v(s, a_t, t) - (a - x0) |^2 / d,   x0 uniform in the ball of radius sqrt(d)
    student      | G(s, z) - clip(flow(s, z)) |^2 / d
    generator    -weight mean_i Q_i(s, clip(G(s, z'))),   z' = reflected flow of v_psi from a fresh z
    critic       | Q(s, a) - (r + gamma agg Q'(s', clip(G(s', z')))) |^2

Reflection keeps z' in the ball that the student was taught on, so the action stays on the data whatever Q says there
and off it. No gradient of the generator's loss reaches student or critic. Networks and order of updates follow the
authors' code (MIT-REALM/reform, f8a7875). This file does not know of horizons and discounts: they are in the data.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.algorithms.learner import Learner, clip_together, polyak
from guidedflow.algorithms.parts.cloning import flow_loss
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.algorithms.parts.losses import squared_error, value_scale
from guidedflow.flows.path import clip, integrate
from guidedflow.flows.reflection import Reflection, integrate_reflected
from guidedflow.flows.sampling import Sampler
from guidedflow.flows.sources import ball
from guidedflow.networks import Aggregate, Critic, OneStepActor, RawTime, VelocityField
from guidedflow.packing import Shape
from guidedflow.policies.kinds import ActorPolicy, FlowPolicy
from guidedflow.policies.policy import Policy
from guidedflow.settings import hyperparameters
from guidedflow.types import Action, Metrics, Observation, Scalar, Transition


class Reflected(eqx.Module):
    """The student's action at the generator's noise: an actor whose own noise is a point of the ball."""

    generator: VelocityField
    student: OneStepActor
    steps: int = eqx.field(static=True)
    reflection: Reflection = eqx.field(static=True)

    @property
    def observation_shape(self) -> Shape:
        return self.student.observation_shape

    @property
    def action_size(self) -> int:
        return self.student.action_size

    @property
    def deterministic(self) -> bool:
        """False: the noise is moved, and becomes the action."""
        return False

    def given(self, observation: Observation) -> Callable[[Array], Action]:
        """The clipped action as a function of a point in the ball."""
        velocity, student = self.generator.given(observation), self.student.given(observation)
        how = self.steps, self.action_size**0.5, self.reflection
        return lambda noise: clip(student(integrate_reflected(velocity, noise, *how)))


class State(NamedTuple):
    """Networks and optimiser states of ReFORM."""

    generator: Learner[VelocityField]
    student: Learner[OneStepActor]
    flow: Learner[VelocityField]
    critic: Learner[Critic]
    target_critic: Critic


class Noise(NamedTuple):
    """Every random number of one update, points being of the ball; rows are transitions."""

    next_action: Float[Array, "*batch action"]
    """Where the reflected flow of the critic's target begins."""
    flow_source: Float[Array, "*batch action"]
    """x0, where flow matching starts."""
    flow_time: Float[Array, "*batch"]
    """t in [0, 1), of flow matching."""
    distillation: Float[Array, "*batch action"]
    """z, shared by the student and the flow that it is distilled from."""
    generator: Float[Array, "*batch action"]
    """Where the reflected flow of the generator's loss begins."""


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
        shape, size = example.observation.shape, example.action.size
        generator_key, student_key, flow_key, critic_key = jax.random.split(key, 4)
        critic = Critic(shape, size, self.hidden, size=self.ensemble.members, key=critic_key)
        return State(
            generator=Learner.init(self._flow(example, generator_key), self.optimizer),
            student=Learner.init(OneStepActor(shape, size, self.hidden, key=student_key), self.optimizer),
            flow=Learner.init(self._flow(example, flow_key), self.optimizer),
            critic=Learner.init(critic, self.optimizer),
            target_critic=critic,
        )

    def _flow(self, example: Transition, key: PRNGKeyArray) -> VelocityField:
        return VelocityField(example.observation.shape, example.action.size, self.hidden, RawTime(), key=key)

    def update(self, state: State, batch: Transition, key: PRNGKeyArray) -> tuple[State, Metrics]:
        *keys, time_key = jax.random.split(key, 5)
        next_action, source, distillation, generator = (ball.draw(key, batch.action.shape) for key in keys)
        time = jax.random.uniform(time_key, batch.reward.shape)
        return self.step(state, batch, Noise(next_action, source, time, distillation, generator))

    def policies(self, state: State) -> dict[str, Policy]:
        aggregate = self.ensemble.acting(self.aggregate)
        judge: dict[str, Any] = {"critic": state.target_critic, "aggregate": aggregate, "source": ball}
        actor = self.steer(state.generator.network, state.student.network)
        return {
            "actor": ActorPolicy(actor=actor, sampler=Sampler(), **judge),
            "flow": FlowPolicy(flow=state.flow.network, sampler=Sampler(self.flow_steps), **judge),
        }

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
            values = critic.given(data.observation)(data.action)
            loss = squared_error(values, data.reward + data.discount * next_value)
            return loss, {"critic_loss": loss, "q": jnp.mean(values)}

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


def finite_or_zero(gradients: tuple[Any, ...]) -> tuple[Any, ...]:
    """The gradients, or zeros for all of them where one number is not finite."""
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(gradients)]))
    return jax.tree.map(lambda leaf: jnp.where(finite, leaf, 0.0), gradients)
