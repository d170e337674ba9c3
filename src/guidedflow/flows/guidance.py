"""Guidance: what turns a velocity field and a value into a velocity field that climbs the value.

    a' = v(a, t) + weight * (gradient of the value that a is thought to lead to)

The four estimators of that gradient are those of Q-Guided Flow (QGF, arXiv 2606.11087), section 3. They differ in where
the value is asked, and in what is differentiated:

    NoisyGradient      at a itself, where a critic of clean actions was never trained   (QFQL, Eq. 5)
    RolloutGradient    at the end of the remaining flow, through all its steps          (BPTT, Eq. 6)
    JacobianGradient   at one jump to t = 1, through the jump                           (Eq. 8)
    DenoisedGradient   at one jump to t = 1, the jump taken as the identity             (QGF, Eq. 9)

The weight carries the units of action per value: it has to follow the scale of the rewards. With `normalize` only the
direction of the gradient counts, at one unit of action a dimension, so the weight is the same at every scale.
This module does not know which network gave the velocity or the value, nor how a flow is integrated.
"""

import math
from dataclasses import fields
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from guidedflow.flows.path import clip, integrate_from, landing
from guidedflow.settings import check_settings, hyperparameters
from guidedflow.types import Action, Scalar, Time, Value, Velocity


@runtime_checkable
class Guidance(Protocol):
    """A transform of velocity fields."""

    def __call__(self, velocity: Velocity, value: Value) -> Velocity:
        """The guided field; it must be called with one action and one time."""
        ...


@hyperparameters
class Unguided:
    """The velocity as it is."""

    def __call__(self, velocity: Velocity, value: Value) -> Velocity:
        return velocity


def scaled(gradient: Action, weight: float | Scalar, normalize: bool) -> Action:
    """weight * gradient, the gradient brought to a root mean square of 1 over dimensions where asked."""
    if normalize:
        gradient = gradient * jax.lax.rsqrt(jnp.mean(jnp.square(gradient)) + 1e-20)
    return weight * gradient


@hyperparameters
class NoisyGradient:
    """v + weight * grad q(a, t): the value is asked at the noisy action."""

    weight: float = 0.1
    """Weight of the gradient, in action per value; in action where it is normalised."""
    normalize: bool = False
    """Follow the direction of the gradient alone, whatever its length."""

    def __call__(self, velocity: Velocity, value: Value) -> Velocity:
        def guided(point: Action, t: Time) -> Action:
            return velocity(point, t) + scaled(jax.grad(value)(point, t), self.weight, self.normalize)

        return guided


@hyperparameters
class DenoisedGradient:
    """v + weight * grad q(a1, 1) at a1 = clip(a + (1 - t) v): QGF, one gradient of the value and none of the flow."""

    weight: float = 0.1
    """Weight of the gradient, in action per value; in action where it is normalised."""
    normalize: bool = False
    """Follow the direction of the gradient alone, whatever its length."""

    def __call__(self, velocity: Velocity, value: Value) -> Velocity:
        def guided(point: Action, t: Time) -> Action:
            speed = velocity(point, t)
            return speed + scaled(jax.grad(value)(landing(point, speed, t), 1.0), self.weight, self.normalize)

        return guided


@hyperparameters
class JacobianGradient:
    """As `DenoisedGradient`, pulled back through the clipped jump by one vector-Jacobian product."""

    weight: float = 0.1
    """Weight of the gradient, in action per value; in action where it is normalised."""
    normalize: bool = False
    """Follow the direction of the gradient alone, whatever its length."""

    def __call__(self, velocity: Velocity, value: Value) -> Velocity:
        def guided(point: Action, t: Time) -> Action:
            def landing_and_speed(point: Action) -> tuple[Action, Action]:
                speed = velocity(point, t)
                return landing(point, speed, t), speed

            clean, pull_back, speed = jax.vjp(landing_and_speed, point, has_aux=True)
            (gradient,) = pull_back(jax.grad(value)(clean, 1.0))
            return speed + scaled(gradient, self.weight, self.normalize)

        return guided


@hyperparameters
class RolloutGradient:
    """v + weight * grad of q(clip(the flow's own end from a), 1): backpropagation through all remaining Euler steps."""

    weight: float = 0.1
    """Weight of the gradient, in action per value; in action where it is normalised."""
    normalize: bool = False
    """Follow the direction of the gradient alone, whatever its length."""
    steps: int = 10
    """Euler steps of the whole flow; those that lie ahead of t are differentiated."""

    def __post_init__(self) -> None:
        check_settings(self, steps=(1, math.inf))

    def __call__(self, velocity: Velocity, value: Value) -> Velocity:
        def guided(point: Action, t: Time) -> Action:
            def outcome(point: Action) -> jax.Array:
                return value(clip(integrate_from(velocity, point, t, self.steps)), 1.0)

            return velocity(point, t) + scaled(jax.grad(outcome)(point), self.weight, self.normalize)

        return guided


GUIDANCE: dict[str, type[Any]] = {
    "none": Unguided,
    "noisy": NoisyGradient,
    "denoised": DenoisedGradient,
    "jacobian": JacobianGradient,
    "rollout": RolloutGradient,
}
"""Kinds of guidance by name."""


def guidance_of(name: str, weight: float = 0.1, normalize: bool = False, steps: int = 10) -> Guidance:
    """The guidance of that name, with those of the given settings that it has; `steps` are Euler steps of the flow."""
    kind, given = GUIDANCE[name], {"weight": weight, "normalize": normalize, "steps": steps}
    guidance: Guidance = kind(**{field.name: given[field.name] for field in fields(kind)})
    return guidance


def name_of(guidance: Guidance) -> str:
    """The name of a guidance in the table; of one that is not there, that of its function or class."""
    for name, kind in GUIDANCE.items():
        if type(guidance) is kind:
            return name
    return getattr(guidance, "__qualname__", type(guidance).__qualname__)
