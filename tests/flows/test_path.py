"""Flows go from noise at t = 0 to an action at t = 1, on straight paths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from guidedflow.flows.path import clip, integrate, integrate_from, landing, straight_path
from guidedflow.types import Action, Time, Velocity

NOISE = jnp.array([1.5, -0.5, 0.25])
TARGET = jnp.array([-0.8, 0.9, 0.1])
MATRIX = jnp.array([[-1.0, 0.5, 0.0], [0.25, -0.5, 1.0], [0.0, 0.75, -2.0]])


def constant(speed: jax.Array) -> Velocity:
    return lambda point, t: speed


def towards(target: jax.Array) -> Velocity:
    """The field whose paths all end at `target`: what flow matching learns from a single action."""
    return lambda point, t: (target - point) / (1 - t)


def linear(point: Action, t: Time) -> Action:
    return MATRIX @ point


def test_the_straight_path_starts_at_the_noise_and_ends_at_the_action() -> None:
    np.testing.assert_array_equal(straight_path(NOISE, TARGET, 0.0)[0], NOISE)
    np.testing.assert_array_equal(straight_path(NOISE, TARGET, 1.0)[0], TARGET)


def test_the_velocity_of_the_straight_path_is_its_derivative() -> None:
    for t in (0.0, 0.3, 0.9):
        point, speed = straight_path(NOISE, TARGET, t)
        derivative = jax.jacfwd(lambda t: straight_path(NOISE, TARGET, t)[0])(t)
        np.testing.assert_allclose(speed, derivative, rtol=1e-6)
        np.testing.assert_allclose(towards(TARGET)(point, t), speed, rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_a_constant_velocity_is_added_once_whatever_the_steps(steps: int) -> None:
    np.testing.assert_allclose(integrate(constant(TARGET), NOISE, steps), NOISE + TARGET, rtol=1e-6)


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_a_velocity_towards_a_target_integrates_to_the_target(steps: int) -> None:
    """Straight paths cost Euler's method nothing: one step is as good as ten."""
    np.testing.assert_allclose(integrate(towards(TARGET), NOISE, steps), TARGET, atol=1e-6)


def test_euler_steps_look_at_the_times_0_to_1_minus_a_step() -> None:
    """With v = t, four steps add (0 + 1/4 + 2/4 + 3/4) / 4; the field is never asked at t = 1."""
    moved = integrate(lambda point, t: jnp.full_like(point, t), NOISE, 4) - NOISE
    np.testing.assert_allclose(moved, jnp.full(3, 0.375), rtol=1e-6)


def test_a_linear_velocity_multiplies_by_one_matrix_a_step() -> None:
    step = np.eye(3) + np.asarray(MATRIX) / 5
    np.testing.assert_allclose(integrate(linear, NOISE, 5), np.linalg.matrix_power(step, 5) @ NOISE, rtol=1e-5)


def test_integrate_does_not_clip_and_jump_does() -> None:
    far = constant(jnp.array([5.0, -5.0, 0.0]))
    np.testing.assert_allclose(integrate(far, NOISE, 10), jnp.array([6.5, -5.5, 0.25]), rtol=1e-6)
    np.testing.assert_array_equal(landing(NOISE, far(NOISE, 0.0), 0.0), jnp.array([1.0, -1.0, 0.25]))


def test_a_jump_lands_where_the_velocity_heads() -> None:
    for t in (0.0, 0.5, 0.9):
        np.testing.assert_allclose(landing(NOISE, towards(TARGET)(NOISE, t), t), TARGET, atol=1e-6)


def test_a_jump_from_time_1_stays() -> None:
    np.testing.assert_array_equal(landing(TARGET, linear(TARGET, 1.0), 1.0), TARGET)


def test_clip_is_the_nearest_action_in_the_box() -> None:
    np.testing.assert_array_equal(clip(jnp.array([-3.0, -1.0, 0.2, 1.0, 7.0])), jnp.array([-1.0, -1.0, 0.2, 1.0, 1.0]))


@pytest.mark.parametrize("steps", [3, 10, 30])
def test_integrate_from_every_grid_time_takes_the_remaining_steps(steps: int) -> None:
    """Also where i / steps is no exact number in binary: rounding neither gains nor loses a step."""
    step = np.eye(3) + np.asarray(MATRIX) / steps
    times = jnp.arange(steps, dtype=jnp.float32) / steps
    ends = jax.vmap(lambda t: integrate_from(linear, NOISE, t, steps))(times)
    for i, end in enumerate(ends):
        np.testing.assert_allclose(end, np.linalg.matrix_power(step, steps - i) @ NOISE, rtol=1e-4, atol=1e-6)


def test_integrate_from_the_start_is_integrate_and_from_the_end_is_nothing() -> None:
    np.testing.assert_array_equal(integrate_from(linear, NOISE, 0.0, 10), integrate(linear, NOISE, 10))
    np.testing.assert_array_equal(integrate_from(linear, NOISE, 1.0, 10), NOISE)


def test_a_flow_in_a_batch_is_the_flow_alone() -> None:
    noise = jax.random.normal(jax.random.key(0), (5, 3))
    batch = jax.vmap(lambda noise: integrate(linear, noise, 10))(noise)
    for row, end in zip(noise, batch, strict=True):
        np.testing.assert_allclose(end, integrate(linear, row, 10), rtol=1e-5, atol=1e-6)
