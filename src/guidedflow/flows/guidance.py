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
`Scheduled` lets the weight follow the flow. Further estimators are in `guidedflow.flows.jacobians`.
This module does not know which network gave the velocity or the value, nor how a flow is integrated.
"""

import math
from dataclasses import fields
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp

from guidedflow.errors import InputError
from guidedflow.flows.jacobians import (
    ChainGradient,
    DistilledGradient,
    DistilledJacobianGradient,
    OrthogonalisedGradient,
    RegularisedGradient,
    SmoothedGradient,
    through,
)
from guidedflow.flows.path import clip, integrate_from, landing
from guidedflow.flows.schedules import WeightSchedule, scaled
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

    asks = False

    def __call__(self, velocity: Velocity, value: Value) -> Velocity:
        return velocity


@hyperparameters
class NoisyGradient:
    """v + weight * grad q(a, t): the value is asked at the noisy action."""

    weight: float | Scalar = 0.1
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

    weight: float | Scalar = 0.1
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

    weight: float | Scalar = 0.1
    """Weight of the gradient, in action per value; in action where it is normalised."""
    normalize: bool = False
    """Follow the direction of the gradient alone, whatever its length."""

    def __call__(self, velocity: Velocity, value: Value) -> Velocity:
        def guided(point: Action, t: Time) -> Action:
            speed, _, pulled_back = through(velocity, value, point, t)
            return speed + scaled(pulled_back, self.weight, self.normalize)

        return guided


@hyperparameters
class RolloutGradient:
    """v + weight * grad of q(clip(the flow's own end from a), 1): backpropagation through all remaining Euler steps."""

    weight: float | Scalar = 0.1
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


@hyperparameters
class Scheduled:
    """A guidance whose weight follows the flow: by its time, by the length of its velocity, or by both.

    Raises `InputError` for a guidance without a weight.
    """

    guidance: Guidance
    """Guidance with a weight."""
    schedule: WeightSchedule = WeightSchedule.constant
    """Factor of the weight at time t."""
    match: bool = False
    """Multiply the weight by the root mean square of the velocity. Of a normalised gradient g this is
    w |v| / |g| g, the drift-matched weight of QPILOTS (arXiv 2606.14801), which needs no unit."""

    def __post_init__(self) -> None:
        check_settings(self)
        if not hasattr(self.guidance, "weight"):
            raise InputError(f"{name_of(self.guidance)} guidance has no weight to follow a schedule.")

    def __call__(self, velocity: Velocity, value: Value) -> Velocity:
        def guided(point: Action, t: Time) -> Action:
            weight = getattr(self.guidance, "weight") * self.schedule(t)  # noqa: B009
            if self.match:
                weight = weight * jnp.sqrt(jnp.mean(jnp.square(velocity(point, t))))
            weighted = eqx.tree_at(lambda guidance: guidance.weight, self.guidance, weight)
            return weighted(velocity, value)(point, t)

        return guided


GUIDANCE: dict[str, type[Any]] = {
    "none": Unguided,
    "noisy": NoisyGradient,
    "denoised": DenoisedGradient,
    "jacobian": JacobianGradient,
    "rollout": RolloutGradient,
    "chain": ChainGradient,
    "distilled": DistilledGradient,
    "distilled_jacobian": DistilledJacobianGradient,
    "smoothed": SmoothedGradient,
    "orthogonalised": OrthogonalisedGradient,
    "regularised": RegularisedGradient,
}
"""Kinds of guidance by name."""

GRADIENTS = tuple(kind for kind in GUIDANCE.values() if kind is not Unguided)
"""Kinds of guidance that have a weight."""


def guidance_of(
    name: str,
    weight: float = 0.1,
    normalize: bool = False,
    steps: int = 10,
    schedule: WeightSchedule = WeightSchedule.constant,
    match: bool = False,
) -> Guidance:
    """The guidance of that name, with those of the given settings that it has; `steps` are Euler steps of the flow.

    With `match` the gradient is normalised, and its weight follows the length of the velocity.
    """
    kind, given = GUIDANCE[name], {"weight": weight, "normalize": normalize or match, "steps": steps}
    guidance: Guidance = kind(**{field.name: given[field.name] for field in fields(kind) if field.name in given})
    if match or schedule is not WeightSchedule.constant:
        return Scheduled(guidance, schedule, match)
    return guidance


def layers(guidance: Any) -> list[Any]:
    """A guidance, and those inside it from the outside in; the last one has none inside."""
    inner = getattr(guidance, "guidance", None)
    return [guidance] if inner is None else [guidance, *layers(inner)]


def name_of(guidance: Guidance) -> str:
    """The name of a guidance, or of the one inside it, in the table; else that of its function or class."""
    inner = layers(guidance)[-1]
    for name, kind in GUIDANCE.items():
        if type(inner) is kind:
            return name
    return getattr(inner, "__qualname__", type(inner).__qualname__)
