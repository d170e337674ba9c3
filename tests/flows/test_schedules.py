"""Weights that follow the flow: by its time, and by the length of its velocity."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from guidedflow.errors import InputError
from guidedflow.flows.guidance import GUIDANCE, DenoisedGradient, Scheduled, guidance_of, name_of
from guidedflow.flows.sampling import Sampler
from guidedflow.flows.schedules import WeightSchedule
from guidedflow.types import Action, Scalar, Time

POINT = jnp.array([0.2, -0.1])
SPEED = jnp.array([0.3, -0.4])
GOAL = jnp.array([0.5, 0.5])


def constant(point: Action, t: Time) -> Action:
    return SPEED


def value(action: Action, t: Time) -> Scalar:
    """-|a - GOAL|^2 / 2: its gradient is GOAL - a."""
    return -jnp.sum(jnp.square(action - GOAL)) / 2


def added(guidance: Any, t: float, value: Any = value) -> jax.Array:
    return guidance(constant, value)(POINT, t) - SPEED


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        (WeightSchedule.constant, {0.0: 1.0, 0.5: 1.0, 1.0: 1.0}),
        (WeightSchedule.falling, {0.0: 1.0, 0.25: 0.75, 0.9: 0.1, 1.0: 0.0}),
        (WeightSchedule.ratio, {0.0: 9.0, 0.05: 9.0, 0.1: 9.0, 0.2: 4.0, 0.5: 1.0, 0.9: 1 / 9, 1.0: 0.0}),
    ],
)
def test_the_factor_of_a_schedule(schedule: WeightSchedule, factors: dict[float, float]) -> None:
    """(1 - t) / t is held before t = 0.1, so that it is finite at t = 0."""
    for t, factor in factors.items():
        assert float(schedule(t)) == pytest.approx(factor, rel=1e-5, abs=1e-7)
        assert float(jax.jit(schedule)(jnp.float32(t))) == pytest.approx(factor, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", ["noisy", "denoised", "jacobian", "rollout"])
def test_a_schedule_multiplies_the_weight_of_any_guidance(name: str) -> None:
    plain, scheduled = guidance_of(name, 0.5), guidance_of(name, 0.5, schedule=WeightSchedule.falling)
    np.testing.assert_allclose(added(scheduled, 0.4), 0.6 * added(plain, 0.4), rtol=1e-4)


def test_a_matched_weight_is_the_share_of_the_velocity_s_length_whatever_the_value_s_scale() -> None:
    """w |v| / |g| g: QPILOTS."""
    gradient = GOAL - (POINT + 0.6 * SPEED)
    expected = 0.2 * jnp.linalg.norm(SPEED) * gradient / jnp.linalg.norm(gradient)
    matched = guidance_of("denoised", 0.2, match=True)
    np.testing.assert_allclose(added(matched, 0.4), expected, rtol=1e-4)
    np.testing.assert_allclose(added(matched, 0.4, lambda action, t: 1000 * value(action, t)), expected, rtol=1e-4)


def test_a_constant_schedule_is_the_guidance_itself() -> None:
    assert guidance_of("denoised", 0.2) == DenoisedGradient(0.2)


def test_the_weight_inside_is_the_only_leaf_and_can_be_mapped() -> None:
    scheduled = guidance_of("denoised", 0.2, schedule=WeightSchedule.ratio, match=True)
    assert jax.tree.leaves(scheduled) == [0.2]
    weights = jnp.array([0.0, 1.0])
    mapped = jax.tree.map(lambda _: weights, scheduled)
    rows = jax.vmap(lambda guidance: guidance(constant, value)(POINT, 0.5))(mapped)
    np.testing.assert_allclose(rows[0], SPEED, rtol=1e-6)
    np.testing.assert_allclose(rows[1] - SPEED, 5 * added(scheduled, 0.5), rtol=1e-3)


@pytest.mark.parametrize("name", GUIDANCE)
def test_a_row_of_results_says_how_the_weight_follows_the_flow(name: str) -> None:
    plain = Sampler(guidance=guidance_of(name, 0.3)).columns()
    assert (plain["guidance"], plain["schedule"], plain["match"]) == (name, None, None)
    if name == "none":
        return
    sampler = Sampler(guidance=guidance_of(name, 0.3, schedule=WeightSchedule.ratio, match=True))
    told = sampler.columns()
    assert (told["guidance"], told["schedule"], told["match"]) == (name, "ratio", True)
    assert (told["weight"], told["normalize"]) == (0.3, True)
    assert sampler.asks


def test_a_guidance_without_a_weight_cannot_follow_a_schedule() -> None:
    with pytest.raises(InputError, match="none guidance has no weight to follow"):
        guidance_of("none", schedule=WeightSchedule.falling)
    with pytest.raises(InputError, match="has no weight"):
        Scheduled(lambda velocity, value: velocity)
    assert name_of(Scheduled(DenoisedGradient())) == "denoised"


def test_the_steps_of_a_scheduled_rollout_are_those_of_its_sampler() -> None:
    with pytest.raises(InputError, match="give RolloutGradient the 10 of its sampler, not 5"):
        Sampler(guidance=guidance_of("rollout", steps=5, schedule=WeightSchedule.falling))
    with pytest.raises(InputError, match="give ChainGradient the 10 of its sampler, not 5"):
        Sampler(guidance=guidance_of("chain", steps=5))


def test_matching_costs_no_second_evaluation_of_the_flow() -> None:
    """The compiler finds that the two velocities are one: as many matrix products as without matching."""
    matrix = jnp.eye(30) / 2

    def products(**how: Any) -> int:
        field = lambda point, t: jnp.tanh(matrix @ point)  # noqa: E731
        guided = guidance_of("denoised", **how)(field, lambda action, t: -jnp.sum(jnp.square(action)))
        text = jax.jit(guided).lower(jnp.ones(30), 0.5).compile().as_text()
        return text.count(" dot(") + text.count("custom-call(")

    assert products(match=True) == products() > 0
