"""Losses and weights of one transition, against values by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from guidedflow.algorithms.parts.losses import (
    advantage_weight,
    flow_matching_error,
    softmax_weight,
    squared_error,
    value_scale,
)

NOISE = jnp.array([1.0, -1.0])
ACTION = jnp.array([0.5, 0.5])
LAMBDA = jnp.float32(0.05)


def weight(function, advantage: float, temperature: float) -> float:
    return float(function(jnp.float32(2.0 + advantage), jnp.float32(2.0), LAMBDA, temperature))


def test_squared_error_is_the_mean_over_dimensions() -> None:
    """Not the sum: with a sum, alpha would change its meaning with the size of the action."""
    assert squared_error(jnp.array([1.0, 2.0, 3.0]), jnp.array([1.0, 0.0, 0.0])) == pytest.approx(13 / 3)


def test_the_velocity_of_the_straight_path_has_no_flow_matching_error() -> None:
    exact = lambda point, t: (ACTION - point) / (1 - t)  # noqa: E731
    assert flow_matching_error(exact, NOISE, ACTION, 0.3) == pytest.approx(0, abs=1e-10)


def test_flow_matching_asks_at_the_point_of_the_path_and_expects_action_minus_noise() -> None:
    """v(a, t) = a + t at t = 0.5: the point is (0.75, -0.25), so v - (action - noise) = (1.75, -1.25)."""
    error = flow_matching_error(lambda point, t: point + t, NOISE, ACTION, 0.5)
    assert error == pytest.approx((1.75**2 + 1.25**2) / 2)


@pytest.mark.parametrize(
    ("advantage", "temperature", "expected"),
    [(0.1, 1e-3, 0.993307), (0.1, 1e-2, 0.622459), (0.1, 1e-1, 0.512497), (-0.1, 1e-2, 0.377541), (0.0, 1e-6, 0.5)],
)
def test_softmax_weight_has_the_values_of_its_formula(advantage: float, temperature: float, expected: float) -> None:
    """g = sigmoid(lambda (Q - Q_ref) / eta) with lambda = 0.05."""
    assert weight(softmax_weight, advantage, temperature) == pytest.approx(expected, abs=1e-5)


def test_softmax_weight_is_the_softmax_of_two_values() -> None:
    """Eq. 10 as it is written: exp(lambda Q / eta) over the sum of that of the action and that of its reference."""
    pair = jax.nn.softmax(LAMBDA * jnp.array([2.3, 2.0]) / 0.02)
    assert weight(softmax_weight, 0.3, 0.02) == pytest.approx(float(pair[0]), abs=1e-5)


def test_advantage_weight_is_an_unclipped_exponential() -> None:
    assert weight(advantage_weight, 0.2, 1e-2) == pytest.approx(np.exp(1.0), rel=1e-4)
    assert weight(advantage_weight, 2.0, 1e-2) == pytest.approx(np.exp(10.0), rel=1e-4)


@pytest.mark.parametrize("function", [softmax_weight, advantage_weight])
@pytest.mark.parametrize("advantage", [-3.0, 0.0, 3.0])
def test_temperature_0_gives_weight_1(function, advantage: float) -> None:
    assert weight(function, advantage, 0.0) == 1.0


@pytest.mark.parametrize("function", [softmax_weight, advantage_weight])
def test_temperature_0_gives_no_nan_gradient(function) -> None:
    """In no argument: a branch that is not taken must not divide by 0 behind the scenes."""
    numbers = jnp.float32(2.0), jnp.float32(1.0), LAMBDA, jnp.float32(0.0)
    gradients = jax.grad(function, argnums=(0, 1, 2, 3))(*numbers)
    np.testing.assert_array_equal(gradients, (0.0, 0.0, 0.0, 0.0))


def test_a_sharp_temperature_stays_finite() -> None:
    """Published temperatures go down to 1e-6."""
    assert weight(softmax_weight, 3.0, 1e-6) == 1.0
    assert weight(softmax_weight, -3.0, 1e-6) == 0.0
    gradient = jax.grad(softmax_weight)(jnp.float32(5.0), jnp.float32(2.0), LAMBDA, 1e-6)
    assert jnp.isfinite(gradient)


def test_the_temperature_can_be_mapped_through_0() -> None:
    temperatures = jnp.array([0.0, 1e-2])
    mapped = jax.vmap(lambda eta: softmax_weight(jnp.float32(2.1), jnp.float32(2.0), LAMBDA, eta))(temperatures)
    np.testing.assert_allclose(mapped, [1.0, 0.622459], atol=1e-5)


def test_value_scale_makes_the_mean_absolute_value_1() -> None:
    values = jnp.array([-4.0, 2.0, -6.0])
    assert value_scale(values) == pytest.approx(0.25)
    assert jnp.isfinite(value_scale(jnp.zeros(4)))  # where nothing was ever rewarded
    assert jnp.mean(jnp.abs(value_scale(values) * values)) == pytest.approx(1.0)
