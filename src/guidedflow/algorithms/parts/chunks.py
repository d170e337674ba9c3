"""Chunks of which a part acts, towards a goal: the critic judges a whole chunk, the policy proposes its beginning.

This module does not know how the critic and the policy learn.
"""

from typing import NamedTuple

import jax
import optax
from jaxtyping import PRNGKeyArray

from guidedflow.algorithms.learner import Learner
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.errors import InputError
from guidedflow.networks import NORMED, Critic, PartialField, RawTime, StateValue, VelocityField
from guidedflow.packing import PartShapes
from guidedflow.types import Transition


def first_part(batch: Transition, ratio: int) -> Transition:
    """Transitions, one or a batch, with the first 1 / `ratio` of their action.

    Raises `InputError` where the action cannot be divided so.
    """
    size = batch.action.shape[-1]
    if size % ratio:
        raise InputError(
            f"ratio must divide the critic's chunk into whole steps of the policy's, but is {ratio} for chunks of "
            f"{size} numbers; train with --chunk and a --horizon that is a multiple of it."
        )
    return batch._replace(action=batch.action[..., : size // ratio])


class State(NamedTuple):
    """Networks and optimiser states: a flow of the chunk's first part, critics of whole and part, a value."""

    flow: Learner[PartialField]
    chunk_critic: Learner[Critic] | None
    critic: Learner[Critic]
    target_critic: Critic
    value: Learner[StateValue]


def init(
    example: Transition,
    ratio: int,
    goal_size: int,
    hidden: tuple[int, ...],
    optimizer: optax.GradientTransformation,
    ensemble: Ensemble,
    key: PRNGKeyArray,
    *,
    whole: bool,
) -> State:
    """The state before the first update; with a critic of the whole chunk if `whole`.

    The flow is not shown the last `goal_size` numbers of an observation.
    """
    shape, size = example.observation.shape, first_part(example, ratio).action.size
    flow_key, chunk_key, critic_key, value_key = jax.random.split(key, 4)
    seen = shape if isinstance(shape, PartShapes) else (shape[0] - goal_size, *shape[1:])
    flow = PartialField(VelocityField(seen, size, hidden, RawTime(), style=NORMED, key=flow_key), shape)
    chunk_critic = Critic(shape, example.action.size, hidden, size=ensemble.members, key=chunk_key)
    critic = Critic(shape, size, hidden, size=ensemble.members, key=critic_key)
    return State(
        flow=Learner.init(flow, optimizer),
        chunk_critic=Learner.init(chunk_critic, optimizer) if whole else None,
        critic=Learner.init(critic, optimizer),
        target_critic=critic,
        value=Learner.init(StateValue(shape, hidden, key=value_key), optimizer),
    )


def check_goals(example: Transition, ratio: int, goal_size: int) -> None:
    """Raise `InputError` for data, by its first transition, of which no probability to reach a goal can be learned.

    Of goal-conditioned data the first transition begins at its own goal, so it earns what a goal is worth.
    """
    first_part(example, ratio)
    reward, numbers = float(example.reward), example.observation.shape
    goals = example.actor_observation is not None
    if not 0 <= reward <= 1 or (goals and reward != 1):
        raise InputError(
            f"a probability of reaching a goal is learned from rewards of 1 at the goal and 0 before it, but the first "
            f"transition has {reward:g}; train on goal-conditioned data with --no-gc-negative."
        )
    if goal_size and not goals:
        raise InputError(f"goal-size is {goal_size}, but the data is not goal-conditioned; leave it out.")
    if goal_size and (isinstance(numbers, PartShapes) or len(numbers) != 1 or goal_size >= numbers[0]):
        raise InputError(f"goal-size must be less than the observation's numbers, but is {goal_size} of {numbers}.")
