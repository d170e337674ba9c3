"""Variants of the QGF gradient: other landings, and other Jacobians of the landing (arXiv 2606.11087, Fig. 15).

    v' = v + weight * J' grad q(a1)     a1: the clean action that the noisy action a is heading for; J': transpose of J

    ChainGradient              a1 at the end of the remaining flow          J = I
    DistilledGradient          a1 by a learned one-step map                 J = I
    DistilledJacobianGradient  a1 by a learned one-step map                 J of that map
    SmoothedGradient           a1 by one jump                               J averaged over perturbations of a
    OrthogonalisedGradient     a1 by one jump                               the orthogonal matrix nearest to J
    RegularisedGradient        a1 by one jump                               (1 - pull) J + pull I

The paper names these variants without formulas or constants, so the formulas here are our own reading.
This module does not know which network gave the velocity, the value or the one-step map.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from guidedflow.errors import InputError
from guidedflow.flows.path import clip, integrate_from, landing
from guidedflow.flows.schedules import scaled
from guidedflow.settings import check_settings, hyperparameters
from guidedflow.types import Action, Noise, Scalar, Time, Value, Velocity

Jump = Callable[[Noise], Action]
"""A learned one-step map from noise to the end of the flow, at a fixed observation; FQL's actor is one."""


class Jumping:
    """A velocity field that carries a learned one-step map from noise to the end of its flow."""

    def __init__(self, velocity: Velocity, jump: Jump) -> None:
        self.velocity, self.jump = velocity, jump

    def __call__(self, point: Action, t: Time) -> Action:
        return self.velocity(point, t)


def distilled_landing(velocity: Velocity, point: Action, speed: Action, t: Time) -> Action:
    """The clipped one-step map at the noise a - t v, where the straight path through the point began.

    Raises `InputError` for a velocity field without a one-step map.
    """
    if not isinstance(velocity, Jumping):
        raise no_jump()
    return clip(velocity.jump(point - t * speed))


def no_jump() -> InputError:
    """The sentence about a distilled gradient of a flow that has no one-step map."""
    return InputError(
        "Distilled guidance needs a learned one-step map beside the flow, and this policy has none; take the policy "
        "flow of a run of fql or gfp, or another guidance, such as denoised."
    )


def one_jump(velocity: Velocity, point: Action, speed: Action, t: Time) -> Action:
    """Where one clipped jump to t = 1 lands."""
    return landing(point, speed, t)


def through(
    velocity: Velocity, value: Value, point: Action, t: Time, land: Callable[..., Action] = one_jump
) -> tuple[Action, Action, Action]:
    """The velocity at a point, the value's gradient where it lands, and that gradient pulled back to the point."""

    def end_and_speed(point: Action) -> tuple[Action, Action]:
        speed = velocity(point, t)
        return land(velocity, point, speed, t), speed

    end, pull_back, speed = jax.vjp(end_and_speed, point, has_aux=True)
    gradient = jax.grad(value)(end, 1.0)
    return speed, gradient, pull_back(gradient)[0]


@hyperparameters
class ChainGradient:
    """v + weight * grad q(a1, 1) at a1 = clip(the flow's own end from a): the whole rollout, its Jacobian dropped."""

    weight: float | Scalar = 0.1
    """Weight of the gradient, in action per value; in action where it is normalised."""
    normalize: bool = False
    """Follow the direction of the gradient alone, whatever its length."""
    steps: int = 10
    """Euler steps of the whole flow; those that lie ahead of t are taken."""

    def __post_init__(self) -> None:
        check_settings(self, steps=(1, math.inf))

    def __call__(self, velocity: Velocity, value: Value) -> Velocity:
        def guided(point: Action, t: Time) -> Action:
            end = clip(integrate_from(velocity, point, t, self.steps))
            return velocity(point, t) + scaled(jax.grad(value)(end, 1.0), self.weight, self.normalize)

        return guided


@hyperparameters
class DistilledGradient:
    """v + weight * grad q(a1, 1) at a1 = clip(jump(a - t v)), the jump taken as the identity."""

    weight: float | Scalar = 0.1
    """Weight of the gradient, in action per value; in action where it is normalised."""
    normalize: bool = False
    """Follow the direction of the gradient alone, whatever its length."""

    def __call__(self, velocity: Velocity, value: Value) -> Velocity:
        def guided(point: Action, t: Time) -> Action:
            speed = velocity(point, t)
            end = distilled_landing(velocity, point, speed, t)
            return speed + scaled(jax.grad(value)(end, 1.0), self.weight, self.normalize)

        return guided


