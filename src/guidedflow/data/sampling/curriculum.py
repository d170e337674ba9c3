"""A curriculum of episodes: first those that the policy already resembles, and none worse than those it has outgrown.

    score     a quantile of the log-likelihoods of an episode's actions under the policy of now
    pick      the episodes of largest score leave the pool, and are cloned
    filter    after some picks, m <- tau m + (1 - tau) (smallest return picked); the pool keeps returns of at least m

Curriculum offline imitation learning, COIL (arXiv 2111.02056; apexrl/COIL, ef458de). This module does not know the
policy: it is handed log-likelihoods.
"""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

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


class Filter(enum.Enum):
    """How the least return that stays moves."""

    running = "towards the smallest return of the last picks"
    mean = "to the mean of the smallest returns of all picks"
    none = "nowhere"


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
    _picked: list[list[float]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.pool = [int(i) for i in np.argsort(self.returns, kind="stable")]
        if self.least is None:
            self.least = min(0.0, float(self.returns.min()))

    def pick(self, scores: Sequence[float]) -> Int[np.ndarray, " picks"]:
        """Take the episodes of largest score from the pool, a score each; of equals the lower return comes first."""
        order = np.argsort(-np.asarray(scores), kind="stable")[: self.picks]
        chosen = [self.pool[i] for i in order]
        self.pool = [episode for episode in self.pool if episode not in set(chosen)]
        self._picked.append([float(self.returns[episode]) for episode in chosen])
        return np.array(chosen, np.int64)

    def end_epoch(self) -> None:
        """Move the least return by the picks since the last epoch, and drop what is below it."""
        assert self.least is not None
        if self.filter is Filter.none or not self._picked:
            return
        lowest = [min(each) for each in self._picked]
        if self.filter is Filter.mean:
            self.least = float(np.mean(lowest))
        else:
            self.least = self.tau * self.least + (1 - self.tau) * min(lowest)
            self._picked = []
        self.pool = [episode for episode in self.pool if self.returns[episode] >= self.least]
