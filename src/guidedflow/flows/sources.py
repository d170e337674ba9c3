"""Source distributions: where the noise lies that a flow starts from, or that a decoder is given.

    gaussian             N(0, I)
    sphere               a Gaussian direction at radius sqrt(d)                      (LPS, arXiv 2603.05296)
    truncated_gaussian   N(0, I) within [-2, 2]
    box                  uniform in [-1, 1]
    ball                 uniform in the ball of radius sqrt(d)                       (ReFORM, arXiv 2602.05051)

Each is `(key, shape) -> noise`; the last axis of the shape is one vector of d numbers.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.settings import Choice

Source = Callable[[PRNGKeyArray, tuple[int, ...]], Float[Array, "*batch numbers"]]
"""(key, shape) -> noise of that shape."""


def gaussian(key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "*batch numbers"]:
    """Standard normal noise."""
    return jax.random.normal(key, shape)


def sphere(key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "*batch numbers"]:
    """Uniform noise on the sphere of radius sqrt(d)."""
    return on_sphere(jax.random.normal(key, shape))


def truncated_gaussian(key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "*batch numbers"]:
    """Standard normal noise, given that each number is between -2 and 2."""
    return jax.random.truncated_normal(key, -2.0, 2.0, shape)


def box(key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "*batch numbers"]:
    """Uniform noise in the box [-1, 1]."""
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)


def ball(key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "*batch numbers"]:
    """Uniform noise in the ball of radius sqrt(d)."""
    direction_key, radius_key = jax.random.split(key)
    radius = jax.random.uniform(radius_key, (*shape[:-1], 1)) ** (1 / shape[-1])
    return radius * on_sphere(jax.random.normal(direction_key, shape))


def on_sphere(vector: Float[Array, "*batch numbers"]) -> Float[Array, "*batch numbers"]:
    """Scale vectors to the radius sqrt(d), with 1e-6 under the root of the squared norm (as in jellyho/LPS c87dee0)."""
    norm = jnp.sqrt(jnp.sum(jnp.square(vector), axis=-1, keepdims=True) + 1e-6)
    return vector / norm * vector.shape[-1] ** 0.5


def as_it_is(vector: Float[Array, "*batch numbers"]) -> Float[Array, "*batch numbers"]:
    """The identity."""
    return vector


def twice_tanh(vector: Float[Array, "*batch numbers"]) -> Float[Array, "*batch numbers"]:
    """2 tanh: into [-2, 2]."""
    return 2 * jnp.tanh(vector)


class Support(NamedTuple):
    """A source of latents, and the map that brings a network's output to where they lie."""

    source: Source
    bound: Callable[[Float[Array, "*batch numbers"]], Float[Array, "*batch numbers"]]


class Latent(Choice):
    """Where latents lie (LPS, arXiv 2603.05296)."""

    sphere = Support(sphere, on_sphere)
    normal = Support(gaussian, as_it_is)
    truncated_normal = Support(truncated_gaussian, twice_tanh)
    uniform = Support(box, jnp.tanh)
