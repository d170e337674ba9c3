"""A diffusion policy beside the values of implicit Q-learning: the state of DAC and QSM, their noise and policies.

This module does not know what the noise predictor learns.
"""

from typing import NamedTuple

import jax
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from guidedflow.algorithms.learner import Learner
from guidedflow.algorithms.parts.implicit_values import ImplicitValues, Values
from guidedflow.flows.diffusion import Schedule
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import Combine, NoiseField
from guidedflow.policies.kinds import DiffusionPolicy
from guidedflow.policies.policy import Policy
from guidedflow.types import Transition


class State(NamedTuple):
    """Networks and optimiser states of the noise predictor and of the values."""

    noise: Learner[NoiseField]
    values: Values


class Noise(NamedTuple):
    """Every random number of one update; rows are transitions."""

    noise: Float[Array, "*batch action"]
    """What the action is mixed with."""
    time: Int[Array, "*batch"]
    """Steps of the diffusion, from 1 on."""


def init(
    example: Transition,
    hidden: tuple[int, ...],
    optimizer: optax.GradientTransformation,
    values: ImplicitValues,
    key: PRNGKeyArray,
    *,
    deep_time: bool,
) -> State:
    """The state before the first update."""
    noise_key, values_key = jax.random.split(key)
    shape, size = example.observation.shape, example.action.size
    noise = NoiseField(shape, size, hidden, deep_time=deep_time, key=noise_key)
    return State(Learner.init(noise, optimizer), values.init(example, values_key))


def draw(batch: Transition, schedule: Schedule, key: PRNGKeyArray) -> Noise:
    """The noise of an update on `batch`."""
    noise_key, time_key = jax.random.split(key)
    time = jax.random.randint(time_key, batch.reward.shape, 1, schedule.steps + 1)
    return Noise(jax.random.normal(noise_key, batch.action.shape), time)


def policies(state: State, schedule: Schedule, combine: Combine) -> dict[str, Policy]:
    """The diffusion policy, with the target critic to choose and refine by."""
    field, critic = state.noise.network, state.values.target_critic
    policy = DiffusionPolicy(field=field, schedule=schedule, critic=critic, aggregate=combine, sampler=Sampler())
    return {"diffusion": policy}
