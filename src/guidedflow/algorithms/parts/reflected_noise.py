"""A generator of noise in front of a distilled flow: a flow that is reflected in the ball that the flow starts from.

    flow         v(s, a_t, t), which starts from x0 uniform in the ball of radius sqrt(d)
    student      G(s, z), in one step where the flow ends that starts from z
    generator    z' = reflected flow of v_psi from a fresh z

This module does not know what the generator learns, nor what values are.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.algorithms.learner import Learner
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.flows.path import clip
from guidedflow.flows.reflection import Reflection, integrate_reflected
from guidedflow.flows.sampling import Sampler
from guidedflow.flows.sources import ball
from guidedflow.networks import Combine, Critic, OneStepActor, RawTime, VelocityField
from guidedflow.packing import Shape
from guidedflow.policies.kinds import ActorPolicy, FlowPolicy
from guidedflow.policies.policy import Policy
from guidedflow.types import Action, Observation, Transition


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
    """Networks and optimiser states of generator, student, flow and critic."""

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


def init(
    example: Transition,
    hidden: tuple[int, ...],
    optimizer: optax.GradientTransformation,
    ensemble: Ensemble,
    key: PRNGKeyArray,
) -> State:
    """The state before the first update; the target critic begins as a copy of the critic."""
    shape, size = example.observation.shape, example.action.size
    generator_key, student_key, flow_key, critic_key = jax.random.split(key, 4)
    critic = Critic(shape, size, hidden, size=ensemble.members, key=critic_key)
    return State(
        generator=Learner.init(VelocityField(shape, size, hidden, RawTime(), key=generator_key), optimizer),
        student=Learner.init(OneStepActor(shape, size, hidden, key=student_key), optimizer),
        flow=Learner.init(VelocityField(shape, size, hidden, RawTime(), key=flow_key), optimizer),
        critic=Learner.init(critic, optimizer),
        target_critic=critic,
    )


def draw(batch: Transition, key: PRNGKeyArray) -> Noise:
    """The noise of an update on `batch`; its five parts are independent."""
    *keys, time_key = jax.random.split(key, 5)
    next_action, source, distillation, generator = (ball.draw(key, batch.action.shape) for key in keys)
    time = jax.random.uniform(time_key, batch.reward.shape)
    return Noise(next_action, source, time, distillation, generator)


def policies(state: State, actor: Reflected, combine: Combine, flow_steps: int) -> dict[str, Policy]:
    """The student behind the generator and the flow, both with the target critic to choose and refine by."""
    judge: dict[str, Any] = {"critic": state.target_critic, "aggregate": combine, "source": ball}
    return {
        "actor": ActorPolicy(actor=actor, sampler=Sampler(), **judge),
        "flow": FlowPolicy(flow=state.flow.network, sampler=Sampler(flow_steps), **judge),
    }
