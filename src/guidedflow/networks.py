"""Networks: Equinox modules whose leaves are all arrays, each a function of one observation.

Sizes, initialisers and the place of LayerNorm are those of FQL (arXiv 2502.02538) and GFP (arXiv 2512.03973). The order
of work is observation first: `network.given(observation)` is a function of what remains. This module does not know how
its networks are trained.
"""

import enum
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.settings import Choice
from guidedflow.types import Action, Noise, Observation, Time, Velocity


class MLP(eqx.Module):
    """Linear layers with tanh-form GELU between them, and LayerNorm after each GELU where asked; a linear output."""

    layers: tuple["Linear", ...]
    norms: tuple["LayerNorm", ...]

    def __init__(
        self, inputs: int, hidden: Sequence[int], outputs: int, *, layer_norm: bool = False, key: PRNGKeyArray
    ):
        sizes = (inputs, *hidden, outputs)
        keys = jax.random.split(key, len(sizes) - 1)
        self.layers = tuple(map(Linear, sizes[:-1], sizes[1:], keys))
        self.norms = tuple(LayerNorm(size) for size in hidden) if layer_norm else ()

    def __call__(self, x: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
        for i, layer in enumerate(self.layers[:-1]):
            x = jax.nn.gelu(layer(x))
            if self.norms:
                x = self.norms[i](x)
        return self.layers[-1](x)


class Linear(eqx.Module):
    """x W + b. W is (inputs, outputs): a batch is multiplied from the left, as it lies in memory.

    Weights begin uniform with variance 2 / (inputs + outputs) and zero bias, output layers included.
    """

    weight: Float[Array, "inputs outputs"]
    bias: Float[Array, " outputs"]

    def __init__(self, inputs: int, outputs: int, key: PRNGKeyArray):
        initializer = jax.nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")
        self.weight = initializer(key, (inputs, outputs), jnp.float32)
        self.bias = jnp.zeros(outputs)

    def __call__(self, x: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
        return x @ self.weight + self.bias


class LayerNorm(eqx.Module):
    """(x - mean) / sqrt(variance + 1e-6) * weight + bias, the moments over the layer's units.

    Equinox's own computes the same. In these few operations the compiler sees that a value and its gradient share the
    forward pass, which saves one in seventeen of GFP's matrix products.
    """

    weight: Float[Array, " units"]
    bias: Float[Array, " units"]

    def __init__(self, size: int):
        self.weight = jnp.ones(size)
        self.bias = jnp.zeros(size)

    def __call__(self, x: Float[Array, " units"]) -> Float[Array, " units"]:
        centred = x - jnp.mean(x)
        return centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred)) + 1e-6) * self.weight + self.bias


@runtime_checkable
class TimeEmbedding(Protocol):
    """How a network sees the time: `size` numbers; it must be hashable, because it is structure and not learned."""

    @property
    def size(self) -> int:
        """How many numbers `__call__` returns."""
        ...

    def __call__(self, t: Time) -> Float[Array, " size"]: ...


class RawTime(eqx.Module):
    """The time itself, as one number (FQL)."""

    size: int = eqx.field(static=True, default=1)

    def __call__(self, t: Time) -> Float[Array, " 1"]:
        return jnp.asarray(t, jnp.float32)[None]


class SinusoidalTime(eqx.Module):
    """sin(t f_k) and cos(t f_k) with frequencies f_k from 1 down to 1e-4, geometrically (GFP: 64 numbers)."""

    size: int = eqx.field(static=True, default=64)

    def __call__(self, t: Time) -> Float[Array, " size"]:
        half = self.size // 2
        angles = t * jnp.exp(jnp.arange(half, dtype=jnp.float32) * (-jnp.log(1e4) / (half - 1)))
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)])


class VelocityField(eqx.Module):
    """v(observation, a, t): a flow policy's network."""

    mlp: MLP
    embedding: TimeEmbedding = eqx.field(static=True)
    observation_shape: tuple[int, ...] = eqx.field(static=True)
    action_size: int = eqx.field(static=True)

    def __init__(
        self,
        observation_shape: tuple[int, ...],
        action_size: int,
        hidden: Sequence[int],
        embedding: TimeEmbedding,
        *,
        key: PRNGKeyArray,
    ):
        (observation_size,) = observation_shape
        self.mlp = MLP(observation_size + action_size + embedding.size, hidden, action_size, key=key)
        self.embedding = embedding
        self.observation_shape = observation_shape
        self.action_size = action_size

    def given(self, observation: Observation) -> Velocity:
        """The velocity as a function of the action and the time alone."""

        def velocity(point: Action, t: Time) -> Action:
            return self.mlp(jnp.concatenate([observation, point, self.embedding(t)]))

        return velocity


class OneStepActor(eqx.Module):
    """mu(observation, z): from noise to an action in one evaluation; unbounded: callers decide where to clip."""

    mlp: MLP
    observation_shape: tuple[int, ...] = eqx.field(static=True)
    action_size: int = eqx.field(static=True)

    def __init__(
        self, observation_shape: tuple[int, ...], action_size: int, hidden: Sequence[int], *, key: PRNGKeyArray
    ):
        (observation_size,) = observation_shape
        self.mlp = MLP(observation_size + action_size, hidden, action_size, key=key)
        self.observation_shape = observation_shape
        self.action_size = action_size

    def given(self, observation: Observation) -> Callable[[Noise], Action]:
        """The action as a function of the noise alone."""
        return lambda noise: self.mlp(jnp.concatenate([observation, noise]))


class Critic(eqx.Module):
    """q(observation, action): an ensemble of independently initialised MLPs with LayerNorm.

    The members stand side by side, not stacked: on a CPU that takes a third off the time of a critic's step.
    """

    members: tuple[MLP, ...]

    def __init__(
        self,
        observation_shape: tuple[int, ...],
        action_size: int,
        hidden: Sequence[int],
        *,
        size: int = 2,
        key: PRNGKeyArray,
    ):
        (observation_size,) = observation_shape
        inputs = observation_size + action_size
        self.members = tuple(MLP(inputs, hidden, 1, layer_norm=True, key=key) for key in jax.random.split(key, size))

    def given(self, observation: Observation) -> Callable[[Action], Float[Array, " members"]]:
        """Each member's value as a function of the action alone."""

        def values(action: Action) -> Float[Array, " members"]:
            x = jnp.concatenate([observation, action])
            return jnp.concatenate([member(x) for member in self.members])

        return values


class Aggregate(Choice):
    """How the values of a critic's members become one."""

    mean = enum.member(jnp.mean)
    min = enum.member(jnp.min)