@hyperparameters
class DistilledJacobianGradient:
    """As `DistilledGradient`, pulled back through the clipped jump and the noise that it starts from."""

    weight: float | Scalar = 0.1
    """Weight of the gradient, in action per value; in action where it is normalised."""
    normalize: bool = False
    """Follow the direction of the gradient alone, whatever its length."""

    def __call__(self, velocity: Velocity, value: Value) -> Velocity:
        def guided(point: Action, t: Time) -> Action:
            speed, _, pulled_back = through(velocity, value, point, t, distilled_landing)
            return speed + scaled(pulled_back, self.weight, self.normalize)

        return guided


@hyperparameters
class SmoothedGradient:
    """As `JacobianGradient`, its Jacobian averaged over 2 `pairs` perturbations of a: fixed normal draws, and minus
    each of them."""

    weight: float | Scalar = 0.1
    """Weight of the gradient, in action per value; in action where it is normalised."""
    normalize: bool = False
    """Follow the direction of the gradient alone, whatever its length."""
    spread: float = 0.1
    """Standard deviation of a perturbation, in action."""
    pairs: int = 2
    """Perturbations of each sign; each costs one vector-Jacobian product of the flow."""

    def __post_init__(self) -> None:
        check_settings(self, spread=(0, math.inf), pairs=(1, math.inf))

    def __call__(self, velocity: Velocity, value: Value) -> Velocity:
        def guided(point: Action, t: Time) -> Action:
            speed = velocity(point, t)
            gradient = jax.grad(value)(landing(point, speed, t), 1.0)

            def pulled_back(shift: Action) -> Action:
                _, pull_back = jax.vjp(lambda near: landing(near, velocity(near, t), t), point + shift)
                return pull_back(gradient)[0]

            draws = self.spread * jax.random.normal(jax.random.key(0), (self.pairs, *point.shape))
            smoothed = jnp.mean(jax.vmap(pulled_back)(jnp.concatenate([draws, -draws])), axis=0)
            return speed + scaled(smoothed, self.weight, self.normalize)

        return guided


@hyperparameters
class OrthogonalisedGradient:
    """As `JacobianGradient`, with the orthogonal factor of the polar decomposition of the jump's Jacobian.

    The Jacobian is of the jump before clipping, since the rows of clipped dimensions would be 0 and have no factor.
    """

    weight: float | Scalar = 0.1
    """Weight of the gradient, in action per value; in action where it is normalised."""
    normalize: bool = False
    """Follow the direction of the gradient alone, whatever its length."""

    def __call__(self, velocity: Velocity, value: Value) -> Velocity:
        def guided(point: Action, t: Time) -> Action:
            identity = jnp.eye(point.size)
            speed, push = jax.linearize(lambda point: velocity(point, t), point)
            jacobian = identity + (1 - t) * jax.vmap(push, out_axes=1)(identity)
            orthogonal, _ = jax.scipy.linalg.polar(jacobian, method="svd")
            gradient = orthogonal.T @ jax.grad(value)(landing(point, speed, t), 1.0)
            return speed + scaled(gradient, self.weight, self.normalize)

        return guided


@hyperparameters
class RegularisedGradient:
    """v + weight * ((1 - pull) J' + pull I) grad q(a1, 1): between `JacobianGradient` and `DenoisedGradient`."""

    weight: float | Scalar = 0.1
    """Weight of the gradient, in action per value; in action where it is normalised."""
    normalize: bool = False
    """Follow the direction of the gradient alone, whatever its length."""
    pull: float = 0.5
    """Share of the identity: 0 is the Jacobian, 1 the identity."""

    def __post_init__(self) -> None:
        check_settings(self, pull=(0, 1))

    def __call__(self, velocity: Velocity, value: Value) -> Velocity:
        def guided(point: Action, t: Time) -> Action:
            speed, gradient, pulled_back = through(velocity, value, point, t)
            mixed = (1 - self.pull) * pulled_back + self.pull * gradient
            return speed + scaled(mixed, self.weight, self.normalize)

        return guided
