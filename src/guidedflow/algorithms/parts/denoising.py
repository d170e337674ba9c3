"""A diffusion policy beside the values of implicit Q-learning: the parts of which DAC and QSM are made.

Both teach a noise predictor something about the critic's gradient at noisy actions, beside cloning the data:

    noise    | eps(s, a_t, t) - noise |^2 / d, where a_t = `diffusion.diffuse`(a, noise, t)

This module does not know what else the predictor learns.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from guidedflow.algorithms.learner import Learner
from guidedflow.algorithms.parts import implicit_values as implicit
from guidedflow.algorithms.parts.implicit_values import Values
from guidedflow.algorithms.parts.losses import squared_error
from guidedflow.flows.diffusion import Schedule, diffuse
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import NORM_FIRST, Aggregate, Critic, NoiseField
from guidedflow.policies.kinds import DiffusionPolicy
from guidedflow.policies.policy import Policy
from guidedflow.types import Action, Metrics, Scalar, Transition


class State(NamedTuple):
    """What is learned."""

    noise: Learner[NoiseField]
    values: Values


class Noise(NamedTuple):
    """Every random number of one update; rows are transitions."""

    noise: Float[Array, "*batch action"]
    """What the action is mixed with."""
    time: Int[Array, "*batch"]
    """Steps of the diffusion, from 1 on."""


Lesson = Callable[[Action, Action, Int[Array, ""], Scalar], Scalar]
"""(predicted noise, gradient of the value at the noisy action, t, cloning error) -> the predictor's loss."""


def init(
    example: Transition, hidden: tuple[int, ...], optimizer: optax.GradientTransformation, key: PRNGKeyArray
) -> State:
    """The state before the first update."""
    noise_key, values_key = jax.random.split(key)
    noise = NoiseField(example.observation.shape, example.action.size, hidden, key=noise_key)
    return State(Learner.init(noise, optimizer), implicit.init(example, hidden, optimizer, values_key, NORM_FIRST))


def draw(batch: Transition, schedule: Schedule, key: PRNGKeyArray) -> Noise:
    """The noise of an update on `batch`."""
    noise_key, time_key = jax.random.split(key)
    time = jax.random.randint(time_key, batch.reward.shape, 1, schedule.steps + 1)
    return Noise(jax.random.normal(noise_key, batch.action.shape), time)


def policies(state: State, schedule: Schedule) -> dict[str, Policy]:
    """The diffusion policy, able to ask the target critic."""
    critic = state.values.target_critic
    field = state.noise.network
    policy = DiffusionPolicy(field=field, schedule=schedule, critic=critic, aggregate=Aggregate.min, sampler=Sampler())
    return {"diffusion": policy}


def step(
    state: State,
    batch: Transition,
    noise: Noise,
    schedule: Schedule,
    lesson: Lesson,
    optimizer: optax.GradientTransformation,
    *,
    expectile: float | Scalar,
    tau: float | Scalar,
) -> tuple[State, Metrics]:
    """One update; the value is the mean of the target critics, asked at noisy actions that they were not trained on."""
    critic: Critic = state.values.target_critic

    def noise_loss(field: NoiseField, data: Transition, noise: Noise) -> tuple[Scalar, Metrics]:
        point = diffuse(schedule, data.action, noise.noise, noise.time)
        guess = field.given(data.observation)(point, noise.time.astype(jnp.float32))
        values = critic.given(data.observation)
        gradient = jax.grad(lambda point: jnp.mean(values(point)))(point)
        error = squared_error(guess, noise.noise)
        loss = lesson(guess, gradient, noise.time, error)
        return loss, {"noise_loss": loss, "cloning_loss": error}

    learner, metrics = state.noise.step(optimizer, noise_loss, batch.acting, noise)
    values, value_metrics = implicit.step(
        state.values, batch, optimizer, expectile=expectile, tau=tau, over_members=jnp.mean
    )
    return State(learner, values), {**value_metrics, **metrics}
