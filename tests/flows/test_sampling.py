"""Samplers: propose by a flow or an actor, refine by climbing the value, choose the best."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from guidedflow.errors import InputError
from guidedflow.flows.guidance import DenoisedGradient, JacobianGradient, NoisyGradient, RolloutGradient, Unguided
from guidedflow.flows.path import clip, integrate
from guidedflow.flows.sampling import GradientAscent, Sampler
from guidedflow.types import Action, Scalar, Time

GOAL = jnp.array([0.5, -0.3])
MODES = jnp.array([[-0.6, 0.0], [0.6, 0.0]])
SPREAD = 0.1

SAMPLERS = {
    "unguided": Sampler(),
    "noisy": Sampler(guidance=NoisyGradient(1.0)),
    "denoised": Sampler(guidance=DenoisedGradient(1.0)),
    "jacobian": Sampler(guidance=JacobianGradient(1.0)),
    "rollout": Sampler(guidance=RolloutGradient(1.0)),
    "refined": Sampler(refinement=GradientAscent(0.1, 3)),
    "best of 4": Sampler(candidates=4),
    "all at once": Sampler(guidance=DenoisedGradient(1.0), refinement=GradientAscent(0.1, 3), candidates=4),
}


def inwards(point: Action, t: Time) -> Action:
    return -point / 2


def value(action: Action, t: Time) -> Scalar:
    """-|a - GOAL|^2 / 2: its gradient is GOAL - a."""
    return -jnp.sum(jnp.square(action - GOAL)) / 2


def never(action: Action, t: Time) -> Scalar:
    raise AssertionError("the value was asked")


def two_modes(point: Action, t: Time) -> Action:
    """The exact velocity of two narrow Gaussians: (E[end | point at t] - point) / (1 - t)."""
    variance = (1 - t) ** 2 + (t * SPREAD) ** 2
    offsets = point[None] - t * MODES
    shares = jax.nn.softmax(-jnp.sum(jnp.square(offsets), axis=1) / (2 * variance))
    return (shares @ (MODES + t * SPREAD**2 / variance * offsets) - point) / (1 - t)


def rightness(action: Action, t: Time) -> Scalar:
    """Like a probability of success: it rises between the modes and is flat around them."""
    return jax.nn.sigmoid(8 * action[0])


def noise(sampler: Sampler, number: int = 200) -> jax.Array:
    return jax.random.normal(jax.random.key(0), (number, sampler.candidates, 2))


# Proposing


def test_the_plain_sampler_is_the_clipped_flow_and_never_asks_the_value() -> None:
    start = jnp.array([[3.0, -0.5]])
    action = Sampler(steps=7)(inwards, never, start)
    np.testing.assert_array_equal(action, clip(integrate(inwards, start[0], 7)))
    assert action[0] == 1.0


def test_guidance_applies_to_every_step() -> None:
    """On a flow that stands still, each of n steps takes w / n of the way to the goal that is left."""
    still = lambda point, t: jnp.zeros_like(point)  # noqa: E731
    action = Sampler(steps=4, guidance=NoisyGradient(0.8))(still, value, jnp.zeros((1, 2)))
    np.testing.assert_allclose(action, (1 - 0.8**4) * GOAL, rtol=1e-5)


@pytest.mark.parametrize("guided", [NoisyGradient, DenoisedGradient, JacobianGradient, RolloutGradient])
def test_weight_0_samples_as_without_guidance(guided: type) -> None:
    start = noise(Sampler(), 1)[0]
    guided_action = Sampler(guidance=guided(weight=0.0))(inwards, value, start)
    np.testing.assert_allclose(guided_action, Sampler(guidance=Unguided())(inwards, value, start), rtol=1e-6)


# Refining


def test_gradient_ascent_shrinks_the_distance_to_the_top_of_a_parabola() -> None:
    start = jnp.array([-0.5, 0.9])
    action = GradientAscent(size=0.1, steps=3)(value, start)
    np.testing.assert_allclose(action, GOAL + 0.9**3 * (start - GOAL), rtol=1e-5)


def test_the_sign_variant_moves_by_its_size_whatever_the_slope() -> None:
    start = jnp.array([0.0, 0.0])
    for slope in (1e-3, 1.0, 1e3):
        action = GradientAscent(size=0.1, steps=3, sign=True)(lambda action, t, k=slope: k * value(action, t), start)
        np.testing.assert_allclose(action, jnp.array([0.3, -0.3]), rtol=1e-5)


@pytest.mark.parametrize("sign", [False, True])
def test_refinement_never_leaves_the_box(sign: bool) -> None:
    steep = lambda action, t: 100 * jnp.sum(action)  # noqa: E731
    np.testing.assert_array_equal(GradientAscent(1.0, 5, sign)(steep, jnp.array([0.9, -0.9])), jnp.ones(2))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Sampler(steps=0), "steps must be at least 1, but is 0"),
        (lambda: Sampler(candidates=0), "candidates must be at least 1, but is 0"),
        (lambda: Sampler(guidance=RolloutGradient(0.1, steps=5)), "give RolloutGradient the 10 of its sampler, not 5"),
        (lambda: RolloutGradient(steps=0), "steps must be at least 1, but is 0"),
        (lambda: DenoisedGradient(-1.0), "weight must be at least 0, but is -1"),
        (lambda: DenoisedGradient(float("nan")), "weight must be at least 0, but is nan"),
        (lambda: GradientAscent(0.01, -1), "steps must be at least 0, but is -1"),
        (lambda: GradientAscent(float("nan"), 3), "size must be at least 0, but is nan"),
    ],
)
def test_what_cannot_be_sampled_is_told_when_it_is_made(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        make()


@pytest.mark.parametrize("rows", [2, 8, None])
def test_noise_of_other_candidates_is_an_error(rows: int | None) -> None:
    noise = jnp.zeros(2) if rows is None else jnp.zeros((rows, 2))
    with pytest.raises(InputError, match=r"noise must be a row for each of 4 candidates, but is of shape \("):
        inspect.unwrap(Sampler.choose)(Sampler(candidates=4), lambda noise: noise, lambda action, t: action[0], noise)


def test_a_value_of_several_numbers_is_an_error() -> None:
    with pytest.raises(InputError, match=r"value of an action must be one number, but is of shape \(2,\)"):
        Sampler(candidates=4).choose(lambda noise: noise, lambda action, t: action, jnp.zeros((4, 2)))


def test_no_step_of_refinement_changes_nothing() -> None:
    np.testing.assert_array_equal(GradientAscent(0.1, 0)(value, GOAL), GOAL)


def test_refinement_climbs_from_the_clean_action() -> None:
    start = jnp.array([[0.4, 0.4]])
    refinement = GradientAscent(0.1, 2)
    flowed = Sampler()(inwards, never, start)
    np.testing.assert_allclose(
        Sampler(refinement=refinement)(inwards, value, start), refinement(value, flowed), rtol=1e-6
    )


# Choosing


def test_the_candidate_of_largest_value_is_taken() -> None:
    starts = noise(Sampler(candidates=8), 10)
    alone = jax.vmap(jax.vmap(lambda row: Sampler()(inwards, never, row[None])))(starts)
    values = jax.vmap(jax.vmap(lambda action: value(action, 1.0)))(alone)
    chosen = jax.vmap(lambda start: Sampler(candidates=8)(inwards, value, start))(starts)
    np.testing.assert_allclose(chosen, alone[jnp.arange(10), jnp.argmax(values, axis=1)], rtol=1e-6)


def test_candidates_are_judged_after_refinement() -> None:
    """The value has a low hill at -0.5 and a high one at 0.5: what starts worse may end better."""
    hills = lambda action, t: -jnp.minimum((action[0] + 0.5) ** 2 + 0.01, (action[0] - 0.5) ** 2)  # noqa: E731
    start = jnp.array([[-0.49], [0.3]])
    choose = partial(Sampler.choose, propose=lambda noise: noise, value=hills, noise=start)
    assert choose(Sampler(candidates=2))[0] < 0
    assert choose(Sampler(candidates=2, refinement=GradientAscent(0.2, 20)))[0] == pytest.approx(0.5, abs=1e-3)


def test_an_actor_that_is_no_flow_can_be_chosen_from() -> None:
    start = jnp.array([[2.0, 0.0], [0.2, -0.1], [0.0, -3.0]])
    chosen = Sampler(candidates=3).choose(lambda noise: 2 * noise, value, start)
    np.testing.assert_allclose(chosen, jnp.array([0.4, -0.2]), rtol=1e-6)


def test_more_candidates_never_have_a_smaller_value() -> None:
    start = noise(Sampler(candidates=16), 20)
    best = [
        jax.jit(jax.vmap(lambda start, n=n: value(Sampler(candidates=n)(inwards, value, start[:n]), 1.0)))(start)
        for n in (1, 4, 16)
    ]
    assert jnp.all(best[0] <= best[1])
    assert jnp.all(best[1] <= best[2])
    assert jnp.any(best[0] < best[2])


# All together


@pytest.mark.parametrize("name", SAMPLERS)
def test_actions_lie_in_the_box(name: str) -> None:
    sampler = SAMPLERS[name]
    outwards = lambda point, t: 3 * point  # noqa: E731
    actions = jax.vmap(lambda start: sampler(outwards, value, start))(noise(sampler))
    assert jnp.max(jnp.abs(actions)) <= 1


@pytest.mark.parametrize("name", SAMPLERS)
def test_an_action_in_a_batch_is_the_action_alone(name: str) -> None:
    sampler = SAMPLERS[name]
    starts = noise(sampler, 4)
    act = jax.jit(lambda start: sampler(two_modes, value, start))
    for start, action in zip(starts, jax.vmap(act)(starts), strict=True):
        np.testing.assert_allclose(action, act(start), rtol=1e-4, atol=1e-5)


def test_the_weight_can_be_mapped_and_compiled_once() -> None:
    sampler = Sampler(guidance=DenoisedGradient())
    start = noise(sampler, 1)[0]
    weights = jnp.array([0.0, 0.3, 1.0])
    traced = []

    @jax.jit
    def act(sampler: Sampler) -> Action:
        traced.append(sampler)
        return sampler(inwards, value, start)

    mapped = jax.vmap(act)(jax.tree.map(lambda _: weights, sampler))
    for weight, action in zip(weights.tolist(), mapped, strict=True):
        one = act(Sampler(guidance=DenoisedGradient(weight)))
        np.testing.assert_allclose(action, one, rtol=1e-5)
    assert len(traced) == 2  # once mapped, once not, whatever the weight


def share_right(sampler: Sampler, *, samples: int = 1000) -> float:
    actions = jax.jit(jax.vmap(lambda start: sampler(two_modes, rightness, start)))(noise(sampler, samples))
    near = jnp.linalg.norm(actions - MODES[1][None], axis=1) < 3 * SPREAD
    return float(jnp.mean(near))


def test_the_two_modes_are_equally_likely_without_guidance() -> None:
    assert share_right(Sampler()) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("sampler", "least"),
    [
        (Sampler(guidance=NoisyGradient(1.0)), 0.65),
        (Sampler(guidance=DenoisedGradient(1.0)), 0.9),
        (Sampler(guidance=JacobianGradient(1.0)), 0.7),
        (Sampler(guidance=RolloutGradient(1.0)), 0.52),
        (Sampler(candidates=4), 0.88),  # 1 - 1/2^4 = 0.94 where all samples are near a mode
        (Sampler(guidance=DenoisedGradient(1.0), candidates=4), 0.97),
    ],
    ids=lambda value: "" if isinstance(value, float) else str(value),
)
def test_a_sampler_goes_to_the_mode_that_the_value_prefers(sampler: Sampler, least: float) -> None:
    assert share_right(sampler) >= least


def test_a_value_that_prefers_the_left_mode_leads_to_the_left() -> None:
    sampler: Any = Sampler(guidance=DenoisedGradient(1.0))
    actions = jax.vmap(lambda start: sampler(two_modes, lambda a, t: -rightness(a, t), start))(noise(sampler))
    assert jnp.mean(actions[:, 0] < 0) > 0.9
