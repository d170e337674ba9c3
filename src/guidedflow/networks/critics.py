"""Critics: what an action, or an observation, is worth.

This module does not know from what they learn.
"""

import enum
from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.networks.encoders import Encoder, encoder_of
from guidedflow.networks.mlp import MLP, NORMED, Style
from guidedflow.networks.observing import Observing, ObservingMLP, members_of
from guidedflow.networks.times import TimeEmbedding
from guidedflow.packing import Shape
from guidedflow.settings import Choice
from guidedflow.types import Action, Observation, Scalar, Time


@runtime_checkable
class Values(Protocol):
    """What the members of a critic make of an action at a time; at t = 1 it is a clean one."""

    def __call__(self, action: Action, t: Time = 1.0) -> Float[Array, " members"]: ...


class StateValue(eqx.Module):
    """v(observation): what can be expected from there on."""

    encoder: Encoder
    mlp: MLP

    def __init__(
        self,
        observation_shape: Shape,
        hidden: Sequence[int],
        *,
        style: Style = NORMED,
        encoder: Encoder | None = None,
        key: PRNGKeyArray,
    ):
        self.encoder = encoder or encoder_of(observation_shape, key)
        self.mlp = MLP(self.encoder.size, hidden, 1, style=style, key=key)

    def __call__(self, observation: Observation) -> Scalar:
        return self.mlp(self.encoder(observation))[0]


class StateValues(eqx.Module):
    """v_i(observation): a state's value for each member of a critic, from independently initialised MLPs."""

    encoder: Encoder
    members: tuple[MLP, ...]

    def __init__(
        self,
        observation_shape: Shape,
        hidden: Sequence[int],
        *,
        size: int = 2,
        style: Style = NORMED,
        encoder: Encoder | None = None,
        key: PRNGKeyArray,
    ):
        self.encoder = encoder or encoder_of(observation_shape, key)
        self.members = members_of(self.encoder.size, hidden, size=size, style=style, key=key)

    def __call__(self, observation: Observation) -> Float[Array, " members"]:
        features = self.encoder(observation)
        return jnp.concatenate([member(features) for member in self.members])


class Critic(Observing):
    """q(observation, action): an ensemble of independently initialised MLPs, with LayerNorm if the style has it.

    The members share one encoder, as published. They stand side by side, not stacked: on a CPU that takes a third off
    the time of a critic's step.
    """

    members: tuple[MLP, ...]

    def __init__(
        self,
        observation_shape: Shape,
        action_size: int,
        hidden: Sequence[int],
        *,
        size: int = 2,
        style: Style = NORMED,
        encoder: Encoder | None = None,
        key: PRNGKeyArray,
    ):
        super().__init__(observation_shape, action_size, encoder=encoder, key=key)
        self.members = members_of(self.encoder.size + action_size, hidden, size=size, style=style, key=key)

    def given(self, observation: Observation) -> Values:
        """Each member's value as a function of the action alone; the time is ignored."""
        features = self.encoder(observation)

        def values(action: Action, t: Time = 1.0) -> Float[Array, " members"]:
            x = jnp.concatenate([features, action])
            return jnp.concatenate([member(x) for member in self.members])

        return values


class NoisyCritic(ObservingMLP):
    """r(observation, a_t, t): the value of the action that a noisy one came from (RobustQ of arXiv 2606.11087)."""

    embedding: TimeEmbedding = eqx.field(static=True)

    def __init__(
        self,
        observation_shape: Shape,
        action_size: int,
        hidden: Sequence[int],
        embedding: TimeEmbedding,
        *,
        style: Style = NORMED,
        encoder: Encoder | None = None,
        key: PRNGKeyArray,
    ):
        super().__init__(
            observation_shape, action_size, hidden, beside=action_size + embedding.size, outputs=1,
            style=style, encoder=encoder, key=key,
        )  # fmt: skip
        self.embedding = embedding

    def given(self, observation: Observation) -> Values:
        """The value, as an ensemble of one, as a function of the noisy action and its time."""
        features = self.encoder(observation)

        def values(action: Action, t: Time = 1.0) -> Float[Array, " members"]:
            return self.mlp(jnp.concatenate([features, action, self.embedding(t)]))

        return values


def pessimistic(values: Float[Array, " members"], rho: float | Scalar = 1.0) -> Scalar:
    """mean - rho * std, the population's; at rho = 1 the minimum of two members.

    Where all members agree the deviation has no gradient, and none is passed on.
    """
    variance = jnp.var(values)
    agree = variance == 0
    return jnp.mean(values) - rho * jnp.where(agree, 0.0, jnp.sqrt(jnp.where(agree, 1.0, variance)))


@jax.tree_util.register_static
class Aggregate(Choice):
    """How the values of a critic's members become one; a pytree without leaves."""

    mean = enum.member(jnp.mean)
    min = enum.member(jnp.min)
    pessimistic = enum.member(pessimistic)


class LowerBound(eqx.Module):
    """`Aggregate.pessimistic` with a chosen rho, which is a leaf of the policy that acts by it."""

    rho: float | Scalar
    """Standard deviations of the members that are subtracted from their mean."""

    def __call__(self, values: Float[Array, " members"]) -> Scalar:
        return pessimistic(values, self.rho)


class Control(eqx.Module):
    """The value of a control experiment: negated, or of a critic whose weights were shuffled."""

    inner: Aggregate | LowerBound
    kind: Literal["negated", "random"] = eqx.field(static=True)

    def __call__(self, values: Float[Array, " members"]) -> Scalar:
        value: Scalar = self.inner(values)
        return -value if self.kind == "negated" else value


Combine = Aggregate | LowerBound | Control
"""The values of a critic's members -> one value."""
