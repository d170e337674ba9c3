"""Policies: an observation and a key give an action. All that evaluation and deployment know.

A policy is a pytree, so policies of several seeds are one policy with a leading axis on every leaf. This module does
not know how its networks were trained, nor where observations come from.
"""

import abc
import dataclasses

import equinox as eqx
import jax
from jaxtyping import PRNGKeyArray

from guidedflow.errors import InputError
from guidedflow.guidance import Unguided
from guidedflow.networks import Aggregate, Critic, OneStepActor, VelocityField
from guidedflow.sampling import Sampler
from guidedflow.types import Action, Observation, Scalar, Time, Value


class Policy(eqx.Module):
    """The contract: `policy(observation, key)` is one action in the box [-1, 1]."""

    sampler: eqx.AbstractVar[Sampler]

    @property
    @abc.abstractmethod
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""

    @property
    @abc.abstractmethod
    def action_size(self) -> int:
        """Number of dimensions of an action."""

    @abc.abstractmethod
    def __call__(self, observation: Observation, key: PRNGKeyArray) -> Action:
        """The action to take; an observation of another shape is an `InputError`."""

    @abc.abstractmethod
    def with_sampler(self, sampler: Sampler) -> "Policy":
        """The same policy, sampled in another way; what it cannot do is an `InputError`."""


class FlowPolicy(Policy):
    """Integrates a velocity field, guided by a critic where the sampler asks for it."""

    flow: VelocityField
    critic: Critic | None
    aggregate: Aggregate = eqx.field(static=True)
    sampler: Sampler

    @property
    def observation_shape(self) -> tuple[int, ...]:
        return self.flow.observation_shape

    @property
    def action_size(self) -> int:
        return self.flow.action_size

    def __call__(self, observation: Observation, key: PRNGKeyArray) -> Action:
        _check(observation, self.observation_shape)
        noise = jax.random.normal(key, (self.sampler.candidates, self.action_size))
        return self.sampler(self.flow.given(observation), _value(self.critic, self.aggregate, observation), noise)

    def with_sampler(self, sampler: Sampler) -> "Policy":
        _check_critic(sampler, self.critic)
        return dataclasses.replace(self, sampler=sampler)


class ActorPolicy(Policy):
    """Asks a one-step actor, which is no flow: its proposals can be refined and chosen from, but not guided."""

    actor: OneStepActor
    critic: Critic | None
    aggregate: Aggregate = eqx.field(static=True)
    sampler: Sampler

    @property
    def observation_shape(self) -> tuple[int, ...]:
        return self.actor.observation_shape

    @property
    def action_size(self) -> int:
        return self.actor.action_size

    def __call__(self, observation: Observation, key: PRNGKeyArray) -> Action:
        _check(observation, self.observation_shape)
        noise = jax.random.normal(key, (self.sampler.candidates, self.action_size))
        value = _value(self.critic, self.aggregate, observation)
        return self.sampler.choose(self.actor.given(observation), value, noise)

    def with_sampler(self, sampler: Sampler) -> "Policy":
        if not isinstance(sampler.guidance, Unguided):
            raise InputError(
                "A one-step actor has no flow to guide; ask for the policy 'flow', or for candidates or refinement."
            )
        _check_critic(sampler, self.critic)
        return dataclasses.replace(self, sampler=sampler)


def _value(critic: Critic | None, aggregate: Aggregate, observation: Observation) -> Value:
    if critic is None:
        return lambda action, t: action[0] * 0  # never asked: `with_sampler` refuses what would need a value

    values = critic.given(observation)

    def value(action: Action, t: Time) -> Scalar:
        return aggregate(values(action))

    return value


def _check(observation: Observation, shape: tuple[int, ...]) -> None:
    if observation.shape != shape:
        raise InputError(
            f"The policy takes one observation of shape {shape}, but got shape {observation.shape}; "
            "map over several observations with jax.vmap."
        )


def _check_critic(sampler: Sampler, critic: Critic | None) -> None:
    asks = sampler.candidates > 1 or sampler.refinement is not None or not isinstance(sampler.guidance, Unguided)
    if asks and critic is None:
        raise InputError(
            "Guidance, refinement and several candidates need a critic, and this policy was trained without one."
        )
