"""How well a ranking of policies agrees with another: rank correlations, their interval, the cost of the choice."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from guidedflow.errors import InputError
from guidedflow.results.confidence import LEVEL, check_level
from guidedflow.results.counts import plural

FEWEST = 4
"""Policies, below which a rank correlation says nothing."""

RESAMPLES = 1_000
"""Bootstrap resamples of policies for an interval."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of an estimate with what the simulator measured, over policies.

    A rank correlation is None where all estimates or all measurements are equal. The interval is a percentile
    bootstrap over policies; seeds of one setting count as different policies.
    """

    policies: int
    spearman: float | None
    spearman_interval: tuple[float, float] | None
    spearman_p: float | None
    """Two-sided, of the hypothesis that the rankings are independent."""
    kendall: float | None
    regret: float
    """The best measurement minus that of the policy with the best estimate; the worst of them where several tie."""

    def plain(self) -> dict[str, Any]:
        """As JSON's own types."""
        return asdict(self)

    def __str__(self) -> str:
        told = f"{plural(self.policies, 'policy')}, regret {self.regret:.3f}"
        if self.spearman is None or self.kendall is None:
            return f"no rank correlation, because all are equal ({told})"
        interval = "" if self.spearman_interval is None else " [{:.2f}, {:.2f}]".format(*self.spearman_interval)
        return f"Spearman {self.spearman:.2f}{interval}, Kendall {self.kendall:.2f} ({told})"


def agreement(
    estimates: Sequence[float], measured: Sequence[float], *, level: float = LEVEL, seed: int = 0
) -> Agreement | None:
    """Agreement of estimates with measurements of the same policies; None for fewer than four policies.

    Raises `InputError` for sequences of different lengths, and for numbers that are not finite.
    """
    check_level(level)
    x, y = np.asarray(estimates, np.float64), np.asarray(measured, np.float64)
    if len(x) != len(y) or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError(
            f"A ranking needs one finite estimate and one finite measurement a policy, but has {len(x)} and {len(y)}."
        )
    if len(x) < FEWEST:
        return None
    from scipy import stats  # takes a second to import

    regret = float(y.max() - y[x == x.max()].min())
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return Agreement(len(x), None, None, None, None, regret)
    found = stats.spearmanr(x, y)
    kendall = float(stats.kendalltau(x, y).statistic)
    return Agreement(len(x), float(found.statistic), _interval(x, y, level, seed), float(found.pvalue), kendall, regret)


def _interval(x: np.ndarray, y: np.ndarray, level: float, seed: int) -> tuple[float, float] | None:
    """Percentiles over resamples of policies; those whose values are all equal are left out."""
    from scipy import stats

    random = np.random.default_rng(seed)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        for rows in random.integers(0, len(x), (RESAMPLES, len(x))):
            found.append(float(stats.spearmanr(x[rows], y[rows]).statistic))
    defined = [each for each in found if math.isfinite(each)]
    if len(defined) < RESAMPLES // 2:
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
