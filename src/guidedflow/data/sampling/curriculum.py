"""A curriculum of episodes: first those that the policy already resembles, and none worse than those it has outgrown.

    score     a quantile of the log-likelihoods of an episode's actions under the policy of now
    pick      the episodes of largest score leave the pool, and are cloned
    filter    after some picks, m <- tau m + (1 - tau) (smallest return picked); the pool keeps returns of at least m

Curriculum offline imitation learning, COIL (arXiv 2111.02056; apexrl/COIL, ef458de). This module does not know the
policy: it is handed log-likelihoods.
"""

import enum
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from guidedflow.settings import Choice

Steps = Float[np.ndarray, " steps"]


def exceeded_by(share: float) -> Callable[[Steps], float]:
    """The int(share * steps)-th largest: what about that share of the steps exceeds; the smallest of a single step."""
    return lambda steps: float(np.sort(steps)[::-1][int(share * len(steps)) - 1])


def smallest(steps: Steps) -> float:
    """The least likely step."""
    return float(steps.min())


def total(steps: Steps) -> float:
    """The likelihood of the whole episode."""
    return float(steps.sum())


def average(steps: Steps) -> float:
    """The mean step."""
    return float(steps.mean())


def middle(steps: Steps) -> float:
    """The median step."""
    return float(np.median(steps))


class Score(Choice):
    """What says how much an episode resembles the policy."""

    one_sigma = enum.member(exceeded_by(0.6827))
    two_sigma = enum.member(exceeded_by(0.9545))
    three_sigma = enum.member(exceeded_by(0.9974))
    smallest = enum.member(smallest)
    total = enum.member(total)
    mean = enum.member(average)
    median = enum.member(middle)


def towards(tau: float, least: float, lowest: Sequence[float], recent: int) -> float:
    """A running mean: towards the smallest return of the picks since the last epoch."""
    return tau * least + (1 - tau) * min(lowest[-recent:])


def mean_of_all(tau: float, least: float, lowest: Sequence[float], recent: int) -> float:
    """The mean over all picks of the smallest return of each."""
    return float(np.mean(lowest))


def everything(tau: float, least: float, lowest: Sequence[float], recent: int) -> float:
    """No least return: every episode stays until it is picked."""
    return -math.inf


class Filter(Choice):
    """How the least return that stays in the pool moves at the end of an epoch."""

    running = enum.member(towards)
    mean = enum.member(mean_of_all)
    none = enum.member(everything)


class Progress(NamedTuple):
    """How far a curriculum has come, as arrays of fixed shapes: what a checkpoint holds of it."""

    pool: Bool[np.ndarray, " episodes"]
    """Episodes that are left."""
    picked: Bool[np.ndarray, " episodes"]
    """Episodes of the last pick."""
    lowest: Float[np.ndarray, " episodes"]
    """Smallest return of each pick so far, then NaN."""
    recent: Int[np.ndarray, ""]
    """Picks since the last epoch."""
    least: Float[np.ndarray, ""]
    """Least return that stays."""


@dataclass
class Curriculum:
    """The episodes that are left, in ascending order of return, and the least return that stays."""

    returns: Float[np.ndarray, " episodes"]
    picks: int = 2
    tau: float = 0.9
    filter: Filter = Filter.running
    least: float | None = None
    """m at the beginning: by default the smallest return, or 0 if that is larger; published for antmaze: -5."""
    pool: list[int] = field(init=False)
    picked: list[int] = field(init=False, default_factory=list)
    """Episodes of the last pick."""
    _lowest: list[float] = field(init=False, default_factory=list)
    _recent: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.pool = [int(i) for i in np.argsort(self.returns, kind="stable")]
        if self.least is None:
            self.least = min(0.0, float(self.returns.min()))

    def pick(self, scores: Sequence[float]) -> Int[np.ndarray, " picks"]:
        """Take the episodes of largest score from the pool, a score each; of equals the lower return comes first."""
        order = np.argsort(-np.asarray(scores), kind="stable")[: self.picks]
        self.picked = [self.pool[i] for i in order]
        self.pool = [episode for episode in self.pool if episode not in set(self.picked)]
        self._lowest.append(min(float(self.returns[episode]) for episode in self.picked))
        self._recent += 1
        return np.array(self.picked, np.int64)

    def end_epoch(self) -> None:
        """Move the least return by the picks so far, and drop what is below it."""
        assert self.least is not None
        if not self._recent:
            return
        self.least = self.filter(self.tau, self.least, self._lowest, self._recent)
        self._recent = 0
        self.pool = [episode for episode in self.pool if self.returns[episode] >= self.least]

    @property
    def progress(self) -> Progress:
        """How far it has come."""
        every, lowest = np.arange(len(self.returns)), np.full(len(self.returns), np.nan)
        lowest[: len(self._lowest)] = self._lowest
        pool, picked = np.isin(every, self.pool), np.isin(every, self.picked)
        return Progress(pool, picked, lowest, np.asarray(self._recent), np.asarray(self.least, np.float64))

    def resume(self, progress: Progress) -> None:
        """Go on from where a curriculum of the same returns had come to."""
        ascending = np.argsort(self.returns, kind="stable")
        self.pool = [int(i) for i in ascending if progress.pool[i]]
        self.picked = [int(i) for i in np.flatnonzero(progress.picked)]
        self._lowest = [float(x) for x in progress.lowest[~np.isnan(progress.lowest)]]
        self._recent, self.least = int(progress.recent), float(progress.least)
