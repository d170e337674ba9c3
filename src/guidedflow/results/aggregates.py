"""A method over a suite of tasks: mean, interquartile mean, optimality gap, profile, probability of improvement.

Scores come as a mapping from task to one number for each training seed. Definitions follow Agarwal et al.
(arXiv 2108.13264); intervals do not, because percentile bootstraps are too narrow for few seeds. Seeds of different
tasks count as different runs, and the episodes that a score was measured on count as fixed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from guidedflow.errors import InputError
from guidedflow.results import confidence
from guidedflow.results.confidence import FEWEST_SEEDS, LEVEL, Error, Interval, check_level
from guidedflow.results.counts import plural

Scores = Mapping[str, Sequence[float] | Float[np.ndarray, " _"]]
"""Task -> score of each training seed."""

Samples = list[Float[np.ndarray, " _"]]
"""Scores of each task in ascending order, tasks by name: results depend on neither order."""

QUARTER = 0.25


@dataclass(frozen=True)
class Aggregate:
    """A number for a suite. `interval` is None where a task has fewer than three seeds, or no seed differs."""

    value: float
    interval: Interval | None
    tasks: int
    seeds: int
    """Number of seeds of the task with the fewest."""

    def __str__(self) -> str:
        interval = "no interval" if self.interval is None else str(self.interval)
        return f"{self.value:.3f} {interval} ({plural(self.tasks, 'task')}, {plural(self.seeds, 'seed')})"


@dataclass(frozen=True)
class Profile:
    """For each threshold, the share of runs whose score is above it, with a pointwise interval."""

    thresholds: tuple[float, ...]
    shares: tuple[Aggregate, ...]


def mean(scores: Scores, *, level: float = LEVEL, bounds: tuple[float, float] | None = None) -> Aggregate:
    """Mean over tasks of means over seeds; Student's t, stratified by task.

    `bounds` are the smallest and largest possible score, where the interval is cut. Raises `InputError` for a suite or
    task without scores, or scores that are not finite.
    """
    samples = _samples(scores)
    centre = float(np.mean([sample.mean() for sample in samples]))
    return _aggregate(samples, centre, _mean_error(samples), level, "t, stratified by task", bounds)


def optimality_gap(scores: Scores, target: float = 1.0, *, level: float = LEVEL) -> Aggregate:
    """Mean over tasks and seeds of how far a score falls short of the target; a score above it counts as 0.

    The interval and errors are those of `mean`.
    """
    samples = [np.maximum(target - sample, 0.0) for sample in _samples(scores)]
    centre = float(np.mean([sample.mean() for sample in samples]))
    return _aggregate(samples, centre, _mean_error(samples), level, "t, stratified by task", (0.0, np.inf))


def interquartile_mean(
    scores: Scores,
    *,
    level: float = LEVEL,
    resamples: int = 5000,
    seed: int = 0,
    bounds: tuple[float, float] | None = None,
) -> Aggregate:
    """Mean of the middle half of all scores (`scipy.stats.trim_mean`), with an interval of Student's t.

    The standard error comes from a bootstrap stratified by task. A bootstrap of n seeds sees (n - 1) / n of their
    variance, so it is multiplied by sqrt(n / (n - 1)) for the smallest n. Degrees of freedom come from winsorised
    scores. `seed` fixes the resamples. Below four scores nothing is trimmed. Raises `InputError` as `mean` does, and
    for too few resamples.
    """
    if resamples < 100:
        raise InputError(f"A bootstrap needs at least 100 resamples, but has {resamples}.")
    samples = _samples(scores)
    pooled = np.sort(np.concatenate(samples))
    cut = int(QUARTER * len(pooled))
    low, high = pooled[cut], pooled[len(pooled) - 1 - cut]
    rough = _mean_error([np.clip(sample, low, high) for sample in samples])
    error = Error(0.0, rough.freedom)
    if _fewest(samples) >= FEWEST_SEEDS and not confidence.negligible(rough.size, pooled):
        found = stats.bootstrap(
            samples,
            _middle_half,
            n_resamples=resamples,
            batch=1000,
            vectorized=True,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
        lost = _fewest(samples) / (_fewest(samples) - 1)
        error = Error(float(found.standard_error) * lost**0.5, rough.freedom)
    centre = float(stats.trim_mean(pooled, QUARTER))
    return _aggregate(samples, centre, error, level, "t, bootstrap stratified by task", bounds)


def probability_of_improvement(first: Scores, second: Scores, *, level: float = LEVEL) -> Aggregate:
    """Mean over tasks of P(X > Y) + P(X = Y) / 2 for runs X of the first and Y of the second method.

    A task's probability is its Mann-Whitney U over the number of pairs. The standard error comes from placements
    (Brunner and Munzel, 2000), the interval is Wilson's at the effective number of runs, and never more runs than
    there are. Raises `InputError` if tasks differ, or as `mean` does.
    """
    if set(first) != set(second):
        missing = sorted(set(first) ^ set(second))
        raise InputError(f"Methods can be compared on tasks that both have, but only one of them has {missing}.")
    pairs = list(zip(_samples(first), _samples(second), strict=True))
    placements = []
    for ours, theirs in pairs:
        wins = np.heaviside(ours[:, None] - theirs[None, :], 0.5)
        placements += [wins.mean(axis=1), wins.mean(axis=0)]
    value = float(np.mean([placement.mean() for placement in placements]))
    error = _sum_error(placements, len(pairs))
    samples = [sample for pair in pairs for sample in pair]
    runs = sum(len(sample) for sample in samples)
    interval = confidence.effective(value, error, runs, runs, check_level(level))
    return Aggregate(value, _shown(interval, samples), len(pairs), _fewest(samples))


def performance_profile(scores: Scores, thresholds: Sequence[float], *, level: float = LEVEL) -> Profile:
    """Share of runs with a score above each threshold: the mean over tasks of the share of their seeds.

    Each interval is pointwise: Wilson's at the effective number of runs, of the variance stratified by task. That
    number is at most twice the number of runs. Raises `InputError` as `mean` does.
    """
    samples = _samples(scores)
    shares = tuple(_share(samples, threshold, check_level(level)) for threshold in thresholds)
    return Profile(tuple(float(threshold) for threshold in thresholds), shares)


def _share(samples: Samples, threshold: float, level: float) -> Aggregate:
    above = [(sample > threshold).astype(np.float64) for sample in samples]
    value = float(np.mean([each.mean() for each in above]))
    runs = sum(len(sample) for sample in samples)
    interval = confidence.effective(value, _mean_error(above), runs, 2 * runs, level)
    return Aggregate(value, _shown(interval, samples), len(samples), _fewest(samples))


def _middle_half(*samples: Float[np.ndarray, "..."], axis: int = -1) -> Any:
    return stats.trim_mean(np.concatenate(samples, axis=axis), QUARTER, axis=axis)


def _aggregate(
    samples: Samples,
    centre: float,
    error: Error,
    level: float,
    method: str,
    bounds: tuple[float, float] | None,
) -> Aggregate:
    half = confidence.quantile(check_level(level), error.freedom) * error.size
    interval = confidence.around(centre, half, level, method, bounds)
    degenerate = confidence.negligible(error.size, np.concatenate(samples))
    return Aggregate(centre, None if degenerate else _shown(interval, samples), len(samples), _fewest(samples))


def _mean_error(samples: Samples) -> Error:
    return _sum_error(samples, len(samples))


def _sum_error(samples: Samples, divisor: int) -> Error:
    """Standard error of the sum of sample means, divided by `divisor`; 0 where no sample varies."""
    variances = np.array([sample.var(ddof=1) / len(sample) if len(sample) > 1 else 0.0 for sample in samples])
    freedom = np.array([max(len(sample) - 1.0, 1.0) for sample in samples])
    return confidence.stratified(variances / divisor**2, freedom)


def _shown(interval: Interval, samples: Samples) -> Interval | None:
    return interval if _fewest(samples) >= FEWEST_SEEDS else None


def _fewest(samples: Samples) -> int:
    return min(len(sample) for sample in samples)


def _samples(scores: Scores) -> Samples:
    """Raises `InputError` for a suite or task without scores, or scores that are not finite."""
    if not scores:
        raise InputError("A suite needs at least one task with scores.")
    samples = [np.sort(np.asarray(scores[task], np.float64)) for task in sorted(scores)]
    for task, sample in zip(sorted(scores), samples, strict=True):
        if not len(sample) or not np.isfinite(sample).all():
            raise InputError(
                f"A task needs one finite score for each training seed, but {task!r} has {sample.tolist()}."
            )
    return samples
