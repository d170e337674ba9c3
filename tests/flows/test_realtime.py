"""Real-time chunking: the pull of a new chunk towards the old one."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from guidedflow.errors import InputError
from guidedflow.flows.guidance import DenoisedGradient, name_of
from guidedflow.flows.realtime import RealTime, binding, pull_factor, shifted
from guidedflow.flows.sampling import Sampler
from guidedflow.types import Action, Scalar, Time

POINT = jnp.array([0.2, -0.1, 0.4])
TARGET = jnp.array([0.6, 0.3, -0.2])
MATRIX = jnp.array([[-1.0, 0.5, 0.0], [0.25, -0.5, 1.0], [0.0, 0.75, -0.6]])
BINDING = jnp.array([1.0, 0.4, 0.0])


def linear(point: Action, t: Time) -> Action:
    return MATRIX @ point


def value(action: Action, t: Time) -> Scalar:
    return -jnp.sum(jnp.square(action)) / 2


@pytest.mark.parametrize("t", [0.0, 0.3, 0.9])
def test_the_pull_is_the_weighted_error_of_the_jump_through_its_jacobian(t: float) -> None:
    """For v = M a the jump is J a with J = 1 + (1 - t) M: its transpose multiplies W (Y - J a)."""
    jacobian = np.eye(3) + (1 - t) * np.asarray(MATRIX)
    expected = pull_factor(t) * jacobian.T @ (BINDING * (TARGET - jacobian @ POINT))
    found = RealTime(TARGET, BINDING)(linear, value)(POINT, t) - linear(POINT, t)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_the_factor_is_bounded_at_both_ends() -> None:
    assert float(pull_factor(0.0)) == float(pull_factor(1.0)) == 5.0
    assert float(pull_factor(0.5)) == pytest.approx(2.0)
    assert float(pull_factor(0.25)) == pytest.approx((0.75**2 + 0.25**2) / (0.25 * 0.75))
    assert float(pull_factor(0.1, limit=3.0)) == 3.0


def test_pull_and_guidance_by_a_value_are_added() -> None:
    alone = RealTime(TARGET, BINDING)(linear, value)(POINT, 0.3) - linear(POINT, 0.3)
    both = RealTime(TARGET, BINDING, DenoisedGradient(0.5))(linear, value)(POINT, 0.3)
    np.testing.assert_allclose(both, DenoisedGradient(0.5)(linear, value)(POINT, 0.3) + alone, rtol=1e-5)


def test_without_binding_it_is_the_guidance_inside() -> None:
    free = RealTime(TARGET, jnp.zeros(3), DenoisedGradient(0.5))
    np.testing.assert_array_equal(free(linear, value)(POINT, 0.3), DenoisedGradient(0.5)(linear, value)(POINT, 0.3))


def test_what_a_row_says_and_whether_a_value_is_asked_follow_the_guidance_inside() -> None:
    plain, guided = (Sampler(guidance=RealTime(TARGET, BINDING, *inner)) for inner in ((), (DenoisedGradient(0.5),)))
    assert not plain.asks
    assert guided.asks
    assert (plain.columns()["guidance"], guided.columns()["guidance"]) == ("none", "denoised")
    assert guided.columns()["weight"] == 0.5
    assert name_of(guided.guidance) == "denoised"


def test_frozen_steps_of_a_flow_land_on_the_old_chunk_and_free_ones_do_not() -> None:
    """A flow from N(0, 1) to N(0, 1) in 50 steps: its velocity is (2 t - 1) / (t^2 + (1 - t)^2) a."""

    def velocity(point: Action, t: Time) -> Action:
        return (2 * t - 1) / (t**2 + (1 - t) ** 2) * point

    noise = jax.random.normal(jax.random.key(1), (1, 3))
    sampler = Sampler(50, RealTime(TARGET, jnp.array([1.0, 1.0, 0.0])))
    action, free = sampler(velocity, value, noise), Sampler(50)(velocity, value, noise)
    error = jnp.abs(action - TARGET)
    assert float(jnp.max(error[:2])) < 0.05
    assert float(action[2]) == pytest.approx(float(free[2]), rel=1e-5)


def test_bindings_are_frozen_then_soft_then_free() -> None:
    """8 steps, requested every 3 and 2 late: steps 0 and 1 are frozen, 5 to 7 lie beyond the old chunk."""
    found = binding(8, 2, 3)
    u = [3 / 4, 2 / 4, 1 / 4]
    soft = [x * (math.exp(x) - 1) / (math.e - 1) for x in u]
    np.testing.assert_allclose(found, [1, 1, *soft, 0, 0, 0], rtol=1e-6)


@pytest.mark.parametrize(("chunk", "delay", "every"), [(5, 3, 3), (5, 1, 5), (1, 1, 1), (5, 2, 4), (5, -1, 2)])
def test_a_delay_that_does_not_fit_into_the_chunk_is_refused(chunk: int, delay: int, every: int) -> None:
    with pytest.raises(InputError, match=f"--delay is {delay}, but a chunk of {chunk} steps"):
        binding(chunk, delay, every)


def test_an_old_chunk_is_seen_from_the_present_step_on() -> None:
    chunk = np.arange(8.0).reshape(4, 2)
    np.testing.assert_array_equal(shifted(chunk, 3), [[6, 7], [0, 0], [0, 0], [0, 0]])
    np.testing.assert_array_equal(shifted(chunk, 4), np.zeros((4, 2)))
