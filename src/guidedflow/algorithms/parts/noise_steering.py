"""A policy of noise in front of a flow that it never changes: a tanh-Gaussian draws what the flow starts from.

    action    clip(the flow's end from w),   w = scale * u,   u = tanh of a Gaussian of pi(. | s)

This module does not know what pi and its critics learn.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.algorithms.learner import Learner
from guidedflow.algorithms.parts import cloning
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.flows.path import clip, integrate
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import PLAIN, Combine, Critic, RawTime, VelocityField
from guidedflow.networks.gaussians import GaussianActor
from guidedflow.packing import Shape
from guidedflow.policies.density import density
from guidedflow.policies.kinds import ActorPolicy, FlowPolicy
from guidedflow.policies.policy import Policy
from guidedflow.types import Action, Observation, Scalar, Transition


class Decoder(eqx.Module):
    """The clipped end of a flow, as a function of the noise that it starts from."""

    flow: VelocityField
    steps: int = eqx.field(static=True)

    def given(self, observation: Observation) -> Callable[[Array], Action]:
        """The action as a function of the noise alone."""
        velocity = self.flow.given(observation)
        return lambda noise: clip(integrate(velocity, noise, self.steps))


class Steered(eqx.Module):
    """The flow's action from the noise that a policy draws: an actor whose own noise is standard normal."""

    actor: GaussianActor
    decoder: Decoder
    scale: float | Scalar

    @property
    def observation_shape(self) -> Shape:
        return self.actor.observation_shape

    @property
    def action_size(self) -> int:
        return self.actor.action_size

    @property
    def deterministic(self) -> bool:
        """False: the noise becomes the action."""
        return False

    def given(self, observation: Observation) -> Callable[[Array], Action]:
        """The action as a function of standard normal noise."""
        pi, decode = density(self.actor, observation), self.decoder.given(observation)
        return lambda noise: decode(self.scale * pi.draw(noise)[0])


class State(NamedTuple):
    """Networks and optimiser states of a noise policy, its temperature, the flow, and critics of actions and noise."""

    actor: Learner[GaussianActor]
    log_alpha: Learner[Array]
    flow: Learner[VelocityField]
    target_flow: VelocityField
    """What the noise policy steers."""
    critic: Learner[Critic]
    target_critic: Critic
    noise_critic: Learner[Critic]


class Noise(NamedTuple):
    """Every random number of one update; rows are transitions."""

    next_action: Float[Array, "*batch candidates action"]
    """Of the policy's candidates in the critic's target."""
    distillation: Float[Array, "*batch action"]
    """w, at which the critic of noise learns what the flow's action is worth."""
    flow_source: Float[Array, "*batch action"]
    """x0, where flow matching starts."""
    flow_time: Float[Array, "*batch"]
    """t in [0, 1), of flow matching."""
    actor: Float[Array, "*batch action"]
    """Of the noise that the policy's loss evaluates."""


def init(
    example: Transition,
    hidden: tuple[int, ...],
    optimizer: optax.GradientTransformation,
    ensemble: Ensemble,
    key: PRNGKeyArray,
) -> State:
    """The state before the first update; target networks begin as copies, and the temperature at 1."""
    shape, size = example.observation.shape, example.action.size
    actor_key, flow_key, critic_key, noise_key = jax.random.split(key, 4)
    actor = GaussianActor(shape, size, hidden, smallest=-20.0, style=PLAIN, key=actor_key)
    flow = VelocityField(shape, size, hidden, RawTime(), key=flow_key)
    critic, noise_critic = (
        Critic(shape, size, hidden, size=ensemble.members, key=each) for each in (critic_key, noise_key)
    )
    return State(
        actor=Learner.init(actor, optimizer),
        log_alpha=Learner.init(jnp.zeros(()), optimizer),
        flow=Learner.init(flow, optimizer),
        target_flow=flow,
        critic=Learner.init(critic, optimizer),
        target_critic=critic,
        noise_critic=Learner.init(noise_critic, optimizer),
    )


def draw(batch: Transition, candidates: int, key: PRNGKeyArray) -> Noise:
    """The noise of an update on `batch`; its parts are independent."""
    next_key, distillation_key, flow_key, actor_key = jax.random.split(key, 4)
    rows, size = batch.action.shape
    return Noise(
        jax.random.normal(next_key, (rows, candidates, size)),
        jax.random.normal(distillation_key, (rows, size)),
        *cloning.draw(batch, flow_key),
        jax.random.normal(actor_key, (rows, size)),
    )


def policies(state: State, actor: Steered, combine: Combine, candidates: int) -> dict[str, Policy]:
    """The noise policy in front of the flow, and that flow alone; both choose and refine by the online critic."""
    judge: dict[str, Any] = {"critic": state.critic.network, "aggregate": combine}
    return {
        "actor": ActorPolicy(actor=actor, sampler=Sampler(candidates=candidates), **judge),
        "flow": FlowPolicy(flow=state.target_flow, sampler=Sampler(actor.decoder.steps), **judge),
    }
