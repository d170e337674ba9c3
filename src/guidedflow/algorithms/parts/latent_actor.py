"""An actor of latents in front of a one-step generator, and a critic: the parts of LPS.

    action    G(s, bound(pi(s)))

This module does not know how the three are trained.
"""

from typing import Any, NamedTuple

import jax
import optax
from jax.tree_util import Partial
from jaxtyping import Array, PRNGKeyArray

from guidedflow.algorithms.learner import Learner
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.algorithms.parts.one_step_flow import Generator
from guidedflow.flows.sampling import Sampler
from guidedflow.flows.sources import Latent
from guidedflow.networks import Actor, Combine, Critic, Decoded, JumpField, MeanActor, OneStepActor
from guidedflow.policies.kinds import ActorPolicy
from guidedflow.policies.policy import Policy
from guidedflow.settings import Choice
from guidedflow.types import Action, Observation, Transition


class Extraction(Choice):
    """What the actor learns from."""

    ddpg = "value"
    onestep = "value, and the distance to the generator's action from the same noise"
    published_onestep = "as onestep, of the latent minus the action, where the release acts by the action"

    def proposal(self, steered: Decoded, observation: Observation, noise: Array) -> Action:
        """What the actor's loss values in the place of an action."""
        action = steered.given(observation)(noise)
        if self is not Extraction.published_onestep:
            return action
        return steered.bound(steered.actor.given(observation)(noise)) - action


class State(NamedTuple):
    """Networks and optimiser states of LPS."""

    actor: Learner[MeanActor | OneStepActor]
    flow: Learner[JumpField]
    critic: Learner[Critic]
    target_critic: Critic


class Sizes(NamedTuple):
    """Sizes of the hidden layers."""

    actor: tuple[int, ...]
    flow: tuple[int, ...]
    critic: tuple[int, ...]


def init(
    example: Transition,
    sizes: Sizes,
    extraction: Extraction,
    optimizer: optax.GradientTransformation,
    ensemble: Ensemble,
    key: PRNGKeyArray,
) -> State:
    """The state before the first update; the target critic begins as a copy of the critic."""
    shape, size = example.observation.shape, example.action.size
    actor_key, flow_key, critic_key = jax.random.split(key, 3)
    kind = MeanActor if extraction is Extraction.ddpg else OneStepActor
    critic = Critic(shape, size, sizes.critic, size=ensemble.members, key=critic_key)
    return State(
        actor=Learner.init(kind(shape, size, sizes.actor, key=actor_key), optimizer),
        flow=Learner.init(JumpField(shape, size, sizes.flow, key=flow_key), optimizer),
        critic=Learner.init(critic, optimizer),
        target_critic=critic,
    )


def steer(actor: MeanActor | OneStepActor, generator: Generator, latent: Latent) -> Decoded:
    """G(s, bound(pi(s))): an actor in front of a generator, its latents where those of the data lie."""
    return Decoded(actor, generator, Partial(latent.value.bound))


def policies(state: State, generator: Generator, latent: Latent, combine: Combine) -> dict[str, Policy]:
    """The steered generator and the generator alone, both with the target critic to choose and refine by."""
    judge: dict[str, Any] = {"critic": state.target_critic, "aggregate": combine, "sampler": Sampler()}
    actors: dict[str, Actor] = {"actor": steer(state.actor.network, generator, latent), "behaviour": generator}
    return {name: ActorPolicy(actor=actor, source=latent.value.source, **judge) for name, actor in actors.items()}
