"""Critics of a return's distribution: implicit quantile networks (arXiv 1806.06923), as in CFPI (arXiv 2211.15956).

    h        = relu LN Linear (twice) of observation and action
    e(tau)   = sigmoid LN Linear of cos(pi k tau), k = 1 .. size
    Z(tau)   = Linear relu LN Linear (h e(tau))
    Q        = mean of Z over 32 midpoints of (0, 1)

This module does not know from what they learn.
"""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.networks.critics import Values
from guidedflow.networks.encoders import Encoder
from guidedflow.networks.mlp import LayerNorm, Linear, glorot
from guidedflow.networks.observing import Observing
from guidedflow.packing import Shape
from guidedflow.types import Action, Observation, Scalar, Time

MIDPOINTS = 32
"""Levels whose mean is the value of an action."""

EPSILON = 1e-5
"""Added to a variance in LayerNorm, as in the release."""


class Normed(eqx.Module):
    """A linear layer with LayerNorm behind it."""

    linear: Linear
    norm: LayerNorm

    def __init__(self, inputs: int, outputs: int, key: PRNGKeyArray):
        self.linear = Linear(inputs, outputs, glorot(), key)
        self.norm = LayerNorm(outputs, EPSILON)

    def __call__(self, x: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
        return self.norm(self.linear(x))


class Quantiles(eqx.Module):
    """Z(observation, action, tau): the quantile of a return at a level."""

    base: tuple[Normed, ...]
    level: Normed
    merge: Normed
    head: Linear
    waves: int = eqx.field(static=True)

    def __init__(self, inputs: int, hidden: Sequence[int], waves: int, key: PRNGKeyArray):
        *keys, level, merge, head = jax.random.split(key, len(hidden) + 2)
        sizes = (inputs, *hidden[:-1])
        self.base = tuple(map(Normed, sizes[:-1], sizes[1:], keys))
        self.level = Normed(waves, sizes[-1], level)
        self.merge = Normed(sizes[-1], hidden[-1], merge)
        self.head = Linear(hidden[-1], 1, glorot(), head)
        self.waves = waves

    def __call__(self, x: Float[Array, " inputs"], levels: Float[Array, " levels"]) -> Float[Array, " levels"]:
        for layer in self.base:
            x = jax.nn.relu(layer(x))

        def quantile(level: Scalar) -> Scalar:
            waves = jnp.cos(jnp.pi * jnp.arange(1, self.waves + 1, dtype=jnp.float32) * level)
            return self.head(jax.nn.relu(self.merge(x * jax.nn.sigmoid(self.level(waves)))))[0]

        return jax.vmap(quantile)(levels)


class QuantileCritic(Observing):
    """An ensemble of quantile networks, whose value of an action is the mean of its quantiles."""

    members: tuple[Quantiles, ...]

    def __init__(
        self,
        observation_shape: Shape,
        action_size: int,
        hidden: Sequence[int],
        *,
        waves: int = 64,
        size: int = 2,
        encoder: Encoder | None = None,
        key: PRNGKeyArray,
    ):
        super().__init__(observation_shape, action_size, encoder=encoder, key=key)
        inputs = self.encoder.size + action_size
        self.members = tuple(Quantiles(inputs, hidden, waves, each) for each in jax.random.split(key, size))

    def quantiles(
        self, observation: Observation, action: Action, levels: Float[Array, " levels"]
    ) -> Float[Array, "members levels"]:
        """Each member's quantiles of the return at these levels, between 0 and 1."""
        x = jnp.concatenate([self.encoder(observation), action])
        return jnp.stack([member(x, levels) for member in self.members])

    def given(self, observation: Observation) -> Values:
        """Each member's value as a function of the action alone; the time is ignored."""
        features, levels = self.encoder(observation), (jnp.arange(MIDPOINTS, dtype=jnp.float32) + 0.5) / MIDPOINTS

        def values(action: Action, t: Time = 1.0) -> Float[Array, " members"]:
            x = jnp.concatenate([features, action])
            return jnp.stack([jnp.mean(member(x, levels)) for member in self.members])

        return values
