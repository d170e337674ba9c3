"""Confidence intervals that hold for few training seeds.

    binomial      episodes of one policy: Wilson, or Clopper and Pearson
    proportion    success of a method: seeds and episodes are both random
    mean          return of a method, or a difference of two: seeds and episodes are both random
    stratified    a mean over tasks, each with seeds of its own
    effective     a proportion whose variance is known from elsewhere

`docs/statistics.md` states the measured coverage of each.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import special

from guidedflow.errors import InputError

LEVEL = 0.95
"""Default probability with which an interval contains the true value."""

FEWEST_SEEDS = 3
"""Fewer training seeds get no interval: their scores are printed one by one."""

Outcomes = Float[np.ndarray, "seeds episodes"]


@dataclass(frozen=True)
class Interval:
    """Two-sided confidence interval: its ends, its nominal level, and the name of its method."""

    low: float
    high: float
    level: float
    method: str

    def __str__(self) -> str:
        return f"[{self.low:.3f}, {self.high:.3f}]"


class Error(NamedTuple):
    """Standard error of an estimate, and the degrees of freedom that it was estimated with."""

    size: float
    freedom: float


def binomial(
    successes: int,
    episodes: int,
    level: float = LEVEL,
    method: Literal["wilson", "clopper-pearson"] = "wilson",
) -> Interval:
    """Interval of the success rate of one policy, from independent episodes.

    It describes that policy alone, because it does not see how far training seeds differ.
    Raises `InputError` unless 0 <= successes <= episodes and 1 <= episodes.
    """
    check_level(level)
    if not 0 <= successes <= episodes or episodes < 1:
        raise InputError(
            f"A success rate needs 0 <= successes <= episodes and an episode, but has {successes} of {episodes}."
        )
    from scipy import stats  # takes a second to import

    name = "exact" if method == "clopper-pearson" else "wilson"
    found = stats.binomtest(successes, episodes).proportion_ci(confidence_level=level, method=name)
    return Interval(float(found.low), float(found.high), level, method)


def proportion(outcomes: Outcomes, level: float = LEVEL) -> Interval:
    """Interval of a success rate over training seeds and evaluation episodes, from outcomes in [0, 1].

    The union of two Clopper-Pearson intervals: one of all episodes as if seeds did not matter, one of the effective
    number of episodes. That is the number of independent episodes with the variance of `crossed`, reduced for the
    degrees of freedom of that variance (Korn and Graubard, Survey Methodology 24, 1998).
    """
    rate, episodes = float(outcomes.mean()), float(outcomes.size)
    ends = [_clopper_pearson(rate, episodes, level)]
    error = crossed(outcomes)
    if not negligible(error.size, outcomes):
        shrinkage = (quantile(level, math.inf) / quantile(level, error.freedom)) ** 2
        ends.append(_clopper_pearson(rate, rate * (1 - rate) / error.size**2 * shrinkage, level))
    lows, highs = zip(*ends, strict=True)
    return Interval(min(lows), max(highs), level, "clopper-pearson, effective episodes")


def mean(outcomes: Outcomes, level: float = LEVEL) -> Interval | None:
    """Interval of a mean over training seeds and evaluation episodes: Student's t with the variance of `crossed`.

    It is never narrower than that of independent episodes. None if all outcomes are equal.
    """
    errors = mean_errors(outcomes)
    if all(negligible(error.size, outcomes) for error in errors):
        return None
    half = max(quantile(level, error.freedom) * error.size for error in errors)
    return around(float(outcomes.mean()), half, level, "t, seeds and episodes")


def mean_errors(outcomes: Outcomes) -> tuple[Error, Error]:
    """Standard errors of the mean outcome: of random seeds and episodes, and of independent episodes."""
    independent = float(outcomes.std()) / math.sqrt(outcomes.size)
    return crossed(outcomes), Error(independent, math.inf)


def crossed(outcomes: Outcomes) -> Error:
    """Standard error of the mean outcome where each seed plays the same episodes.

    Both seeds and episodes are random: two-way analysis of variance, mean squares of seeds plus episodes minus
    interaction, degrees of freedom by Satterthwaite. At least the error of seeds alone is returned, which leaves
    episodes out. Episodes that the seeds do not share do no harm.
    """
    seeds, episodes = outcomes.shape
    centred = outcomes - outcomes.mean()
    of_seeds, of_episodes = centred.mean(axis=1, keepdims=True), centred.mean(axis=0, keepdims=True)
    interaction = centred - of_seeds - of_episodes
    freedom = np.maximum([seeds - 1, episodes - 1, (seeds - 1) * (episodes - 1)], 1)
    squares = np.array([episodes * np.sum(of_seeds**2), seeds * np.sum(of_episodes**2), np.sum(interaction**2)])
    between, across, rest = (squares / freedom).tolist()
    both = between + across - rest
    if both <= between:
        return Error(math.sqrt(between / outcomes.size), float(freedom[0]))
    found = both**2 / float(np.sum((squares / freedom) ** 2 / freedom))
    return Error(math.sqrt(both / outcomes.size), max(float(freedom[0]), found))


def stratified(variances: Float[np.ndarray, " strata"], freedom: Float[np.ndarray, " strata"]) -> Error:
    """Standard error of a sum of independent estimates, from their variances and degrees of freedom.

    Degrees of freedom by Welch and Satterthwaite, and at least the smallest given.
    """
    total, fewest = float(variances.sum()), float(freedom.min())
    if total <= 0:
        return Error(0.0, fewest)
    return Error(math.sqrt(total), max(fewest, total**2 / float(np.sum(variances**2 / freedom))))


def effective(rate: float, error: Error, runs: float, most: float, level: float = LEVEL) -> Interval:
    """Wilson's interval of a proportion with a given standard error, by the number of independent runs that has it.

    That number is at most `most`, and `runs` where the estimated error is 0. Student's t replaces the normal quantile.
    """
    number = min(rate * (1 - rate) / error.size**2, most) if error.size > 0 and 0 < rate < 1 else runs
    squared = quantile(level, error.freedom) ** 2
    centre = (rate + squared / (2 * number)) / (1 + squared / number)
    half = math.sqrt(squared * (rate * (1 - rate) / number + squared / (4 * number**2))) / (1 + squared / number)
    low, high = max(0.0, centre - half) if rate > 0 else 0.0, min(1.0, centre + half) if rate < 1 else 1.0
    return Interval(low, high, level, "wilson, effective runs")


def around(
    centre: float, half: float, level: float, method: str, bounds: tuple[float, float] | None = None
) -> Interval:
    """The interval from centre - half to centre + half, cut at the bounds of what is estimated."""
    low, high = bounds or (-math.inf, math.inf)
    return Interval(max(low, centre - half), min(high, centre + half), level, method)


def quantile(level: float, freedom: float) -> float:
    """The half width, in standard errors, of an interval of Student's t; of the normal where `freedom` is infinite."""
    upper = (1 + level) / 2
    return float(special.ndtri(upper) if math.isinf(freedom) else special.stdtrit(freedom, upper))


def negligible(error: float, values: Float[np.ndarray, "..."]) -> bool:
    """Whether an error is what rounding leaves of 0, given the numbers that it was computed from."""
    return error <= 1e-12 * float(np.max(np.abs(values), initial=0.0))


def check_level(level: float) -> float:
    """The level as it is. Raises `InputError` unless it lies between 0 and 1, ends excluded."""
    if not 0 < level < 1:
        raise InputError(f"The level of an interval must lie between 0 and 1, as 0.95 does, but is {level}.")
    return level


def _clopper_pearson(rate: float, number: float, level: float) -> tuple[float, float]:
    """Clopper and Pearson's interval; the number of trials need not be whole."""
    tail, successes = (1 - level) / 2, rate * number
    low = special.betaincinv(successes, number - successes + 1, tail) if rate > 0 else 0.0
    high = special.betaincinv(successes + 1, number - successes, 1 - tail) if rate < 1 else 1.0
    return float(low), float(high)
