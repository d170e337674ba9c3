"""Guidance adds weight times a gradient to a velocity; the four gradients in closed form."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from guidedflow.flows.guidance import (
    DenoisedGradient,
    Guidance,
    JacobianGradient,
    NoisyGradient,
    RolloutGradient,
    Unguided,
)
from guidedflow.flows.path import clip, integrate, landing
from guidedflow.types import Action, Scalar, Time, Velocity

GUIDED = [NoisyGradient, DenoisedGradient, JacobianGradient, RolloutGradient]
POINT = jnp.array([0.2, -0.1, 0.4])
SPEED = jnp.array([0.3, 0.2, -0.5])
GOAL = jnp.array([0.5, 0.5, 0.5])
MATRIX = jnp.array([[-1.0, 0.5, 0.0], [0.25, -0.5, 1.0], [0.0, 0.75, -0.6]])
TIMES = [0.0, 0.4, 0.9]


def constant(point: Action, t: Time) -> Action:
    return SPEED


def linear(point: Action, t: Time) -> Action:
    return MATRIX @ point


def value(action: Action, t: Time) -> Scalar:
    """-|a - GOAL|^2 / 2: its gradient is GOAL - a."""
    return -jnp.sum(jnp.square(action - GOAL)) / 2


def added(guidance: Guidance, velocity: Velocity, t: float, point: jax.Array = POINT, value: Any = value) -> jax.Array:
    """What the guidance adds to the velocity."""
    return guidance(velocity, value)(point, t) - velocity(point, t)


@pytest.mark.parametrize("guided", GUIDED)
@pytest.mark.parametrize("t", TIMES)
def test_weight_0_is_unguided(guided: type, t: float) -> None:
    np.testing.assert_array_equal(guided(weight=0.0)(linear, value)(POINT, t), linear(POINT, t))


@pytest.mark.parametrize("guided", GUIDED)
def test_a_normalised_gradient_does_not_see_the_scale_of_the_value(guided: type) -> None:
    """The plain one grows with it; the normalised one has a root mean square of the weight."""

    def larger(action: Action, t: Time) -> Scalar:
        return 10 * value(action, t) + 7

    plain, normalised = guided(weight=0.5), guided(weight=0.5, normalize=True)
    np.testing.assert_allclose(added(plain, linear, 0.4, value=larger), 10 * added(plain, linear, 0.4), rtol=1e-4)
    step = added(normalised, linear, 0.4)
    np.testing.assert_allclose(added(normalised, linear, 0.4, value=larger), step, rtol=1e-4)
    assert float(jnp.sqrt(jnp.mean(jnp.square(step)))) == pytest.approx(0.5, rel=1e-4)
    np.testing.assert_allclose(step / jnp.max(step), (g := added(plain, linear, 0.4)) / jnp.max(g), rtol=1e-4)


@pytest.mark.parametrize("guided", GUIDED)
def test_where_the_value_is_flat_a_normalised_gradient_adds_nothing(guided: type) -> None:
    step = added(guided(weight=0.5, normalize=True), linear, 0.4, value=lambda action, t: 0.0 * jnp.sum(action))
    np.testing.assert_array_equal(step, jnp.zeros(3))


def test_unguided_is_the_velocity_itself() -> None:
    assert Unguided()(linear, value) is linear


@pytest.mark.parametrize("guided", GUIDED)
def test_what_is_added_is_proportional_to_the_weight(guided: type) -> None:
    np.testing.assert_allclose(
        added(guided(weight=0.6), linear, 0.3), 3 * added(guided(weight=0.2), linear, 0.3), rtol=1e-4
    )


@pytest.mark.parametrize("t", TIMES)
def test_noisy_asks_at_the_noisy_action(t: float) -> None:
    np.testing.assert_allclose(added(NoisyGradient(0.5), linear, t), 0.5 * (GOAL - POINT), rtol=1e-5)


def test_noisy_tells_the_value_the_time_and_denoised_that_it_is_over() -> None:
    """A critic of noisy actions q(a, t) can so be used (RobustQ); a clean action has t = 1."""

    def timed(action: Action, t: Time) -> Scalar:
        return t * jnp.sum(action)

    np.testing.assert_allclose(added(NoisyGradient(1.0), constant, 0.25, value=timed), jnp.full(3, 0.25), rtol=1e-5)
    np.testing.assert_allclose(added(DenoisedGradient(1.0), constant, 0.25, value=timed), jnp.ones(3), rtol=1e-5)


@pytest.mark.parametrize("t", TIMES)
def test_denoised_asks_at_the_landing_of_the_jump(t: float) -> None:
    landing = POINT + (1 - t) * (MATRIX @ POINT)
    np.testing.assert_allclose(added(DenoisedGradient(0.5), linear, t), 0.5 * (GOAL - landing), rtol=1e-4)


@pytest.mark.parametrize("t", TIMES)
def test_jacobian_pulls_the_gradient_back_through_the_jump(t: float) -> None:
    """For v = M a the jump is (1 + (1 - t) M) a, so its transpose multiplies the gradient."""
    jacobian = np.eye(3) + (1 - t) * np.asarray(MATRIX)
    expected = 0.5 * jacobian.T @ (GOAL - jacobian @ POINT)
    np.testing.assert_allclose(added(JacobianGradient(0.5), linear, t), expected, rtol=1e-4)


@pytest.mark.parametrize("t", TIMES)
def test_jacobian_is_the_gradient_of_the_value_of_the_jump(t: float) -> None:
    expected = jax.grad(lambda point: value(landing(point, linear(point, t), t), 1.0))(POINT)
    np.testing.assert_allclose(added(JacobianGradient(1.0), linear, t), expected, rtol=1e-4)


@pytest.mark.parametrize(("t", "remaining"), [(0.0, 5), (0.4, 3), (0.8, 1)])
def test_rollout_pulls_the_gradient_back_through_the_remaining_steps(t: float, remaining: int) -> None:
    """For v = M a each Euler step multiplies by 1 + M / steps."""
    steps = np.linalg.matrix_power(np.eye(3) + np.asarray(MATRIX) / 5, remaining)
    expected = 0.5 * steps.T @ (GOAL - steps @ POINT)
    np.testing.assert_allclose(added(RolloutGradient(0.5, steps=5), linear, t), expected, rtol=1e-4)


def test_rollout_from_the_start_differentiates_the_whole_flow() -> None:
    expected = jax.grad(lambda noise: value(clip(integrate(linear, noise, 10)), 1.0))(POINT)
    np.testing.assert_allclose(added(RolloutGradient(1.0, steps=10), linear, 0.0), expected, rtol=1e-5)


def test_rollout_of_one_step_is_the_jacobian_of_the_jump() -> None:
    np.testing.assert_allclose(
        added(RolloutGradient(0.5, steps=1), linear, 0.0), added(JacobianGradient(0.5), linear, 0.0), rtol=1e-5
    )


@pytest.mark.parametrize("t", TIMES)
def test_a_constant_velocity_makes_denoised_jacobian_and_rollout_equal(t: float) -> None:
    """Inside the box: the flow only shifts, so what is dropped by taking the jump as the identity is nothing."""
    denoised = added(DenoisedGradient(0.5), constant, t)
    np.testing.assert_allclose(denoised, 0.5 * (GOAL - POINT - (1 - t) * SPEED), rtol=1e-5)
    np.testing.assert_allclose(added(JacobianGradient(0.5), constant, t), denoised, rtol=1e-5)
    np.testing.assert_allclose(added(RolloutGradient(0.5, steps=10), constant, t), denoised, rtol=1e-5)


def test_a_clipped_coordinate_gets_no_jacobian_gradient_but_a_denoised_one() -> None:
    """The first coordinate lands at 3 and is clipped to 1, whose gradient is GOAL - 1; clipping has slope 0 there."""
    outside = jnp.array([3.0, -0.1, 0.4])
    still = lambda point, t: jnp.zeros_like(point)  # noqa: E731
    inside = GOAL[1:] - outside[1:]
    denoised = added(DenoisedGradient(1.0), still, 0.5, outside)
    np.testing.assert_allclose(denoised, jnp.concatenate([jnp.array([-0.5]), inside]), rtol=1e-5)
    for guidance in (JacobianGradient(1.0), RolloutGradient(1.0)):
        np.testing.assert_allclose(
            added(guidance, still, 0.5, outside), jnp.concatenate([jnp.zeros(1), inside]), rtol=1e-5
        )


def multiplications(guidance: Guidance, size: int) -> int:
    """Matrix products of one guided velocity: the field v = tanh(M a) has one, its vector-Jacobian product another."""
    matrix = jnp.eye(size) / 2
    guided = guidance(lambda point, t: jnp.tanh(matrix @ point), lambda action, t: -jnp.sum(jnp.square(action)))
    return str(jax.make_jaxpr(guided)(jnp.ones(size), 0.5)).count("dot_general")


@pytest.mark.parametrize("size", [2, 30])
@pytest.mark.parametrize(
    ("guidance", "expected"), [(Unguided(), 1), (NoisyGradient(), 1), (DenoisedGradient(), 1), (JacobianGradient(), 2)]
)
def test_the_cost_does_not_grow_with_the_action(guidance: Guidance, expected: int, size: int) -> None:
    """Denoised guidance evaluates the flow once; its Jacobian costs ONE vector-Jacobian product, never a matrix."""
    assert multiplications(guidance, size) == expected


@pytest.mark.parametrize("guided", GUIDED)
def test_the_velocity_is_evaluated_once_in_a_program(guided: type) -> None:
    """The value of the velocity is shared between the step and the jump (the rollout has its loop besides)."""
    calls = []

    def counted(point: Action, t: Time) -> Action:
        calls.append(t)
        return linear(point, t)

    jax.make_jaxpr(guided()(counted, value))(POINT, 0.5)
    assert len(calls) <= (2 if guided is RolloutGradient else 1)


@pytest.mark.parametrize("guided", GUIDED)
def test_a_guided_velocity_in_a_batch_is_the_guided_velocity_alone(guided: type) -> None:
    points = jax.random.normal(jax.random.key(0), (4, 3))
    velocity = jax.jit(guided(weight=0.5)(linear, value))
    batch = jax.vmap(velocity, in_axes=(0, None))(points, 0.3)
    for point, row in zip(points, batch, strict=True):
        np.testing.assert_allclose(row, velocity(point, 0.3), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("guided", GUIDED)
def test_the_weight_is_a_leaf_so_weights_can_be_mapped(guided: Callable[..., Guidance]) -> None:
    weights = jnp.array([0.0, 0.1, 1.0])
    guidances = jax.tree.map(lambda _: weights, guided())
    rows = jax.vmap(lambda guidance: guidance(linear, value)(POINT, 0.3))(guidances)
    for weight, row in zip(weights.tolist(), rows, strict=True):
        np.testing.assert_allclose(row, guided(weight=weight)(linear, value)(POINT, 0.3), rtol=1e-5)


def test_guidance_is_any_function_of_a_velocity_and_a_value() -> None:
    """The protocol asks for a call and nothing else: a user's own guidance needs no base class."""
    assert isinstance(lambda velocity, value: velocity, Guidance)
