"""Densities of one action in closed form: mixtures of Gaussians, seen through tanh where actions are bounded.

A Gaussian is a mixture of one. This module does not know which network gave the numbers.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.types import Action, Noise, Scalar

EDGE = 0.999999
"""Where actions are cut before tanh is undone."""


class Mixture(eqx.Module):
    """sum_k w_k N(mean_k, deviation_k^2), of an action, or, if `squashed`, of what tanh makes an action of."""

    log_weights: Float[Array, " components"]
    means: Float[Array, "components action"]
    deviations: Float[Array, "components action"]
    squashed: bool = eqx.field(static=True)

    def squash(self, point: Action) -> Action:
        """From where the Gaussians are to an action."""
        return jnp.tanh(point) if self.squashed else point

    def unsquash(self, action: Action) -> Action:
        """From an action to where the Gaussians are."""
        return jnp.arctanh(jnp.clip(action, -EDGE, EDGE)) if self.squashed else action

    def mode(self) -> Action:
        """The mean of the heaviest component."""
        return self.squash(self.means[jnp.argmax(self.log_weights)])

    def log_density(self, action: Action) -> Scalar:
        """The logarithm of the density of an action, tanh's derivative included."""
        return self.log_density_at(self.unsquash(action))

    def log_density_at(self, point: Action) -> Scalar:
        """The logarithm of the density of the action that `squash` makes of a point."""
        standard = (point[None] - self.means) / self.deviations
        each = -0.5 * jnp.square(standard) - jnp.log(self.deviations) - 0.5 * math.log(2 * math.pi)
        log_density = jax.nn.logsumexp(self.log_weights + jnp.sum(each, axis=1))
        if not self.squashed:
            return log_density
        # log(1 - tanh(x)^2), without cancellation
        return log_density - jnp.sum(2 * (math.log(2) - point - jax.nn.softplus(-2 * point)))

    def draw(self, noise: Noise, component: int | Array = 0) -> tuple[Action, Scalar]:
        """An action of one component, differentiable in its mean and deviation, and its log-density."""
        point = self.means[component] + self.deviations[component] * noise
        return self.squash(point), self.log_density_at(point)

    def sample(self, key: PRNGKeyArray) -> Action:
        """A random action."""
        component_key, noise_key = jax.random.split(key)
        component = jax.random.categorical(component_key, self.log_weights)
        return self.draw(jax.random.normal(noise_key, self.means.shape[1:]), component)[0]
