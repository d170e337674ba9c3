"""Encoders: from an observation to the numbers that a network works on.

Images go through the small IMPALA network (arXiv 1802.01561) of FQL (arXiv 2502.02538) and GFP (arXiv 2512.03973):
bytes over 255, three residual stacks of 16, 32 and 32 channels with one block each, ReLU, and one layer of 512 GELU
units. States stay as they are. Of an observation of several parts each has its own encoder.
This module does not know which network an encoder is part of.
"""

import abc
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Shaped, UInt8

from guidedflow.networks.mlp import Linear, glorot
from guidedflow.packing import PartShapes, Shape
from guidedflow.parts import Parts
from guidedflow.types import Observation

_KEY = 0x1A4A9E  # far from the small numbers that `jax.random.split` folds into the same key


class Encoder(eqx.Module):
    """The contract: features of one observation, `size` of them."""

    size: eqx.AbstractVar[int]

    @abc.abstractmethod
    def __call__(self, observation: Observation) -> Shaped[Array, " features"]: ...


class Unencoded(Encoder):
    """States as they are."""

    size: int = eqx.field(static=True)

    def __call__(self, observation: Observation) -> Shaped[Array, " features"]:
        assert not isinstance(observation, Parts)
        return jnp.asarray(observation)


class Impala(Encoder):
    """uint8 image -> residual stacks, each of half the height and width -> features."""

    stacks: tuple["Stack", ...]
    head: Linear
    size: int = eqx.field(static=True)

    def __init__(
        self,
        image_shape: tuple[int, ...],
        *,
        channels: Sequence[int] = (16, 32, 32),
        blocks: int = 1,
        size: int = 512,
        key: PRNGKeyArray,
    ):
        height, width, inputs = image_shape
        head_key, *keys = jax.random.split(key, len(channels) + 1)
        self.stacks = tuple(map(Stack, (inputs, *channels[:-1]), channels, [blocks] * len(channels), keys))
        for _ in channels:
            height, width = -(-height // 2), -(-width // 2)
        self.head = Linear(height * width * channels[-1], size, glorot(), head_key)
        self.size = size

    def __call__(self, observation: Observation) -> Shaped[Array, " features"]:
        assert not isinstance(observation, Parts)
        return self._features(jnp.asarray(observation))

    def _features(self, image: UInt8[Array, "height width channels"]) -> Shaped[Array, " features"]:
        x = image.astype(jnp.float32) / 255
        for stack in self.stacks:
            x = stack(x)
        return jax.nn.gelu(self.head(jax.nn.relu(x).ravel()))


class Joined(Encoder):
    """The features of each part of an observation, one after the other, in the order of the parts' names."""

    parts: tuple[Encoder, ...]
    names: tuple[str, ...] = eqx.field(static=True)
    size: int = eqx.field(static=True)

    def __init__(self, shapes: PartShapes, *, key: PRNGKeyArray):
        self.names = shapes.names
        self.parts = tuple(encoder_of(shape, jax.random.fold_in(key, i)) for i, shape in enumerate(shapes.shapes))
        self.size = sum(part.size for part in self.parts)

    def __call__(self, observation: Observation) -> Shaped[Array, " features"]:
        assert isinstance(observation, Parts)
        return jnp.concatenate([part(observation[name]) for name, part in zip(self.names, self.parts, strict=True)])


class Stack(eqx.Module):
    """A convolution, the largest of each 3 x 3 at every second place, and residual blocks of two convolutions."""

    entrance: "Convolution"
    blocks: tuple[tuple["Convolution", "Convolution"], ...]

    def __init__(self, inputs: int, channels: int, blocks: int, key: PRNGKeyArray):
        entrance_key, *keys = jax.random.split(key, 1 + 2 * blocks)
        self.entrance = Convolution(inputs, channels, entrance_key)
        pairs = zip(keys[::2], keys[1::2], strict=True)
        self.blocks = tuple((Convolution(channels, channels, a), Convolution(channels, channels, b)) for a, b in pairs)

    def __call__(self, x: Float[Array, "height width inputs"]) -> Float[Array, "half_height half_width channels"]:
        x = jax.lax.reduce_window(self.entrance(x), -jnp.inf, jax.lax.max, (3, 3, 1), (2, 2, 1), "SAME")
        for first, second in self.blocks:
            x = x + second(jax.nn.relu(first(jax.nn.relu(x))))
        return x


class Convolution(eqx.Module):
    """3 x 3, at every place, with zeros beyond the edge. The weight is Glorot's, the bias zero at first, as in flax."""

    weight: Float[Array, "3 3 inputs outputs"]
    bias: Float[Array, " outputs"]

    def __init__(self, inputs: int, outputs: int, key: PRNGKeyArray):
        self.weight = jax.nn.initializers.glorot_uniform()(key, (3, 3, inputs, outputs), jnp.float32)
        self.bias = jnp.zeros(outputs)

    def __call__(self, x: Float[Array, "height width inputs"]) -> Float[Array, "height width outputs"]:
        # Within a loop, such as an interval of updates, a CPU takes ten times as long for the gradient of a convolution
        # as outside (jax-ml/jax issue 12868), but not for that of a product.
        convolve = as_product if jax.default_backend() == "cpu" else as_convolution
        return convolve(x, self.weight) + self.bias[None, None, :]


def as_convolution(
    x: Float[Array, "height width inputs"], weight: Float[Array, "3 3 inputs outputs"]
) -> Float[Array, "height width outputs"]:
    """What the device's library makes of it."""
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x[None], weight, (1, 1), "SAME", dimension_numbers=layout)[0]


def as_product(
    x: Float[Array, "height width inputs"], weight: Float[Array, "3 3 inputs outputs"]
) -> Float[Array, "height width outputs"]:
    """The same as one product of matrices, with a row for each place and its eight neighbours."""
    height, width, _ = x.shape
    padded = jnp.pad(x, ((1, 1), (1, 1), (0, 0)))
    shifted = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return jnp.concatenate(shifted, axis=-1) @ weight.reshape(-1, weight.shape[-1])


def encoder_of(observation_shape: Shape, key: PRNGKeyArray) -> Encoder:
    """The encoder that observations of this shape ask for; `key` may serve the rest of the network too."""
    if isinstance(observation_shape, PartShapes):
        return Joined(observation_shape, key=jax.random.fold_in(key, _KEY))
    if len(observation_shape) == 3:
        return Impala(observation_shape, key=jax.random.fold_in(key, _KEY))
    (size,) = observation_shape
    return Unencoded(size)
