"""What tuning costs: the success of the policy that would be deployed after so many trial episodes.

The protocol of Unifloral (arXiv 2504.11453): draw a few trained policies at random, let a bandit spend episodes on
them, deploy the one with the best mean so far. Repeat over many draws.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from guidedflow.errors import InputError
from guidedflow.results import confidence
from guidedflow.results.confidence import LEVEL, Interval


@dataclass(frozen=True)
class BudgetCurve:
    """True mean outcome of the deployed policy after 1, 2, ... trial episodes, averaged over trials.

    Intervals are over trials of the bandit on the given policies: they say nothing about policies trained anew.
    """

    values: tuple[float, ...]
    intervals: tuple[Interval, ...]
    policies: int
    arms: int
    trials: int


def budget_curve(
    outcomes: Mapping[str, Sequence[float] | Float[np.ndarray, " episodes"]],
    *,
    arms: int = 8,
    pulls: int = 200,
    trials: int = 1000,
    scale: float = 1.0,
    level: float = LEVEL,
    seed: int = 0,
) -> BudgetCurve:
    """The tuning-budget curve of trained policies (settings x seeds), from the outcomes of their episodes.

    A trial draws `arms` policies without replacement. UCB1 then pulls each once in random order, and afterwards the arm
    with the largest mean + scale * sqrt(2 ln(t) / n). A pull is one of that policy's outcomes. Only pulled arms can be
    deployed, so negative returns are treated fairly. `scale` is the range of outcomes: 1 for success, 100 for
    normalised scores. Raises `InputError` for fewer policies than arms, or a policy without finite outcomes.
    """
    _check(outcomes, arms, pulls, trials, scale)
    confidence.check_level(level)
    generator = np.random.default_rng(seed)
    names = sorted(outcomes)
    lengths = np.array([len(outcomes[name]) for name in names])
    table = np.zeros((len(names), lengths.max()))
    for row, name in zip(table, names, strict=True):
        row[: len(outcomes[name])] = outcomes[name]
    truth = table.sum(axis=1) / lengths

    drawn = generator.permuted(np.tile(np.arange(len(names)), (trials, 1)), axis=1)[:, :arms]
    deployed = np.empty((pulls, trials))
    bandit = _Bandit(trials, arms, scale)
    rows = np.arange(trials)
    for pull in range(pulls):
        arm = bandit.choose(pull, generator)
        policy = drawn[rows, arm]
        bandit.observe(arm, table[policy, (generator.random(trials) * lengths[policy]).astype(np.int64)])
        deployed[pull] = truth[drawn[rows, bandit.best()]]

    half = confidence.quantile(level, trials - 1) * deployed.std(axis=1, ddof=1) / math.sqrt(trials)
    values = deployed.mean(axis=1)
    found = [confidence.around(float(v), float(h), level, "t, trials") for v, h in zip(values, half, strict=True)]
    return BudgetCurve(tuple(values.tolist()), tuple(found), len(names), arms, trials)


class _Bandit:
    """UCB1 in many trials at once; arms stand in random order, so the first of equals is a random one."""

    def __init__(self, trials: int, arms: int, scale: float) -> None:
        self.counts, self.totals = np.zeros((trials, arms)), np.zeros((trials, arms))
        self.rows, self.scale = np.arange(trials), scale

    def choose(self, pull: int, generator: np.random.Generator) -> Int[np.ndarray, " trials"]:
        """The arm of each trial: first those that were never pulled, then the largest upper bound, ties at random."""
        trials, arms = self.counts.shape
        if pull < arms:
            return np.full(trials, pull)
        bounds = self.totals / self.counts + self.scale * np.sqrt(2 * math.log(pull + 1) / self.counts)
        ties = bounds == bounds.max(axis=1, keepdims=True)
        return np.argmax(ties * generator.uniform(0.5, 1.0, ties.shape), axis=1)

    def observe(self, arm: Int[np.ndarray, " trials"], outcome: Float[np.ndarray, " trials"]) -> None:
        self.counts[self.rows, arm] += 1
        self.totals[self.rows, arm] += outcome

    def best(self) -> Int[np.ndarray, " trials"]:
        """The pulled arm with the largest mean."""
        means = np.where(self.counts > 0, self.totals / np.maximum(self.counts, 1), -np.inf)
        return np.argmax(means, axis=1)


def _check(
    outcomes: Mapping[str, Sequence[float] | Float[np.ndarray, " episodes"]],
    arms: int,
    pulls: int,
    trials: int,
    scale: float,
) -> None:
    if not 1 <= arms <= len(outcomes):
        raise InputError(
            f"A tuning-budget curve needs at least as many policies as arms, but has {len(outcomes)} policies and "
            f"{arms} arms; lower arms."
        )
    if pulls < 1 or trials < 2:
        raise InputError(f"A tuning-budget curve needs a pull and two trials, but has {pulls} and {trials}.")
    if not (scale > 0 and math.isfinite(scale)):
        raise InputError(f"scale must be the range of outcomes, above 0 and finite, but is {scale}.")
    for name, found in outcomes.items():
        if not len(found) or not np.isfinite(found).all():
            raise InputError(f"A policy needs at least one outcome, all finite, but those of {name!r} are not.")
