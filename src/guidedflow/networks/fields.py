"""Velocity fields and noise predictors: networks of an observation, a noisy action and a time.

This module does not know which path they are trained on, nor how they are integrated.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.networks.encoders import Encoder, encoder_of
from guidedflow.networks.mlp import MLP, PLAIN, Style
from guidedflow.networks.observing import Observing, ObservingMLP
from guidedflow.networks.times import TimeEmbedding
from guidedflow.packing import PartShapes, Shape
from guidedflow.parts import Parts
from guidedflow.types import Action, Observation, Scalar, Time, Velocity


@runtime_checkable
class Field(Protocol):
    """What a flow policy integrates."""

    @property
    def observation_shape(self) -> Shape: ...
    @property
    def action_size(self) -> int: ...

    def given(self, observation: Observation) -> Velocity:
        """The velocity as a function of the action and the time alone."""
        ...


class VelocityField(ObservingMLP):
    """v(observation, a, t): a flow policy's network."""

    embedding: TimeEmbedding = eqx.field(static=True)

    def __init__(
        self,
        observation_shape: Shape,
        action_size: int,
        hidden: Sequence[int],
        embedding: TimeEmbedding,
        *,
        style: Style = PLAIN,
        encoder: Encoder | None = None,
        key: PRNGKeyArray,
    ):
        super().__init__(
            observation_shape, action_size, hidden, beside=action_size + embedding.size, outputs=action_size,
            style=style, encoder=encoder, key=key,
        )  # fmt: skip
        self.embedding = embedding

    def given(self, observation: Observation) -> Velocity:
        """The velocity as a function of the action and the time alone."""
        features = self.encoder(observation)

        def velocity(point: Action, t: Time) -> Action:
            return self.mlp(jnp.concatenate([features, point, self.embedding(t)]))

        return velocity


class JumpField(ObservingMLP):
    """f(observation, a_t, t, r): a network of a point and of the interval that is jumped over (MeanFlow).

    It sees 1 - t, what remains at the start, and r - t, the length of the jump, as raw numbers, as in LPS
    (arXiv 2603.05296).
    """

    def __init__(
        self,
        observation_shape: Shape,
        action_size: int,
        hidden: Sequence[int],
        *,
        encoder: Encoder | None = None,
        key: PRNGKeyArray,
    ):
        beside = action_size + 2
        super().__init__(
            observation_shape, action_size, hidden, beside=beside, outputs=action_size, encoder=encoder, key=key
        )

    def given(self, observation: Observation) -> Callable[[Action, Time, Time], Action]:
        """The network as a function of the point, the time at it and the time at the jump's end."""
        features = self.encoder(observation)

        def jump(point: Action, start: Time, end: Time) -> Action:
            interval = jnp.stack([jnp.asarray(1 - start), jnp.asarray(end - start)])
            return self.mlp(jnp.concatenate([features, point, interval.astype(point.dtype)]))

        return jump


class PartialField(eqx.Module):
    """A field that sees the first numbers of an observation only: a flow that is not shown the goal behind them."""

    field: VelocityField
    observation_shape: Shape = eqx.field(static=True)
    """Of the whole observation."""

    @property
    def action_size(self) -> int:
        return self.field.action_size

    def given(self, observation: Observation) -> Velocity:
        """The velocity as a function of the action and the time alone."""
        shape = self.field.observation_shape
        if isinstance(shape, PartShapes) or isinstance(observation, Parts):  # which have no goal behind them
            return self.field.given(observation)
        return self.field.given(observation[: shape[0]])


class ConditionalField(ObservingMLP):
    """v(observation, label, a, t) with a learned embedding of each label (CFGRL of arXiv 2606.11087: 2 labels)."""

    labels: Float[Array, "labels embedding"]
    embedding: TimeEmbedding = eqx.field(static=True)

    def __init__(
        self,
        observation_shape: Shape,
        action_size: int,
        hidden: Sequence[int],
        embedding: TimeEmbedding,
        *,
        labels: int = 2,
        label_size: int = 32,
        style: Style = PLAIN,
        encoder: Encoder | None = None,
        key: PRNGKeyArray,
    ):
        mlp_key, label_key = jax.random.split(key)
        beside = label_size + action_size + embedding.size
        super().__init__(
            observation_shape, action_size, hidden, beside=beside, outputs=action_size,
            style=style, encoder=encoder or encoder_of(observation_shape, key), key=mlp_key,
        )  # fmt: skip
        self.labels = jax.random.normal(label_key, (labels, label_size)) / jnp.sqrt(jnp.float32(label_size))
        self.embedding = embedding

    def given(self, observation: Observation) -> Callable[[int], Velocity]:
        """From a label, the velocity under it as a function of the action and the time alone."""
        features = self.encoder(observation)

        def under(label: int) -> Velocity:
            return lambda point, t: self.mlp(jnp.concatenate([features, self.labels[label], point, self.embedding(t)]))

        return under


class Extrapolation(eqx.Module):
    """v0 + weight (v1 - v0): from a field without its condition towards, and beyond, the one with it (CFGRL)."""

    field: ConditionalField
    weight: float | Scalar

    @property
    def observation_shape(self) -> Shape:
        return self.field.observation_shape

    @property
    def action_size(self) -> int:
        return self.field.action_size

    def given(self, observation: Observation) -> Velocity:
        """The velocity as a function of the action and the time alone."""
        given = self.field.given(observation)
        without, under = given(0), given(1)

        def velocity(point: Action, t: Time) -> Action:
            start = without(point, t)
            return start + self.weight * (under(point, t) - start)

        return velocity


class NoiseField(Observing):
    """eps(observation, a_t, t): a diffusion policy's network, with learned Fourier features of the time, and Mish.

    The network of the time has two layers; if `deep_time`, as many as the one behind it has hidden ones, which is the
    form of QGF's release (zhouzypaul/qgf, bc44a67).
    """

    frequencies: Float[Array, " frequencies"]
    condition: MLP
    mlp: MLP

    def __init__(
        self,
        observation_shape: Shape,
        action_size: int,
        hidden: Sequence[int],
        *,
        features: int = 64,
        deep_time: bool = False,
        encoder: Encoder | None = None,
        key: PRNGKeyArray,
    ):
        super().__init__(observation_shape, action_size, encoder=encoder, key=key)
        style = Style(activation=jax.nn.mish)
        frequency_key, condition_key, mlp_key = jax.random.split(key, 3)
        self.frequencies = 0.2 * jax.random.normal(frequency_key, (features // 2,))
        layers = hidden[:-1] if deep_time else hidden[:1]
        self.condition = MLP(features, layers, hidden[-1], style=style, key=condition_key)
        self.mlp = MLP(self.encoder.size + action_size + hidden[-1], hidden, action_size, style=style, key=mlp_key)

    def given(self, observation: Observation) -> Velocity:
        """The predicted noise (no velocity, though of its type) as a function of the action and the step, from 1 on."""
        features = self.encoder(observation)

        def noise(point: Action, t: Time) -> Action:
            angles = 2 * jnp.pi * t * self.frequencies
            waves = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)])
            return self.mlp(jnp.concatenate([features, point, self.condition(waves)]))

        return noise
