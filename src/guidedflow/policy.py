"""Policies: an observation and a key give an action. All that evaluation and deployment know.

A policy is a pytree, so policies of several seeds are one policy with a leading axis on every leaf. This module does
not know how its networks were trained, nor where observations come from.
"""

import abc
import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.diffusion import Schedule, denoise
from guidedflow.errors import InputError
from guidedflow.guidance import Unguided
from guidedflow.networks import (
    Aggregate,
    Critic,
    Extrapolation,
    Field,
    Linear,
    MeanActor,
    NoiseField,
    NoisyCritic,
    OneStepActor,
)
from guidedflow.sampling import Sampler
from guidedflow.types import Action, Observation, Scalar, Time, Value
from guidedflow.units import ActionScale


class Policy(eqx.Module):
    """The contract: `policy(observation, key)` is one action in the box [-1, 1], unless it is `Rescaled`."""

    sampler: eqx.AbstractVar[Sampler]
    critic: eqx.AbstractVar[Critic | NoisyCritic | None]
    aggregate: eqx.AbstractVar[Aggregate]

    @property
    @abc.abstractmethod
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""

    @property
    @abc.abstractmethod
    def action_size(self) -> int:
        """Number of dimensions of an action."""

    def __call__(self, observation: Any, key: Any) -> Action:
        """The action to take at an observation, an array or nested lists, under a key of `jax.random`.

        Compiled at the first call. Raises `InputError` for anything but one observation of `observation_shape`, of
        finite numbers (images in bytes), for what is no key, and for the policies of all seeds at once.
        """
        _check_key(key)
        return _compiled(self, _observation(observation, self.observation_shape), key)

    @abc.abstractmethod
    def act(self, observation: Observation, key: PRNGKeyArray) -> Action:
        """What a call does, uncompiled."""

    def with_sampler(self, sampler: Sampler) -> "Policy":
        """The same policy, sampled in another way; what it cannot do is an `InputError`."""
        if not isinstance(sampler, Sampler):
            raise InputError(
                f"A policy acts by a Sampler, such as Sampler(guidance=DenoisedGradient(0.1)), but got {sampler!r}."
            )
        self._refuse(sampler)
        if sampler.asks and self.critic is None:
            raise _no_critic()
        return dataclasses.replace(self, sampler=sampler)

    def _refuse(self, sampler: Sampler) -> None:
        """Raise InputError for a sampler that asks for more than proposals of this kind."""

    def told(self) -> str:
        """How it acts, for the rows of an evaluation."""
        return str(self.sampler)

    def with_critic(self, critic: Critic | NoisyCritic, aggregate: Aggregate) -> "Policy":
        """The same policy, asking another critic; one of other sizes is an `InputError`."""
        ours, theirs = ((*part.observation_shape, part.action_size) for part in (self, critic))
        if ours != theirs:
            raise InputError(
                f"The critic takes observations of shape {critic.observation_shape} and {critic.action_size} numbers "
                f"of action, but the policy has {self.observation_shape} and {self.action_size}; "
                "take a critic that was trained on the same task and horizon."
            )
        return dataclasses.replace(self, critic=critic, aggregate=aggregate)


@eqx.filter_jit
def _compiled(policy: Policy, observation: Observation, key: PRNGKeyArray) -> Action:
    layers = jax.tree.leaves(policy, is_leaf=lambda node: isinstance(node, Linear))
    if any(isinstance(layer, Linear) and layer.bias.ndim != 1 for layer in layers):
        raise InputError(
            "These are the policies of all seeds at once: take one of them by Trained.policy(name, seed), or map over "
            "their arrays with equinox.filter_vmap."
        )
    return policy.act(observation, key)


def _observation(observation: Any, shape: tuple[int, ...]) -> Observation:
    """The observation as an array of the policy's numbers."""
    try:
        array = observation if isinstance(observation, jax.Array) else np.asarray(observation)
    except ValueError:  # rows of different lengths
        array = np.asarray(None)
    if not (jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)):
        told = f"numbers of type {array.dtype}" if array.dtype != object else f"a {type(observation).__name__}"
        raise InputError(f"The policy takes one observation of real numbers, of shape {shape}, but got {told}.")
    if array.shape != shape:
        raise InputError(
            f"The policy takes one observation of shape {shape}, but got shape {array.shape}; map over several "
            "observations with jax.vmap."
        )
    if len(shape) == 3:
        if array.dtype != jnp.uint8:
            raise InputError(f"The policy takes images in bytes (uint8, 0 to 255), but got {array.dtype}.")
    elif not isinstance(array, jax.core.Tracer) and not (finite := np.isfinite(array)).all():
        wrong = int(np.argmin(finite))
        raise InputError(
            f"The policy takes finite numbers, but number {wrong} of the observation is {array.ravel()[wrong]}."
        )
    return array if len(shape) == 3 else array.astype(jnp.float32)


def _check_key(key: Any) -> None:
    """Raise InputError for what is not one key, of the new type or the old."""
    found = getattr(key, "dtype", None), getattr(key, "shape", None)
    new = found[0] is not None and jnp.issubdtype(found[0], jax.dtypes.prng_key) and found[1] == ()
    old = found[0] == jnp.uint32 and len(found[1] or ()) == 1
    if not new and not old:
        raise InputError(f"The policy takes one random key, such as jax.random.key(0), but got {key!r}.")


