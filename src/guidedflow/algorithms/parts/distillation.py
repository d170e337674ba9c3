"""A flow, a one-step actor distilled from it, and a critic: the parts of which FQL and GFP are made.

This module does not know how the three are trained.
"""

from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.algorithms.learner import Learner
from guidedflow.algorithms.parts.automatic import NUMBERS, Found
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import Combine, Critic, OneStepActor, TimeEmbedding, VelocityField
from guidedflow.policies.kinds import ActorPolicy, FlowPolicy
from guidedflow.policies.policy import Policy
from guidedflow.types import Transition


class State(NamedTuple):
    """Networks and optimiser states of FQL and GFP."""

    actor: Learner[OneStepActor]
    flow: Learner[VelocityField]
    critic: Learner[Critic]
    target_critic: Critic
    found: Found = NUMBERS
    """Settings that find themselves."""


class Noise(NamedTuple):
    """Every random number of one update; rows are transitions."""

    next_action: Float[Array, "*batch action"]
    """z', shared by all policies in the critic's target."""
    action: Float[Array, "*batch action"]
    """z, shared by the actor and the flow that it is distilled from."""
    flow_source: Float[Array, "*batch action"]
    """x0, where flow matching starts."""
    flow_time: Float[Array, "*batch"]
    """t in [0, 1), of flow matching."""


def init(
    example: Transition,
    hidden: tuple[int, ...],
    embedding: TimeEmbedding,
    optimizer: optax.GradientTransformation,
    ensemble: Ensemble,
    key: PRNGKeyArray,
    found: Found = NUMBERS,
) -> State:
    """The state before the first update; the target critic begins as a copy of the critic."""
    shape, size = example.observation.shape, example.action.size
    actor_key, flow_key, critic_key = jax.random.split(key, 3)
    critic = Critic(shape, size, hidden, size=ensemble.members, key=critic_key)
    return State(
        actor=Learner.init(OneStepActor(shape, size, hidden, key=actor_key), optimizer),
        flow=Learner.init(VelocityField(shape, size, hidden, embedding, key=flow_key), optimizer),
        critic=Learner.init(critic, optimizer),
        target_critic=critic,
        found=found,
    )


def draw(batch: Transition, key: PRNGKeyArray) -> Noise:
    """The noise of an update on `batch`; its four parts are independent."""
    next_key, action_key, source_key, time_key = jax.random.split(key, 4)
    return Noise(
        next_action=jax.random.normal(next_key, batch.action.shape),
        action=jax.random.normal(action_key, batch.action.shape),
        flow_source=jax.random.normal(source_key, batch.action.shape),
        flow_time=jax.random.uniform(time_key, batch.reward.shape),
    )


def policies(state: State, combine: Combine, flow_steps: int) -> dict[str, Policy]:
    """The one-step actor and the flow, both with the target critic to choose and refine by.

    The actor is the flow's one-step map too, for distilled guidance.
    """
    judge: dict[str, Any] = {"critic": state.target_critic, "aggregate": combine, "sampler": Sampler(flow_steps)}
    return {
        "actor": ActorPolicy(actor=state.actor.network, **judge),
        "flow": FlowPolicy(flow=state.flow.network, jump=state.actor.network, **judge),
    }
