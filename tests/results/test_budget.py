"""The tuning-budget curve: expectations that are known, trials that repeat, and what is refused."""

import math

import numpy as np
import pytest

from guidedflow.errors import InputError
from guidedflow.results.budget import budget_curve


def fixed(*values: float) -> dict[str, list[float]]:
    """Policies whose episodes all end alike."""
    return {f"policy{i}": [value] * 3 for i, value in enumerate(values)}


def best_of(values: list[float], count: int) -> float:
    """Expected largest of `count` values drawn without replacement."""
    ordered = sorted(values)
    ways = [math.comb(i, count - 1) for i in range(len(ordered))]  # subsets in which value i is the largest
    return sum(w * v for w, v in zip(ways, ordered, strict=True)) / math.comb(len(ordered), count)


@pytest.mark.parametrize("shift", [0.0, -10.0])
def test_while_arms_are_first_pulled_the_best_of_so_many_policies_is_deployed(shift: float) -> None:
    """Of returns below 0 as well: a policy that was never tried is not taken for one of return 0."""
    values = [shift + value for value in (0.1, 0.2, 0.4, 0.5, 0.9, 1.0)]
    curve = budget_curve(fixed(*values), arms=4, pulls=12, trials=4000)
    for budget in range(1, 13):
        interval = curve.intervals[budget - 1]
        assert curve.values[budget - 1] == pytest.approx(best_of(values, min(budget, 4)), abs=0.02)
        assert interval.low <= curve.values[budget - 1] <= interval.high


def test_the_first_episode_deploys_a_random_policy() -> None:
    """Whatever that episode's outcome: 0.5, the mean of policies, not of those that succeed."""
    generator = np.random.default_rng(0)
    outcomes = {str(rate): (generator.random(400) < rate).astype(float) for rate in (0.1, 0.9)}
    curve = budget_curve(outcomes, arms=2, pulls=1, trials=4000)
    assert curve.values[0] == pytest.approx(np.mean([each.mean() for each in outcomes.values()]), abs=0.03)


def test_a_long_budget_finds_the_best_policy_among_those_drawn() -> None:
    generator = np.random.default_rng(1)
    rates = np.linspace(0.1, 0.9, 5)
    outcomes = {str(i): (generator.random(200) < rate).astype(float) for i, rate in enumerate(rates)}
    curve = budget_curve(outcomes, arms=5, pulls=300, trials=300)
    best = max(each.mean() for each in outcomes.values())
    assert curve.values[-1] == pytest.approx(best, abs=0.03)
    assert curve.values[0] < curve.values[20] < curve.values[-1]
    assert (curve.policies, curve.arms, curve.trials, len(curve.values)) == (5, 5, 300, 300)


def test_the_scale_of_scores_is_taken_into_account() -> None:
    generator = np.random.default_rng(2)
    outcomes = {str(i): (generator.random(50) < rate).astype(float) for i, rate in enumerate((0.3, 0.5, 0.7))}
    hundredfold = {name: 100 * found for name, found in outcomes.items()}
    curve = budget_curve(outcomes, arms=2, pulls=30, trials=50)
    other = budget_curve(hundredfold, arms=2, pulls=30, trials=50, scale=100)
    assert other.values == pytest.approx([100 * value for value in curve.values])


def test_the_interval_is_of_the_mean_over_trials() -> None:
    values = [0.0, 1.0]
    curve = budget_curve(fixed(*values), arms=1, pulls=1, trials=1000)
    half = (curve.intervals[0].high - curve.intervals[0].low) / 2
    assert half == pytest.approx(1.96 * 0.5 / math.sqrt(1000), rel=0.02)


def test_the_interval_covers_what_many_trials_give() -> None:
    outcomes = fixed(0.1, 0.2, 0.4, 0.5, 0.9, 1.0)
    truth, hits = best_of([0.1, 0.2, 0.4, 0.5, 0.9, 1.0], 2), 0
    for seed in range(500):
        interval = budget_curve(outcomes, arms=2, pulls=2, trials=40, seed=seed).intervals[1]
        hits += interval.low <= truth <= interval.high
    assert 93 <= hits / 5 <= 97


def test_the_same_seed_gives_the_same_curve_in_any_order() -> None:
    generator = np.random.default_rng(3)
    outcomes = {f"p{i}": generator.random(size) for i, size in enumerate((5, 9, 7))}
    curve = budget_curve(outcomes, arms=2, pulls=10, trials=100, seed=4)
    assert budget_curve(dict(reversed(outcomes.items())), arms=2, pulls=10, trials=100, seed=4) == curve
    assert budget_curve(outcomes, arms=2, pulls=10, trials=100, seed=5) != curve


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"arms": 3}, "has 2 policies and 3 arms; lower arms"),
        ({"pulls": 0}, "a pull and two trials, but has 0 and"),
        ({"trials": 1}, "but has 10 and 1"),
        ({"scale": 0.0}, "scale must be the range of outcomes"),
        ({"level": 95.0}, "level"),
    ],
)
def test_what_makes_no_curve_is_refused(changed: dict[str, float], sentence: str) -> None:
    settings: dict[str, float] = {"arms": 2, "pulls": 10, "trials": 50}
    with pytest.raises(InputError, match=sentence):
        budget_curve(fixed(0.0, 1.0), **(settings | changed))  # type: ignore[arg-type]


def test_a_policy_without_finite_outcomes_is_refused() -> None:
    for bad in ([], [math.nan]):
        with pytest.raises(InputError, match="'b'"):
            budget_curve({"a": [1.0], "b": bad}, arms=1)
