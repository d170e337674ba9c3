"""Variants of the QGF gradient, each against a closed form."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from guidedflow.errors import InputError
from guidedflow.flows.guidance import GRADIENTS, GUIDANCE, DenoisedGradient, Guidance, JacobianGradient, RolloutGradient
from guidedflow.flows.jacobians import (
    ChainGradient,
    DistilledGradient,
    DistilledJacobianGradient,
    Jumping,
    OrthogonalisedGradient,
    RegularisedGradient,
    SmoothedGradient,
)
from guidedflow.types import Action, Scalar, Time, Velocity

POINT = jnp.array([0.2, -0.1, 0.4])
SPEED = jnp.array([0.3, 0.2, -0.5])
GOAL = jnp.array([0.5, 0.5, 0.5])
MATRIX = jnp.array([[-1.0, 0.5, 0.0], [0.25, -0.5, 1.0], [0.0, 0.75, -0.6]])
MAP = jnp.array([[0.5, 0.1, 0.0], [0.0, 0.4, -0.2], [0.3, 0.0, 0.6]])
TIMES = [0.0, 0.4, 0.8]
VARIANTS = [kind for kind in GRADIENTS if kind.__module__.endswith("jacobians")]


def constant(point: Action, t: Time) -> Action:
    return SPEED


def linear(point: Action, t: Time) -> Action:
    return MATRIX @ point


def square(point: Action, t: Time) -> Action:
    return point**2 / 2


def cubic(point: Action, t: Time) -> Action:
    return point**3


def value(action: Action, t: Time) -> Scalar:
    """-|a - GOAL|^2 / 2: its gradient is GOAL - a."""
    return -jnp.sum(jnp.square(action - GOAL)) / 2


def jumping(velocity: Velocity) -> Velocity:
    return Jumping(velocity, lambda noise: MAP @ noise)


def added(guidance: Guidance, velocity: Velocity, t: float, point: jax.Array = POINT, value: Any = value) -> jax.Array:
    """What the guidance adds to the velocity."""
    return guidance(velocity, value)(point, t) - velocity(point, t)


@pytest.mark.parametrize("guided", VARIANTS)
def test_weight_0_adds_nothing_and_the_rest_is_proportional(guided: type) -> None:
    field = jumping(linear)
    np.testing.assert_allclose(added(guided(weight=0.0), field, 0.4), jnp.zeros(3), atol=1e-7)
    once, thrice = (added(guided(weight=weight), field, 0.4) for weight in (0.2, 0.6))
    np.testing.assert_allclose(thrice, 3 * once, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("guided", VARIANTS)
def test_a_normalised_gradient_has_the_length_of_the_weight(guided: type) -> None:
    def larger(action: Action, t: Time) -> Scalar:
        return 10 * value(action, t) + 7

    step = added(guided(weight=0.5, normalize=True), jumping(linear), 0.4, value=larger)
    assert float(jnp.sqrt(jnp.mean(jnp.square(step)))) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize(("t", "remaining"), [(0.0, 5), (0.4, 3), (0.8, 1)])
def test_chain_asks_at_the_end_of_the_flow_and_drops_its_jacobian(t: float, remaining: int) -> None:
    """For v = M a each Euler step multiplies by 1 + M / steps; the rollout multiplies by the transpose besides."""
    steps = np.linalg.matrix_power(np.eye(3) + np.asarray(MATRIX) / 5, remaining)
    chain = added(ChainGradient(0.5, steps=5), linear, t)
    np.testing.assert_allclose(chain, 0.5 * (GOAL - steps @ POINT), rtol=1e-4)
    np.testing.assert_allclose(added(RolloutGradient(0.5, steps=5), linear, t), steps.T @ chain, rtol=1e-4)


def test_chain_of_one_step_is_denoised() -> None:
    np.testing.assert_allclose(
        added(ChainGradient(0.5, steps=1), linear, 0.0), added(DenoisedGradient(0.5), linear, 0.0), rtol=1e-5
    )


@pytest.mark.parametrize("t", TIMES)
def test_distilled_asks_at_the_map_of_the_noise_that_the_straight_path_came_from(t: float) -> None:
    """For v = M a that noise is (1 - t M) a, and the map is linear here: so its Jacobian is MAP (1 - t M)."""
    field, noise = jumping(linear), np.eye(3) - t * np.asarray(MATRIX)
    jacobian = np.asarray(MAP) @ noise
    gradient = GOAL - jacobian @ POINT
    np.testing.assert_allclose(added(DistilledGradient(0.5), field, t), 0.5 * gradient, rtol=1e-4)
    np.testing.assert_allclose(added(DistilledJacobianGradient(0.5), field, t), 0.5 * jacobian.T @ gradient, rtol=1e-4)


@pytest.mark.parametrize("t", TIMES)
def test_a_map_that_is_the_flow_itself_makes_distilled_denoised(t: float) -> None:
    """A constant velocity takes noise z to z + v, from wherever on the path it is seen."""
    field = Jumping(constant, lambda noise: noise + SPEED)
    np.testing.assert_allclose(
        added(DistilledGradient(0.5), field, t), added(DenoisedGradient(0.5), constant, t), rtol=1e-4
    )
    np.testing.assert_allclose(
        added(DistilledJacobianGradient(0.5), field, t), added(JacobianGradient(0.5), constant, t), rtol=1e-4
    )


@pytest.mark.parametrize("guided", [DistilledGradient, DistilledJacobianGradient])
def test_a_flow_without_a_map_has_no_distilled_gradient(guided: type) -> None:
    with pytest.raises(InputError, match="needs a learned one-step map"):
        guided()(linear, value)(POINT, 0.5)


@pytest.mark.parametrize("t", TIMES)
def test_smoothing_a_linear_jacobian_over_pairs_changes_nothing(t: float) -> None:
    """The jump of v = a^2 / 2 has a Jacobian that is linear in a, whose mean over +-shifts is that at a."""
    smoothed = added(SmoothedGradient(0.5, spread=0.3), square, t)
    np.testing.assert_allclose(smoothed, added(JacobianGradient(0.5), square, t), rtol=1e-4)


def test_smoothing_adds_the_variance_where_the_jacobian_bends() -> None:
    """For v = a^3 it is diagonal, 1 + 3 (1 - t) a^2, so its mean over pairs is at a^2 + mean(shift^2)."""
    shifts = 0.1 * jax.random.normal(jax.random.key(0), (64, 3))
    jacobian = 1 + 3 * 0.6 * (POINT**2 + jnp.mean(shifts**2, axis=0))
    gradient = GOAL - (POINT + 0.6 * POINT**3)
    smoothed = added(SmoothedGradient(0.5, spread=0.1, pairs=64), cubic, 0.4)
    np.testing.assert_allclose(smoothed, 0.5 * jacobian * gradient, rtol=1e-4)
    np.testing.assert_allclose(
        added(SmoothedGradient(0.5, spread=0.0), cubic, 0.4), added(JacobianGradient(0.5), cubic, 0.4), rtol=1e-5
    )


@pytest.mark.parametrize("t", TIMES)
def test_orthogonalised_is_the_factor_of_the_polar_decomposition(t: float) -> None:
    jacobian = np.eye(3) + (1 - t) * np.asarray(MATRIX, np.float64)
    orthogonal, _ = scipy.linalg.polar(jacobian)
    gradient = GOAL - jacobian @ POINT
    step = added(OrthogonalisedGradient(0.5), linear, t)
    np.testing.assert_allclose(step, 0.5 * orthogonal.T @ gradient, rtol=2e-3, atol=1e-4)
    assert float(jnp.linalg.norm(step)) == pytest.approx(0.5 * float(jnp.linalg.norm(gradient)), rel=1e-3)


def test_a_symmetric_positive_jacobian_is_orthogonalised_to_the_identity() -> None:
    """The jump of v = a^2 / 2 is diagonal and positive, so all of it is stretching and none is turning."""
    np.testing.assert_allclose(
        added(OrthogonalisedGradient(0.5), square, 0.4), added(DenoisedGradient(0.5), square, 0.4), rtol=1e-4
    )


@pytest.mark.parametrize("pull", [0.0, 0.3, 1.0])
def test_regularised_lies_between_the_jacobian_and_the_identity(pull: float) -> None:
    jacobian, denoised = (added(kind(0.5), linear, 0.4) for kind in (JacobianGradient, DenoisedGradient))
    expected = (1 - pull) * jacobian + pull * denoised
    np.testing.assert_allclose(added(RegularisedGradient(0.5, pull=pull), linear, 0.4), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("guided", VARIANTS)
def test_a_variant_in_a_batch_is_the_variant_alone(guided: type) -> None:
    points = jax.random.normal(jax.random.key(0), (4, 3)) / 2
    velocity = jax.jit(guided(weight=0.5)(jumping(linear), value))
    batch = jax.vmap(velocity, in_axes=(0, None))(points, 0.3)
    for point, row in zip(points, batch, strict=True):
        np.testing.assert_allclose(row, velocity(point, 0.3), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("guided", "settings"),
    [(RegularisedGradient, {"pull": 1.5}), (SmoothedGradient, {"pairs": 0}), (ChainGradient, {"steps": 0})],
)
def test_settings_out_of_range_are_refused(guided: type, settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(settings))} must be"):
        guided(**settings)


def test_every_variant_is_in_the_table() -> None:
    assert set(VARIANTS) == {
        ChainGradient, DistilledGradient, DistilledJacobianGradient, SmoothedGradient, OrthogonalisedGradient,
        RegularisedGradient,
    }  # fmt: skip
    assert set(GRADIENTS) < set(GUIDANCE.values())
