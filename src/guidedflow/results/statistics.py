"""One method on one task: mean, population deviation and interval; two methods on the same episodes.

Episodes come as a mapping from training seed to outcomes. Outcome e of each seed belongs to evaluation episode e, which
starts alike for all seeds, as `guidedflow.evaluation` plays them. Intervals treat both seeds and episodes as random.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import special

from guidedflow.errors import InputError
from guidedflow.results import confidence
from guidedflow.results.confidence import FEWEST_SEEDS, LEVEL, Interval, Outcomes, check_level
from guidedflow.results.counts import plural

Outcome = Float[np.ndarray, " _"] | Int[np.ndarray, " _"] | Bool[np.ndarray, " _"]
Episodes = Mapping[int, Sequence[float] | Outcome]
"""Training seed -> outcome of each evaluation episode."""


@dataclass(frozen=True)
class Cell:
    """A method's result on a task.

    `mean` is over seeds and episodes. `deviation` is the population standard deviation of seed means, which divides by
    the number of seeds, as papers of this field do. `interval` is None below three seeds, and for returns that are all
    equal; then `str` shows each seed.
    """

    mean: float
    deviation: float
    interval: Interval | None
    by_seed: Mapping[int, float]
    episodes: int
    """Evaluation episodes of each seed."""

    @property
    def seeds(self) -> int:
        """Number of training seeds."""
        return len(self.by_seed)

    def __str__(self) -> str:
        count = f"{plural(self.seeds, 'seed')} x {plural(self.episodes, 'episode')}"
        if self.interval is not None:
            return f"{self.mean:.3f} ± {self.deviation:.3f} {self.interval} ({count})"
        each = ", ".join(f"{mean:.3f}" for mean in self.by_seed.values())
        return f"{self.mean:.3f} ± {self.deviation:.3f} ({count}: {each})"


@dataclass(frozen=True)
class Comparison:
    """First method minus second on the same seeds and episodes.

    `p_value` is two-sided, of the hypothesis of no difference: the interval of level 1 - p just touches 0. It and the
    interval are None below three seeds, or where all differences are equal.
    """

    difference: float
    interval: Interval | None
    p_value: float | None
    by_seed: Mapping[int, float]
    episodes: int
    """Evaluation episodes of each seed."""

    @property
    def seeds(self) -> int:
        """Number of training seeds."""
        return len(self.by_seed)

    @property
    def better(self) -> int:
        """Number of seeds on which the first method's mean is larger."""
        return sum(difference > 0 for difference in self.by_seed.values())


def success(episodes: Episodes, level: float = LEVEL) -> Cell:
    """Success rate of a method on a task, with the interval `confidence.proportion`.

    An outcome is 1 for success and 0 for failure, or between them where an episode was repeated.
    Raises `InputError` for other outcomes, no episodes, or seeds with different numbers of episodes.
    """
    outcomes = _outcomes(episodes)
    if outcomes.min() < 0 or outcomes.max() > 1:
        raise InputError(
            f"The success of an episode lies between 0 and 1, but outcomes reach from {outcomes.min():g} to "
            f"{outcomes.max():g}; use score for returns."
        )
    return _cell(episodes, outcomes, confidence.proportion(outcomes, check_level(level)))


def score(episodes: Episodes, level: float = LEVEL) -> Cell:
    """Mean return, or normalised score, of a method on a task, with the interval `confidence.mean`.

    Raises `InputError` for no episodes, seeds with different numbers of episodes, or outcomes that are not finite.
    """
    outcomes = _outcomes(episodes)
    return _cell(episodes, outcomes, confidence.mean(outcomes, check_level(level)))


def paired(first: Episodes, second: Episodes, level: float = LEVEL) -> Comparison:
    """Compare two methods episode by episode: the interval `confidence.mean` of their differences.

    Pairing removes the difficulty of episodes, and what two samplers of one trained network share.
    Raises `InputError` if seeds or numbers of episodes differ, or as `score` does.
    """
    if set(first) != set(second):
        raise InputError(
            f"A paired comparison needs the same training seeds, but found {sorted(first)} and {sorted(second)}."
        )
    ours, theirs = _outcomes(first), _outcomes({seed: second[seed] for seed in first})
    if ours.shape != theirs.shape:
        raise InputError(
            f"A paired comparison needs the same episodes, but found {ours.shape[1]} and {theirs.shape[1]} a seed; "
            "evaluate both with the same --episodes."
        )
    differences = ours - theirs
    cell = _cell(first, differences, confidence.mean(differences, check_level(level)))
    p_value = None if cell.interval is None else _p_value(differences)
    return Comparison(cell.mean, cell.interval, p_value, cell.by_seed, cell.episodes)


def _p_value(differences: Outcomes) -> float:
    """The largest p-value of the standard errors that the interval takes the widest of."""
    mean = abs(float(differences.mean()))
    found = []
    for error in confidence.mean_errors(differences):
        statistic = mean / error.size if error.size > 0 else math.inf
        tail = special.ndtr(-statistic) if math.isinf(error.freedom) else special.stdtr(error.freedom, -statistic)
        found.append(2 * float(tail))
    return max(found)


def _cell(episodes: Episodes, outcomes: Outcomes, interval: Interval | None) -> Cell:
    means = outcomes.mean(axis=1)
    by_seed = {seed: float(mean) for seed, mean in zip(episodes, means, strict=True)}
    shown = interval if len(by_seed) >= FEWEST_SEEDS else None
    return Cell(float(means.mean()), float(means.std()), shown, by_seed, outcomes.shape[1])


def _outcomes(episodes: Episodes) -> Outcomes:
    """One row a seed; raises `InputError` unless rows are finite, of equal length, and there is an episode."""
    counts = {seed: len(found) for seed, found in episodes.items()}
    if not counts or not min(counts.values()):
        raise InputError("A mean needs at least one training seed, each with at least one episode.")
    if len(set(counts.values())) > 1:
        raise InputError(f"Each training seed needs the same episodes, but the numbers of episodes are {counts}.")
    outcomes = np.array([np.asarray(found, np.float64) for found in episodes.values()])
    if not np.isfinite(outcomes).all():
        bad = next(seed for seed, row in zip(episodes, outcomes, strict=True) if not np.isfinite(row).all())
        raise InputError(f"Outcomes of episodes must be finite, but those of training seed {bad} are not.")
    return outcomes
