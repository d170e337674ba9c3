"""Source distributions: where the noise lies that a flow starts from, or that a decoder is given.

    gaussian             N(0, I)
    sphere               uniform on the sphere of radius sqrt(d)                     (LPS, arXiv 2603.05296)
    truncated_gaussian   N(0, I) within [-2, 2]
    box                  uniform in [-1, 1]
    ball                 uniform in the ball of radius sqrt(d)                       (ReFORM, arXiv 2602.05051)

Each is a map of standard normal numbers, so that one kind of noise serves every policy.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.settings import Choice

Map = Callable[[Float[Array, "*batch numbers"]], Float[Array, "*batch vector"]]


class Source(NamedTuple):
    """A map of standard normal numbers to a vector of d numbers: `source(normal)`."""

    of: Map
    extra: int = 0
    """How many numbers it takes beyond d."""

    def __call__(self, normal: Float[Array, "*batch numbers"]) -> Float[Array, "*batch vector"]:
        return self.of(normal)

    def draw(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "*batch vector"]:
        """Noise of this shape, whose last axis is one vector."""
        return self.of(jax.random.normal(key, (*shape[:-1], shape[-1] + self.extra)))


def as_it_is(vector: Float[Array, "*batch numbers"]) -> Float[Array, "*batch numbers"]:
    """The identity."""
    return vector


def on_sphere(vector: Float[Array, "*batch numbers"]) -> Float[Array, "*batch numbers"]:
    """Scale vectors to the radius sqrt(d), with 1e-6 under the root of the squared norm (as in jellyho/LPS c87dee0)."""
    length = jnp.sqrt(jnp.sum(jnp.square(vector), axis=-1, keepdims=True) + 1e-6)
    return vector / length * vector.shape[-1] ** 0.5


def truncated(normal: Float[Array, "*batch numbers"]) -> Float[Array, "*batch numbers"]:
    """Bring standard normal numbers into [-2, 2], as their law given that they are in it."""
    low, high = norm.cdf(-2.0), norm.cdf(2.0)
    return jnp.clip(norm.ppf(low + (high - low) * norm.cdf(normal)), -2.0, 2.0)


def uniform(normal: Float[Array, "*batch numbers"]) -> Float[Array, "*batch numbers"]:
    """Bring standard normal numbers to uniform ones in [-1, 1]."""
    return 2 * norm.cdf(normal) - 1


def in_ball(normal: Float[Array, "*batch numbers"]) -> Float[Array, "*batch vector"]:
    """The first d numbers of a uniform point on the sphere of d + 2 dimensions are uniform in the ball of d."""
    size = normal.shape[-1] - 2
    length = jnp.sqrt(jnp.sum(jnp.square(normal), axis=-1, keepdims=True))
    return size**0.5 * normal[..., :size] / length


def twice_tanh(vector: Float[Array, "*batch numbers"]) -> Float[Array, "*batch numbers"]:
    """2 tanh: into [-2, 2]."""
    return 2 * jnp.tanh(vector)


gaussian = Source(as_it_is)
sphere = Source(on_sphere)
truncated_gaussian = Source(truncated)
box = Source(uniform)
ball = Source(in_ball, extra=2)


class Support(NamedTuple):
    """A source of latents, and the map that brings a network's output to where they lie."""

    source: Source
    bound: Map


class Latent(Choice):
    """Where latents lie (LPS, arXiv 2603.05296)."""

    sphere = Support(sphere, on_sphere)
    normal = Support(gaussian, as_it_is)
    truncated_normal = Support(truncated_gaussian, twice_tanh)
    uniform = Support(box, jnp.tanh)
