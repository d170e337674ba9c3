"""One method on one task, and two on the same episodes: closed forms, coverage, and what is refused."""

import doctest
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from scipy import stats

from guidedflow.errors import InputError
from guidedflow.results import confidence, statistics
from guidedflow.results.confidence import Interval, binomial

Draw = Callable[[np.random.Generator, int], np.ndarray]


def rolled(*rates: float, episodes: int = 50) -> dict[int, list[float]]:
    """Episodes of seeds 0, 1, ... with these success rates, successes first."""
    return {seed: [float(e < round(rate * episodes)) for e in range(episodes)] for seed, rate in enumerate(rates)}


def shuffled(seeds: int, rate: float, generator: np.random.Generator) -> dict[int, np.ndarray]:
    return {seed: (generator.random(50) < rate).astype(float) for seed in range(seeds)}


def ends(interval: Interval | None) -> tuple[float, float]:
    assert interval is not None
    return interval.low, interval.high


# Mean and deviation.


def test_a_cell_has_the_mean_of_all_episodes_and_the_population_deviation_of_seeds() -> None:
    cell = statistics.success(rolled(0.8, 0.9, 1.0))
    assert cell.mean == pytest.approx(0.9)
    assert cell.deviation == pytest.approx(math.sqrt(0.02 / 3))  # divided by 3, not by 2
    assert cell.by_seed == {0: pytest.approx(0.8), 1: pytest.approx(0.9), 2: pytest.approx(1.0)}
    assert (cell.seeds, cell.episodes) == (3, 50)


def test_a_cell_of_few_seeds_has_no_interval_and_prints_each_seed() -> None:
    cell = statistics.success(rolled(0.8, 0.9))
    assert cell.interval is None
    assert str(cell) == "0.850 ± 0.050 (2 seeds x 50 episodes: 0.800, 0.900)"
    assert statistics.score(rolled(0.8, 0.9)).interval is None
    assert statistics.paired(rolled(0.8, 0.9), rolled(0.7, 0.7)).interval is None


def test_a_cell_of_three_seeds_prints_its_interval() -> None:
    cell = statistics.success(rolled(0.8, 0.9, 1.0))
    low, high = ends(cell.interval)
    assert str(cell) == f"0.900 ± 0.082 [{low:.3f}, {high:.3f}] (3 seeds x 50 episodes)"


def test_outcomes_may_be_truth_values_counts_or_fractions() -> None:
    expected = statistics.success({0: [1.0, 0.0], 1: [1.0, 1.0], 2: [0.0, 1.0]})
    assert statistics.success({0: np.array([True, False]), 1: np.array([1, 1]), 2: [0, 1]}) == expected
    repeated = statistics.success({seed: [1 / 3, 2 / 3, 1.0] for seed in range(3)})  # the mean of three evaluations
    assert repeated.mean == pytest.approx(2 / 3)
    assert repeated.interval is not None


# Closed forms.


def test_one_policy_has_wilson_s_interval() -> None:
    """120 of 150, by the formula."""
    z, n, p = stats.norm.ppf(0.975), 150, 0.8
    centre, half = (p + z**2 / (2 * n)) / (1 + z**2 / n), z / (1 + z**2 / n) * math.sqrt(p * 0.2 / n + z**2 / 4 / n**2)
    assert ends(binomial(120, 150)) == pytest.approx((centre - half, centre + half))
    assert str(binomial(120, 150)) == "[0.729, 0.856]"


def test_one_policy_may_have_clopper_and_pearson_s_interval() -> None:
    """With no success the upper end solves (1 - p)^n = 0.025."""
    assert ends(binomial(0, 20, method="clopper-pearson")) == pytest.approx((0.0, 1 - 0.025 ** (1 / 20)))
    assert ends(binomial(20, 20, method="clopper-pearson")) == pytest.approx((0.025 ** (1 / 20), 1.0))


@pytest.mark.parametrize(("method", "least", "mean"), [("wilson", 93.2, 95.2), ("clopper-pearson", 95.3, 96.7)])
def test_one_policy_is_covered(method: Literal["wilson", "clopper-pearson"], least: float, mean: float) -> None:
    """By exact sums over the outcomes of 50 episodes, at rates from 0.05 to 0.95, as docs/statistics.md says."""
    rates, counts = np.linspace(0.05, 0.95, 181)[:, None], np.arange(51)
    low, high = np.array([ends(binomial(count, 50, method=method)) for count in counts.tolist()]).T
    covered = 100 * np.sum(stats.binom.pmf(counts, 50, rates) * ((low <= rates) & (rates <= high)), axis=1)
    assert (covered.min(), covered.mean()) == (pytest.approx(least, abs=0.05), pytest.approx(mean, abs=0.05))


def test_where_no_seed_differs_the_episodes_alone_count() -> None:
    """All succeed: Clopper and Pearson's interval of 3 x 50 episodes."""
    cell = statistics.success(rolled(1.0, 1.0, 1.0))
    assert ends(cell.interval) == pytest.approx(ends(binomial(150, 150, method="clopper-pearson")))