class FlowPolicy(Policy):
    """Integrates a velocity field, guided by a critic where the sampler asks for it."""

    flow: Field
    critic: Critic | NoisyCritic | None
    aggregate: Aggregate = eqx.field(static=True)
    sampler: Sampler

    @property
    def observation_shape(self) -> tuple[int, ...]:
        return self.flow.observation_shape

    @property
    def action_size(self) -> int:
        return self.flow.action_size

    def act(self, observation: Observation, key: PRNGKeyArray) -> Action:
        noise = jax.random.normal(key, (self.sampler.candidates, self.action_size))
        return self.sampler(self.flow.given(observation), _value(self, observation), noise)

    def conditioned(self, weight: float) -> "FlowPolicy":
        """The same policy with its condition weighted so; a flow that was trained without one is an `InputError`."""
        if not isinstance(self.flow, Extrapolation):
            raise InputError("This flow has no condition to weigh; train one by `guidedflow train cfgrl`.")
        return dataclasses.replace(self, flow=Extrapolation(self.flow.field, weight))

    @property
    def condition_weight(self) -> float:
        """The weight of its condition; a flow that was trained without one is an `InputError`."""
        if not isinstance(self.flow, Extrapolation):
            raise InputError("This flow has no condition to weigh; train one by `guidedflow train cfgrl`.")
        return float(self.flow.weight)

    def told(self) -> str:
        sampler = super().told()
        return f"{sampler}, condition {self.condition_weight:g}" if isinstance(self.flow, Extrapolation) else sampler


class DiffusionPolicy(Policy):
    """Denoises noise by a diffusion model; its proposals can be refined and chosen from, but not guided."""

    field: NoiseField
    schedule: Schedule
    critic: Critic | NoisyCritic | None
    aggregate: Aggregate = eqx.field(static=True)
    sampler: Sampler

    @property
    def observation_shape(self) -> tuple[int, ...]:
        return self.field.observation_shape

    @property
    def action_size(self) -> int:
        return self.field.action_size

    def act(self, observation: Observation, key: PRNGKeyArray) -> Action:
        steps = self.schedule.steps
        noise = jax.random.normal(key, (self.sampler.candidates, steps * self.action_size))
        predict = self.field.given(observation)

        def propose(noise: Float[Array, " numbers"]) -> jax.Array:
            return denoise(predict, self.schedule, noise.reshape(steps, self.action_size))

        return self.sampler.choose(propose, _value(self, observation), noise)

    def _refuse(self, sampler: Sampler) -> None:
        if not isinstance(sampler.guidance, Unguided):
            raise InputError("A diffusion policy is no flow to guide; ask for candidates or refinement.")


class ActorPolicy(Policy):
    """Asks a one-step actor, which is no flow: its proposals can be refined and chosen from, but not guided."""

    actor: OneStepActor | MeanActor
    critic: Critic | NoisyCritic | None
    aggregate: Aggregate = eqx.field(static=True)
    sampler: Sampler

    @property
    def observation_shape(self) -> tuple[int, ...]:
        return self.actor.observation_shape

    @property
    def action_size(self) -> int:
        return self.actor.action_size

    def act(self, observation: Observation, key: PRNGKeyArray) -> Action:
        noise = jax.random.normal(key, (self.sampler.candidates, self.action_size))
        return self.sampler.choose(self.actor.given(observation), _value(self, observation), noise)

    def _refuse(self, sampler: Sampler) -> None:
        if not isinstance(sampler.guidance, Unguided):
            raise InputError(
                "A one-step actor has no flow to guide; ask for refinement, or for a policy of the run that is a flow."
            )
        if isinstance(self.actor, MeanActor) and sampler.candidates > 1:
            raise InputError("A deterministic actor has one proposal only, so there are no candidates to choose among.")


class Rescaled(Policy):
    """Acts in the units of its data: another policy's action, taken out of the box."""

    inner: Policy
    scale: ActionScale = eqx.field(static=True)

    def __init__(self, inner: Policy, scale: ActionScale):
        self.inner, self.scale = inner, scale

    @property  # type: ignore[misc]
    def sampler(self) -> Sampler:  # type: ignore[override]
        return self.inner.sampler

    @property  # type: ignore[misc]
    def critic(self) -> Critic | NoisyCritic | None:  # type: ignore[override]
        return self.inner.critic

    @property  # type: ignore[misc]
    def aggregate(self) -> Aggregate:  # type: ignore[override]
        return self.inner.aggregate

    @property
    def observation_shape(self) -> tuple[int, ...]:
        return self.inner.observation_shape

    @property
    def action_size(self) -> int:
        return self.inner.action_size

    def act(self, observation: Observation, key: PRNGKeyArray) -> Action:
        return self.scale.from_box(self.inner.act(observation, key))

    def with_sampler(self, sampler: Sampler) -> "Policy":
        return Rescaled(self.inner.with_sampler(sampler), self.scale)

    def with_critic(self, critic: Critic | NoisyCritic, aggregate: Aggregate) -> "Policy":
        return Rescaled(self.inner.with_critic(critic, aggregate), self.scale)

    def told(self) -> str:
        return self.inner.told()


def in_units(policy: Policy, scale: ActionScale | None) -> Policy:
    """The policy in the units of its data, if these are not those of the box, and it is not in them already."""
    return policy if scale is None or isinstance(policy, Rescaled) else Rescaled(policy, scale)


def _value(policy: Policy, observation: Observation) -> Value:
    if not policy.sampler.asks:
        return lambda action, t: action[0] * 0  # never asked
    if policy.critic is None:
        raise _no_critic()

    values = policy.critic.given(observation)

    def value(action: Action, t: Time) -> Scalar:
        return policy.aggregate(values(action, t))

    return value


def _no_critic() -> InputError:
    return InputError(
        "Guidance, refinement and several candidates need a critic, and this policy was trained without one; "
        "take another run's by --critic-from."
    )
