"""Closed-form policy improvement: the best action within a budget of likelihood (CFPI, arXiv 2211.15956).

With a linear value of slope g around a Gaussian's mean, the best action whose log-density is at most delta below the
mode's is

    mean + sqrt(2 delta) C g / sqrt(g C g),   C the covariance

Budgets are in nats, so they do not depend on the scale of rewards. Of a mixture, two bounds of the density say how far
is allowed, and the better of their actions is taken:

    modes     every component moves alone, within delta + log w_i + log p_i(mean_i) - the largest such sum
    jensen    a Gaussian in whose precision and mean all components have their share

Of several budgets, the one whose action has the largest value is taken. This module does not know which policy gave
the density, nor which critic the value; a critic's lower confidence bound is the caller's aggregate.
"""

import enum
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from guidedflow.errors import InputError
from guidedflow.flows.densities import Mixture
from guidedflow.settings import Choice, check_settings, hyperparameters
from guidedflow.types import Action, Scalar, Value


def modes_and_jensen(modes: Bool[Array, " components"], jensen: Bool[Array, ""]) -> Bool[Array, " proposals"]:
    """Both bounds."""
    return jnp.append(modes, jensen)


def modes_alone(modes: Bool[Array, " components"], jensen: Bool[Array, ""]) -> Bool[Array, " proposals"]:
    """The mode-wise bound."""
    return jnp.append(modes, False)


def jensen_alone(modes: Bool[Array, " components"], jensen: Bool[Array, ""]) -> Bool[Array, " proposals"]:
    """Jensen's bound; the mode-wise one where its radius is negative."""
    return jnp.append(modes & ~jensen, jensen)


class Bound(Choice):
    """Which bounds of a mixture's density give proposals."""

    both = enum.member(modes_and_jensen)
    modes = enum.member(modes_alone)
    jensen = enum.member(jensen_alone)


@hyperparameters
class CFPI:
    """Closed-form policy improvement: one gradient of the value, and a step as long as the budget allows."""

    budgets: tuple[float, ...] = (0.5,)
    """Nats of log-density that may be given up; several are tried, and the value chooses."""
    bound: Bound = Bound.both
    """Of a mixture: which bounds give proposals."""
    threshold: float = 0.05
    """Of a mixture: components with a smaller weight do not move, nor are they taken."""
    total: bool = False
    """Of a mixture: measure a component's room from the sum of all log-densities at the means, not from the largest."""
    published: bool = False
    """Of a mixture: steps of the modes as the release computes them, with its norm over components and root of 2."""

    def __post_init__(self) -> None:
        check_settings(self, budgets=(0, math.inf), threshold=(0, 1))
        if not self.budgets:
            raise InputError("budget must be at least one number of nats, such as 0.5, but there is none.")

    def __call__(self, density: Mixture, value: Value) -> Action:
        """The improved action; every component may be excluded but the heaviest."""
        return self.improve(density, value, jnp.asarray(self.budgets))

    def improve(self, density: Mixture, value: Value, budgets: Float[Array, " budgets"]) -> Action:
        """As a call does, with budgets that may be traced."""
        points, allowed = jax.vmap(lambda budget: self.proposals(density, value, budget))(budgets)
        points, allowed = points.reshape(-1, points.shape[-1]), allowed.ravel()
        actions = jax.vmap(density.squash)(points)
        actions = actions if density.squashed else jnp.clip(actions, -1.0, 1.0)
        values = jax.vmap(lambda action: value(action, 1.0))(actions)
        return actions[jnp.argmax(jnp.where(allowed, values, -jnp.inf))]

    def proposals(
        self, density: Mixture, value: Value, budget: Scalar
    ) -> tuple[Float[Array, "proposals action"], Bool[Array, " proposals"]]:
        """Points before `squash`, one of each component and one of Jensen's bound, and whether each may be taken."""

        def slope(point: Action) -> Action:
            return jax.grad(lambda point: value(density.squash(point), 1.0))(point)

        weights, variances = jnp.exp(density.log_weights), jnp.square(density.deviations)
        slopes = jax.vmap(slope)(density.means)
        if len(weights) == 1:
            return density.means + step(2 * budget, variances[0], slopes[0])[None], jnp.ones(1, bool)
        peaks = density.log_weights - 0.5 * jnp.sum(jnp.log(2 * jnp.pi * variances), axis=1)
        reference = jnp.sum(peaks) if self.total else jnp.max(peaks)
        room = jnp.maximum(0.0, budget + peaks - reference)
        moved = density.means + jax.vmap(step)(2 * room, variances, slopes)
        if self.published:
            norms = jnp.sqrt(jnp.sum(jnp.square(slopes) * variances, axis=0, keepdims=True)) + 1e-7
            moved = density.means + jnp.sqrt(4 * room)[:, None] * variances * slopes / norms
        precisions = weights[:, None] / (variances + 1e-6)
        precision = jnp.sum(precisions, axis=0)
        centre = jnp.sum(precisions * density.means, axis=0) / precision
        spread = jnp.sum(precisions * jnp.square(density.means)) - jnp.sum(precision * jnp.square(centre))
        squared = 2 * budget - spread
        joint = centre + step(jnp.maximum(0.0, squared), 1 / precision, slope(centre))
        heavy = (weights >= self.threshold) | (weights == jnp.max(weights))
        return jnp.concatenate([moved, joint[None]]), self.bound(heavy, squared > -1e-10)


def step(squared_radius: Scalar, variances: Action, slope: Action) -> Action:
    """The step of this squared Mahalanobis length that gains most along a slope."""
    return jnp.sqrt(squared_radius) * variances * slope / (jnp.sqrt(jnp.sum(jnp.square(slope) * variances)) + 1e-7)


def around(action: Action, deviations: Action | None = None) -> Mixture:
    """A Gaussian around an action: of unit deviation before tanh, or of these deviations without tanh."""
    squashed = deviations is None
    spread = jnp.ones_like(action) if deviations is None else deviations
    density = Mixture(jnp.zeros(1), action[None], spread[None], squashed)
    return Mixture(jnp.zeros(1), density.unsquash(action)[None], spread[None], squashed)


IMPROVEMENTS: dict[str, type[CFPI]] = {"cfpi": CFPI}
"""Improvements by name."""
