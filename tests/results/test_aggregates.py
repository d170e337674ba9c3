"""A method over tasks: closed forms, reproducible intervals, coverage, and what is refused."""

import math

import numpy as np
import pytest
from scipy import stats

from guidedflow.errors import InputError
from guidedflow.results import aggregates
from guidedflow.results.aggregates import Aggregate

GENERATOR = np.random.default_rng(0)
SUITE = {f"task{i}": GENERATOR.beta(2 + i, 4, size=5).tolist() for i in range(4)}
OTHER = {task: GENERATOR.beta(2, 4, size=8).tolist() for task in SUITE}
EVERY = [
    aggregates.mean,
    aggregates.optimality_gap,
    aggregates.interquartile_mean,
    lambda scores: aggregates.probability_of_improvement(scores, OTHER),
    lambda scores: aggregates.performance_profile(scores, [0.3]).shares[0],
]


def ends(found: Aggregate) -> tuple[float, float]:
    assert found.interval is not None
    return found.interval.low, found.interval.high


# Closed forms.


def test_a_mean_of_one_task_has_the_t_interval() -> None:
    scores = SUITE["task0"]
    found = aggregates.mean({"task0": scores})
    assert found.value == pytest.approx(np.mean(scores))
    assert ends(found) == pytest.approx(tuple(stats.ttest_1samp(scores, 0).confidence_interval(0.95)))
    assert (found.tasks, found.seeds) == (1, 5)


def test_a_mean_of_two_tasks_has_welch_s_interval() -> None:
    """The mean of x and y is half the difference of x and -y."""
    x, y = np.array([1.0, 2.0, 4.0]), np.array([10.0, 30.0, 20.0, 25.0, 5.0])
    low, high = stats.ttest_ind(x, -y, equal_var=False).confidence_interval(0.95)
    found = aggregates.mean({"x": x, "y": y})
    assert found.value == pytest.approx((x.mean() + y.mean()) / 2)
    assert ends(found) == pytest.approx((low / 2, high / 2))
    assert (found.tasks, found.seeds) == (2, 3)


def test_the_interquartile_mean_is_that_of_scipy() -> None:
    pooled = np.concatenate([SUITE[task] for task in SUITE])
    assert aggregates.interquartile_mean(SUITE).value == pytest.approx(stats.trim_mean(pooled, 0.25))
    assert aggregates.interquartile_mean({"a": [0.0, 4.0, 5.0, 100.0]}).value == pytest.approx(4.5)


def test_the_interval_of_an_untrimmed_interquartile_mean_is_that_of_the_mean() -> None:
    """Three scores of one task: nothing is trimmed, and the bootstrap finds the standard error of the mean."""
    scores = {"a": [0.1, 0.7, 0.4]}
    found = aggregates.interquartile_mean(scores, resamples=20_000)
    assert ends(found) == pytest.approx(ends(aggregates.mean(scores)), abs=0.02)


def test_the_optimality_gap_counts_what_is_missing_to_the_target() -> None:
    found = aggregates.optimality_gap({"a": [0.5, 0.7, 1.2], "b": [0.9, 1.0, 0.8]})
    assert found.value == pytest.approx((0.8 / 3 + 0.3 / 3) / 2)
    assert ends(found)[0] == 0.0
    mean = aggregates.mean(SUITE)  # below the target, the gap is the distance of the mean
    assert ends(aggregates.optimality_gap(SUITE)) == pytest.approx((1 - ends(mean)[1], 1 - ends(mean)[0]))


def test_the_probability_of_improvement_is_that_of_mann_and_whitney() -> None:
    expected = [stats.mannwhitneyu(SUITE[t], OTHER[t]).statistic / (5 * 8) for t in SUITE]
    assert aggregates.probability_of_improvement(SUITE, OTHER).value == pytest.approx(np.mean(expected))