def test_the_effective_number_of_episodes_is_that_of_korn_and_graubard() -> None:
    """Each seed's episodes are all alike: seeds are the unit."""
    outcomes = np.repeat([[1.0], [1.0], [1.0], [0.0], [0.0]], 50, axis=1)
    variance = outcomes[:, 0].var(ddof=1) / 5
    number = 0.6 * 0.4 / variance * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 4)) ** 2
    expected = (
        stats.beta.ppf(0.025, 0.6 * number, 0.4 * number + 1),
        stats.beta.ppf(0.975, 0.6 * number + 1, 0.4 * number),
    )
    assert ends(confidence.proportion(outcomes)) == pytest.approx(expected)


def test_where_episodes_do_not_matter_a_mean_has_the_t_interval_of_seeds() -> None:
    seeds = [3.0, 4.5, 4.0, 7.0, 5.5]
    found = statistics.score({seed: [mean] * 10 for seed, mean in enumerate(seeds)})
    assert ends(found.interval) == pytest.approx(tuple(stats.ttest_1samp(seeds, 0).confidence_interval(0.95)))
    assert ends(statistics.score({seed: [mean] for seed, mean in enumerate(seeds)}).interval) == pytest.approx(
        ends(found.interval)
    )


def test_where_only_episodes_matter_a_mean_has_the_t_interval_of_episodes() -> None:
    """Seeds that play episodes alike are no evidence about other episodes."""
    episodes = np.random.default_rng(0).normal(size=30)
    found = statistics.score(dict.fromkeys(range(8), episodes))
    assert ends(found.interval) == pytest.approx(tuple(stats.ttest_1samp(episodes, 0).confidence_interval(0.95)))


def test_crossed_variance_is_that_of_the_analysis_of_variance() -> None:
    """A table of 3 seeds and 3 episodes, by hand."""
    outcomes = np.array([[1.0, 2.0, 6.0], [2.0, 4.0, 6.0], [6.0, 9.0, 9.0]])
    seeds, episodes, rest = 21.0, 12.0, 1.0  # sums of squares 42, 24 and 4 over 2, 2 and 4 degrees of freedom
    total = seeds + episodes - rest
    error = confidence.crossed(outcomes)
    assert error.size == pytest.approx(math.sqrt(total / 9))
    assert error.freedom == pytest.approx(total**2 / (seeds**2 / 2 + episodes**2 / 2 + rest**2 / 4))


def test_order_of_seeds_and_episodes_does_not_matter() -> None:
    generator = np.random.default_rng(3)
    episodes = shuffled(5, 0.7, generator)
    order = generator.permutation(50)
    other = {seed: episodes[seed][order] for seed in reversed(episodes)}
    first, second = statistics.success(episodes), statistics.success(other)
    assert ends(first.interval) == pytest.approx(ends(second.interval))
    assert second.by_seed == first.by_seed


# Paired comparison.


def test_a_comparison_subtracts_episode_by_episode() -> None:
    found = statistics.paired(rolled(0.8, 0.9, 1.0, 0.4), rolled(0.7, 0.9, 0.7, 0.5))
    assert found.by_seed == {seed: pytest.approx(d) for seed, d in enumerate((0.1, 0.0, 0.3, -0.1))}
    assert found.difference == pytest.approx(0.075)
    assert (found.better, found.seeds, found.episodes) == (2, 4, 50)


def test_a_p_value_is_that_of_the_interval_that_touches_0() -> None:
    generator = np.random.default_rng(0)
    ours, theirs = shuffled(5, 0.8, generator), shuffled(5, 0.7, generator)
    p_value = statistics.paired(ours, theirs).p_value
    assert p_value is not None
    assert 0 < p_value < 1
    assert min(map(abs, ends(statistics.paired(ours, theirs, level=1 - p_value).interval))) == pytest.approx(
        0, abs=1e-9
    )
    reverse = statistics.paired(theirs, ours)
    assert reverse.p_value == pytest.approx(p_value)


def test_a_p_value_is_that_of_the_t_test_of_seeds_where_episodes_do_not_matter() -> None:
    ours, theirs = [3.0, 4.5, 4.0, 7.0, 5.5], [2.0, 3.0, 3.9, 5.0, 5.1]
    found = statistics.paired(*({seed: [mean] * 10 for seed, mean in enumerate(means)} for means in (ours, theirs)))
    assert found.p_value == pytest.approx(stats.ttest_rel(ours, theirs).pvalue)


def test_pairing_removes_the_difficulty_of_episodes() -> None:
    generator = np.random.default_rng(1)
    difficulty = 10 * generator.normal(size=40)
    ours, theirs = ({seed: difficulty + generator.normal(size=40) for seed in range(5)} for _ in range(2))
    low, high = ends(statistics.paired(ours, theirs).interval)
    alone = ends(statistics.score(ours).interval)
    assert high - low < 0.2 * (alone[1] - alone[0])


