"""Multilayer perceptrons: what all other networks are made of.

This module does not know what goes in or comes out.
"""

import dataclasses
import enum
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

Initializer = Callable[[PRNGKeyArray, tuple[int, int], DTypeLike], Float[Array, "inputs outputs"]]


class Norm(enum.Enum):
    """Where LayerNorm stands in a hidden layer."""

    none = "nowhere"
    after = "after the activation, as in FQL and GFP"
    before = "before the activation, as in QGF"


def glorot(scale: float = 1.0) -> Initializer:
    """Uniform weights of variance 2 scale / (inputs + outputs)."""
    return jax.nn.initializers.variance_scaling(scale, "fan_avg", "uniform")


@dataclasses.dataclass(frozen=True)
class Style:
    """How an MLP is built, its sizes aside."""

    norm: Norm = Norm.none
    bare_last: bool = False
    """The last hidden layer goes without LayerNorm."""
    head: Initializer = glorot()  # noqa: RUF009
    """What the weights of the output layer are drawn from."""
    activation: Callable[[jax.Array], jax.Array] = jax.nn.gelu
    """Of the hidden layers; jax's GELU is the tanh form."""


PLAIN = Style()
"""Without LayerNorm: flows and one-step actors of FQL and GFP."""
NORMED = Style(Norm.after)
"""LayerNorm after each GELU: critics of FQL and GFP, and the critics and values of their baselines."""
NORM_FIRST = Style(Norm.before)
"""LayerNorm before each GELU: critics and values of QGF and of what it compares with."""
FLOW_NORM_FIRST = Style(Norm.before, bare_last=True, head=jax.nn.initializers.lecun_normal())
"""The flow of QGF: LayerNorm before each GELU but the last, and an output layer drawn from LeCun's normal."""


RELU = Style(activation=jax.nn.relu)
"""ReLU without LayerNorm: A2PO, LAPO and Gaussian actors."""
ELU = Style(activation=jax.nn.elu)
"""ELU without LayerNorm: the critic of MISA."""


class MLP(eqx.Module):
    """Linear layers with activations between them, LayerNorm where the style has it; a linear output."""

    layers: tuple["Linear", ...]
    norms: tuple["LayerNorm", ...]
    norm_first: bool = eqx.field(static=True)
    activation: Callable[[jax.Array], jax.Array] = eqx.field(static=True)

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int, *, style: Style = PLAIN, key: PRNGKeyArray):
        sizes = (inputs, *hidden, outputs)
        keys = jax.random.split(key, len(sizes) - 1)
        initializers = [*(glorot() for _ in hidden), style.head]
        self.layers = tuple(map(Linear, sizes[:-1], sizes[1:], initializers, keys))
        normed = () if style.norm is Norm.none else hidden[:-1] if style.bare_last else hidden
        self.norms = tuple(LayerNorm(size) for size in normed)
        self.norm_first = style.norm is Norm.before
        self.activation = style.activation

    def __call__(self, x: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
        for i, layer in enumerate(self.layers[:-1]):
            x = layer(x)
            if i >= len(self.norms):
                x = self.activation(x)
            elif self.norm_first:
                x = self.activation(self.norms[i](x))
            else:
                x = self.norms[i](self.activation(x))
        return self.layers[-1](x)


class Linear(eqx.Module):
    """x W + b, b zero at first. W is (inputs, outputs): a batch is multiplied from the left, as it lies in memory."""

    weight: Float[Array, "inputs outputs"]
    bias: Float[Array, " outputs"]

    def __init__(self, inputs: int, outputs: int, initializer: Initializer, key: PRNGKeyArray):
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