def test_ties_count_half_and_methods_are_symmetric() -> None:
    first, second = {"a": [0.2, 0.4, 0.4]}, {"a": [0.4, 0.0, 0.4]}
    found, reverse = (aggregates.probability_of_improvement(*pair) for pair in ((first, second), (second, first)))
    assert found.value == pytest.approx((1 + 2 + 2) / 9)
    assert reverse.value == pytest.approx(1 - found.value)
    assert ends(reverse) == pytest.approx((1 - ends(found)[1], 1 - ends(found)[0]))


def test_the_standard_error_of_improvement_is_that_of_brunner_and_munzel() -> None:
    """With many runs the interval is Wilson's at the number of runs that has this error."""
    x, y = np.random.default_rng(4).normal(size=(2, 60))
    found = aggregates.probability_of_improvement({"a": x}, {"a": y})
    statistic = stats.brunnermunzel(y, x).statistic  # (estimate - 1/2) / error
    error = (found.value - 0.5) / statistic
    low, high = ends(found)
    assert (high - low) / 2 == pytest.approx(1.98 * error, rel=0.03)


def test_a_clear_winner_has_a_lower_end_from_the_number_of_runs() -> None:
    """All 5 runs beat all 5: Wilson's interval of 10 successes of 10, with t of 4 degrees of freedom."""
    found = aggregates.probability_of_improvement({"a": [5.0, 6, 7, 8, 9]}, {"a": [0.0, 1, 2, 3, 4]})
    assert found.value == 1.0
    assert ends(found) == pytest.approx((10 / (10 + stats.t.ppf(0.975, 4) ** 2), 1.0))


def test_a_profile_is_the_share_of_runs_above_each_threshold() -> None:
    profile = aggregates.performance_profile({"a": [0.1, 0.5, 0.9], "b": [0.5, 0.5, 0.6]}, [0.0, 0.5, 0.9])
    assert profile.thresholds == (0.0, 0.5, 0.9)
    assert [share.value for share in profile.shares] == pytest.approx([1.0, 1 / 3, 0.0])
    for share in profile.shares:
        low, high = ends(share)
        assert 0 <= low <= share.value <= high <= 1
        assert low < high


def test_a_profile_of_one_task_has_wilson_s_interval_with_student_s_t() -> None:
    scores = {"a": [0.0] * 6 + [1.0] * 14}
    number, t = 19, stats.t.ppf(0.975, 19)  # p (1 - p) over the variance of the mean, s^2 / n
    half = t / (1 + t**2 / number) * math.sqrt(0.7 * 0.3 / number + t**2 / 4 / number**2)
    centre = (0.7 + t**2 / 2 / number) / (1 + t**2 / number)
    assert ends(aggregates.performance_profile(scores, [0.5]).shares[0]) == pytest.approx(
        (centre - half, centre + half)
    )