def test_equal_methods_have_no_interval() -> None:
    found = statistics.paired(rolled(0.8, 0.9, 1.0), rolled(0.8, 0.9, 1.0))
    assert (found.difference, found.interval, found.p_value) == (0.0, None, None)
    assert statistics.score({seed: [0.1] * 7 for seed in range(5)}).interval is None


# Coverage.


def tries(logit: float, of_seeds: float, of_episodes: float) -> Draw:
    """Success of 50 episodes whose log odds have normal effects of the seed and of the episode."""

    def draw(generator: np.random.Generator, seeds: int) -> np.ndarray:
        odds = logit + of_seeds * generator.normal(size=(seeds, 1)) + of_episodes * generator.normal(size=(1, 50))
        return (generator.random((seeds, 50)) < 1 / (1 + np.exp(-odds))).astype(float)

    return draw


def coverage(draw: Draw, truth: float, interval: Callable[[np.ndarray], Interval | None], seeds: int) -> float:
    """Percentage of 2,000 repetitions whose interval contains the truth."""
    generator = np.random.default_rng(seeds)
    found = (interval(draw(generator, seeds)) for _ in range(2000))
    return sum(each is not None and each.low <= truth <= each.high for each in found) / 20


def truth(logit: float, of_seeds: float, of_episodes: float) -> float:
    odds = logit + math.hypot(of_seeds, of_episodes) * np.random.default_rng(0).normal(size=400_000)
    return float(np.mean(1 / (1 + np.exp(-odds))))


@pytest.mark.parametrize("seeds", [5, 20])
def test_the_interval_of_success_covers_where_both_seeds_and_episodes_differ(seeds: int) -> None:
    """Within two points of 95 %; a t interval over seeds has 90 % at 20 seeds, one of all episodes 50 %."""
    spread = (0.5, 1.0, 1.0)
    assert 93 <= coverage(tries(*spread), truth(*spread), confidence.proportion, seeds) <= 97


def returns(generator: np.random.Generator, seeds: int) -> np.ndarray:
    """Normal returns of 50 episodes, with effects of the seed, of the episode, and of both."""
    effects = generator.normal(size=(seeds, 1)) + 2 * generator.normal(size=(1, 50))
    return effects + 3 * generator.normal(size=(seeds, 50))


def test_the_interval_of_returns_covers_where_both_seeds_and_episodes_differ() -> None:
    assert 93 <= coverage(returns, 0.0, confidence.mean, 5) <= 97


def test_an_interval_of_three_seeds_covers() -> None:
    spread = (0.5, 1.0, 1.0)
    assert coverage(tries(*spread), truth(*spread), confidence.proportion, 3) >= 93


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [5, 8, 20])
@pytest.mark.parametrize("logit", [0.0, 1.5, 3.0])
@pytest.mark.parametrize("spread", [(0.0, 0.0), (1.0, 0.0), (0.3, 2.0), (1.0, 1.0)])
def test_success_is_covered_wherever_seeds_do_not_collapse(
    logit: float, spread: tuple[float, float], seeds: int
) -> None:
    """Too seldom by two points nowhere; too often where seeds do not differ, because three seeds cannot know that."""
    assert coverage(tries(logit, *spread), truth(logit, *spread), confidence.proportion, seeds) >= 93


# The page.


def test_the_examples_on_the_page_are_what_python_prints() -> None:
    page = Path(__file__).parents[2] / "docs" / "statistics.md"
    failed, tried = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert (failed, tried > 5) == (0, True)


# What is refused.


@pytest.mark.parametrize(
    ("episodes", "sentence"),
    [
        ({}, "at least one training seed"),
        ({0: [1.0], 1: []}, "at least one episode"),
        ({0: [1.0, 0.0], 1: [1.0]}, r"the numbers of episodes are \{0: 2, 1: 1\}"),
        ({0: [1.0], 7: [math.nan]}, "training seed 7"),
        ({0: [1.0], 1: [3.0]}, "between 0 and 1, but outcomes reach from 1 to 3; use score for returns"),
    ],
)
def test_success_refuses(episodes: dict[int, Sequence[float]], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        statistics.success(episodes)


def test_a_comparison_refuses_other_seeds_and_other_episodes() -> None:
    with pytest.raises(InputError, match=r"the same training seeds, but found \[0, 1\] and \[0\]"):
        statistics.paired(rolled(0.5, 0.5), rolled(0.5))
    with pytest.raises(InputError, match="found 50 and 20 a seed"):
        statistics.paired(rolled(0.5), rolled(0.5, episodes=20))


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_lies_between_0_and_1(level: float) -> None:
    for call in (lambda: statistics.score(rolled(0.5), level), lambda: binomial(1, 2, level)):
        with pytest.raises(InputError, match="level"):
            call()


@pytest.mark.parametrize(("successes", "episodes"), [(3, 2), (-1, 2), (0, 0)])
def test_a_binomial_interval_refuses_impossible_counts(successes: int, episodes: int) -> None:
    with pytest.raises(InputError, match=f"{successes} of {episodes}"):
        binomial(successes, episodes)
