"""Policies: an observation and a key give an action. All that evaluation and deployment know.

A policy is a pytree, so policies of several seeds are one policy with a leading axis on every leaf. This module does
not know how its networks were trained, nor where observations come from.
"""

import abc
import dataclasses
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.errors import InputError
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import Combine, Control, Critic, Linear, NoisyCritic
from guidedflow.packing import Shape
from guidedflow.policies.inputs import as_observation, check_action, check_key
from guidedflow.types import Action, Observation, Scalar, Time, Value


class Policy(eqx.Module):
    """The contract: `policy(observation, key)` is one action in the box [-1, 1], unless it is `Rescaled`."""

    sampler: eqx.AbstractVar[Sampler]
    critic: eqx.AbstractVar[Critic | NoisyCritic | None]
    aggregate: eqx.AbstractVar[Combine]

    @property
    @abc.abstractmethod
    def observation_shape(self) -> Shape:
        """Shape of one observation."""

    @property
    @abc.abstractmethod
    def action_size(self) -> int:
        """Number of dimensions of an action."""

    def __call__(self, observation: Any, key: Any) -> Action:
        """The action to take at an observation, an array or nested lists, under a key of `jax.random`.

        An observation of several parts is a mapping of their names to arrays.

        Compiled at the first call, and in single precision whatever `jax_enable_x64` says. Raises `InputError` for
        anything but one observation of `observation_shape`, of finite numbers (images in bytes), for what is no key,
        for the policies of all seeds at once, and for an action that would not be finite. Within `jax.jit(policy)`
        numbers are not known, so that they are not checked.
        """
        check_key(key)
        with jax.enable_x64(False):
            action = _compiled(self, as_observation(observation, self.observation_shape), key)
        check_action(action)
        return action

    def __hash__(self) -> int:  # so that `jax.jit(policy)` can remember what it compiled
        return id(self)

    @property
    @abc.abstractmethod
    def noise_shape(self) -> tuple[int, int]:
        """Shape of the standard normal noise of one action: a row for each candidate."""

    @abc.abstractmethod
    def act_from(self, observation: Observation, noise: Float[Array, "candidates numbers"]) -> Action:
        """The action at an observation as a function of its noise, of `noise_shape`; uncompiled."""

    def act(self, observation: Observation, key: PRNGKeyArray) -> Action:
        """What a call does, uncompiled: the action from the noise that the key draws."""
        return self.act_from(observation, jax.random.normal(key, self.noise_shape))

    def with_sampler(self, sampler: Sampler) -> "Policy":
        """The same policy, sampled in another way; what it cannot do is an `InputError`."""
        if not isinstance(sampler, Sampler):
            raise InputError(
                f"A policy acts by a Sampler, such as Sampler(guidance=DenoisedGradient(0.1)), but got {sampler!r}."
            )
        self._refuse(sampler)
        if sampler.asks and self.critic is None:
            raise no_critic()
        return dataclasses.replace(self, sampler=sampler)

    def bound(self, target: Action, binding: Action) -> "Policy":
        """The same policy, pulled to `target`, a chunk in its own units, by `binding` from 0 to 1 (`RealTime`).

        Raises `InputError` for a policy that is no flow.
        """
        raise InputError("Real-time chunking pulls a flow to the chunk before, and this policy is no flow.")

    def _refuse(self, sampler: Sampler) -> None:
        """Raise InputError for a sampler that asks for more than proposals of this kind."""

    def columns(self) -> dict[str, Any]:
        """How it acts, as the columns of a row of results; what does not apply is None."""
        return self.sampler.columns() | {"value": self.aggregate.kind if isinstance(self.aggregate, Control) else None}

    def with_critic(self, critic: Critic | NoisyCritic, aggregate: Combine) -> "Policy":
        """The same policy, asking another critic; one of other sizes is an `InputError`."""
        ours, theirs = ((part.observation_shape, part.action_size) for part in (self, critic))
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


def no_critic() -> InputError:
    """The sentence about a sampler that needs a critic, and a policy without one."""
    return InputError(
        "Guidance, refinement, improvement and candidates need a critic, and this policy was trained without one; "
        "take another run's by --critic-from."
    )


def value_of(policy: Policy, observation: Observation) -> Value:
    """The value of an action at an observation, by the policy's critic; `InputError` where one is needed and missing.

    Where the sampler does not ask for it, no observation is encoded.
    """
    if not policy.sampler.asks:
        return lambda action, t: action[0] * 0  # never asked
    if policy.critic is None:
        raise no_critic()

    values = policy.critic.given(observation)

    def value(action: Action, t: Time) -> Scalar:
        return policy.aggregate(values(action, t))

    return value