# Reproducibility.


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    first, again, other = (aggregates.interquartile_mean(SUITE, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert ends(first) != ends(other)
    assert ends(first) == pytest.approx(ends(other), abs=0.02)
    assert first.value == other.value


def test_the_global_generator_does_not_matter() -> None:
    np.random.seed(0)  # noqa: NPY002
    first = aggregates.interquartile_mean(SUITE)
    np.random.seed(1)  # noqa: NPY002
    assert aggregates.interquartile_mean(SUITE) == first


@pytest.mark.parametrize("aggregate", EVERY)
def test_neither_order_of_tasks_nor_of_seeds_matters(aggregate: object) -> None:
    assert callable(aggregate)
    mixed = {task: SUITE[task][::-1] for task in reversed(SUITE)}
    assert aggregate(mixed) == aggregate(SUITE)


# Intervals that are not given.


@pytest.mark.parametrize("aggregate", EVERY)
def test_two_seeds_have_no_interval(aggregate: object) -> None:
    assert callable(aggregate)
    found = aggregate({task: scores[: 2 if task == "task1" else 5] for task, scores in SUITE.items()})
    assert found.interval is None
    assert found.seeds == 2


def test_an_aggregate_is_printed_with_its_interval_or_without() -> None:
    found = aggregates.mean(SUITE)
    assert str(found) == f"{found.value:.3f} {found.interval} (4 tasks, 5 seeds)"
    assert str(aggregates.mean({"a": [0.25]})) == "0.250 no interval (1 task, 1 seed)"


def test_equal_scores_have_no_interval() -> None:
    same = {"a": [0.1] * 5, "b": [0.7] * 5}
    for aggregate in (aggregates.mean, aggregates.optimality_gap, aggregates.interquartile_mean):
        assert aggregate(same).interval is None
    assert aggregates.mean(same).value == pytest.approx(0.4)


def test_an_interval_is_cut_at_the_bounds_of_scores() -> None:
    scores = {"a": [0.7, 0.95, 1.0]}
    assert ends(aggregates.mean(scores))[1] > 1
    assert ends(aggregates.mean(scores, bounds=(0, 1)))[1] == 1
    assert ends(aggregates.interquartile_mean(scores, bounds=(0, 1)))[1] == 1


# Coverage.


def coverage(aggregate: object, truth: float, *shape: int, shift: float | None = None) -> float:
    """Percentage of 2,000 repetitions with Beta(2, 2) scores, or normal ones of two methods, that contain the truth."""
    assert callable(aggregate)
    generator, hits = np.random.default_rng(0), 0
    for _ in range(2000):
        draws = generator.beta(2, 2, shape) if shift is None else generator.normal(size=(2, *shape))
        methods = [draws] if shift is None else [draws[0] + shift, draws[1]]
        low, high = ends(aggregate(*({str(task): row for task, row in enumerate(method)} for method in methods)))
        hits += low <= truth <= high
    return hits / 20


def test_a_mean_over_tasks_covers() -> None:
    assert 93 <= coverage(aggregates.mean, 0.5, 5, 5) <= 97


def test_the_probability_of_improvement_covers() -> None:
    truth = float(stats.norm.cdf(1 / math.sqrt(2)))
    assert 93 <= coverage(aggregates.probability_of_improvement, truth, 5, 8, shift=1.0) <= 97


def test_a_profile_covers() -> None:
    share = float(stats.beta.sf(0.3, 2, 2))
    found = coverage(lambda s: aggregates.performance_profile(s, [0.3]).shares[0], share, 5, 8)
    assert 93 <= found <= 97


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 8, 20])
@pytest.mark.parametrize("tasks", [1, 5])
def test_the_interquartile_mean_covers(tasks: int, seeds: int) -> None:
    """Within two points of 95 %, and two standard errors; a percentile bootstrap has 75 % at one task and 3 seeds."""
    found = coverage(lambda s: aggregates.interquartile_mean(s, resamples=500), 0.5, tasks, seeds)
    assert 92 <= found <= 98


# What is refused.


@pytest.mark.parametrize("aggregate", EVERY[:3])
@pytest.mark.parametrize(
    ("scores", "sentence"),
    [({}, "at least one task"), ({"a": []}, r"'a' has \[\]"), ({"a": [1.0], "b": [math.inf]}, r"'b' has \[inf\]")],
)
def test_scores_that_are_missing_or_not_finite_are_refused(
    aggregate: object, scores: dict[str, list[float]], sentence: str
) -> None:
    assert callable(aggregate)
    with pytest.raises(InputError, match=sentence):
        aggregate(scores)


def test_methods_are_compared_on_tasks_that_both_have() -> None:
    with pytest.raises(InputError, match=r"only one of them has \['b', 'c'\]"):
        aggregates.probability_of_improvement({"a": [1.0], "b": [1.0]}, {"a": [1.0], "c": [1.0]})


def test_a_bootstrap_needs_resamples_and_an_interval_a_level() -> None:
    with pytest.raises(InputError, match="100 resamples, but has 10"):
        aggregates.interquartile_mean(SUITE, resamples=10)
    with pytest.raises(InputError, match="level"):
        aggregates.mean(SUITE, level=95)
