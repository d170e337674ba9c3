"""Gaussian actors: from an observation to the numbers of a Gaussian, or of a mixture of several.

This module does not know what these numbers are used for, nor whether actions go through tanh.
"""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.networks.encoders import Encoder
from guidedflow.networks.mlp import MLP, RELU, Linear, Style, glorot
from guidedflow.networks.observing import Observing
from guidedflow.packing import Shape
from guidedflow.types import Observation, Scalar


class Heads(NamedTuple):
    """What a Gaussian actor says about one observation."""

    log_weights: Float[Array, " components"]
    means: Float[Array, "components action"]
    log_deviations: Float[Array, "components action"]


class Deviation(eqx.Module):
    """log deviation = scale * raw + offset, both learned (MISA, arXiv 2210.07484)."""

    scale: Scalar
    offset: Scalar

    def __init__(self) -> None:
        self.scale, self.offset = jnp.ones(()), -jnp.ones(())


class GaussianActor(Observing):
    """Means within [-9, 9], logarithms of deviations within a range, and, of several components, weights.

    The weights' head sees the trunk as a constant, as in CFPI (arXiv 2211.15956). With `unit` every deviation is 1.
    """

    trunk: MLP
    head: Linear
    weights: Linear | None
    deviation: Deviation | None
    components: int = eqx.field(static=True)
    unit: bool = eqx.field(static=True)
    smallest: float = eqx.field(static=True)
    """Of a deviation's logarithm."""

    def __init__(
        self,
        observation_shape: Shape,
        action_size: int,
        hidden: Sequence[int],
        *,
        components: int = 1,
        unit: bool = False,
        smallest: float = -5.0,
        deviation: Deviation | None = None,
        style: Style = RELU,
        encoder: Encoder | None = None,
        key: PRNGKeyArray,
    ):
        super().__init__(observation_shape, action_size, encoder=encoder, key=key)
        trunk_key, head_key, weights_key = jax.random.split(key, 3)
        self.trunk = MLP(self.encoder.size, hidden[:-1], hidden[-1], style=style, key=trunk_key)
        outputs = components * action_size * (1 if unit else 2)
        self.head = Linear(hidden[-1], outputs, glorot(), head_key)
        self.weights = Linear(hidden[-1], components, glorot(), weights_key) if components > 1 else None
        self.deviation = deviation
        self.components = components
        self.unit = unit
        self.smallest = smallest

    def __call__(self, observation: Observation) -> Heads:
        trunk = self.trunk.activation(self.trunk(self.encoder(observation)))
        log_weights = jnp.zeros(1)
        if self.weights is not None:
            log_weights = jax.nn.log_softmax(self.weights(jax.lax.stop_gradient(trunk)))
        outputs = self.head(trunk).reshape(-1, self.components, self.action_size)
        means = jnp.clip(outputs[0], -9.0, 9.0)
        if self.unit:
            return Heads(log_weights, means, jnp.zeros_like(means))
        raw = outputs[1] if self.deviation is None else self.deviation.scale * outputs[1] + self.deviation.offset
        return Heads(log_weights, means, jnp.clip(raw, self.smallest, 2.0))
