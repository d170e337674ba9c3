"""Transitions drawn more often where their episode went well, or where a column of weights says so.

    return     p of a transition ~ (G - G_min) / (G_max - G_min) + base, G the undiscounted return of its episode: ReD
               (return-based data rebalance, Yue et al., arXiv 2210.09241; ODPR-R in arXiv 2306.05412); base is 0 there
    weights    p ~ its weight + base, of the step that it starts with

The learner is unchanged: batches are drawn by p, with replacement. This module does not know how a draw is made from
weights, nor whether rows are in memory.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64, Int, Int64

from guidedflow.data.dataset import Dataset
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.summary import episodes
from guidedflow.errors import InputError
from guidedflow.settings import check_ranges


@dataclass(frozen=True)
class Rebalance:
    """What a transition's chance is proportional to."""

    by: Literal["return", "weights"] = "return"
    """Its episode's return, or the dataset's column `weights`."""
    base: float = 0.0
    """Added to every weight, so that no transition is never drawn."""


Weights = Callable[[Int[np.ndarray, " rows"]], Float64[np.ndarray, " rows"]]
"""The weight of a transition that starts in each of these rows, which ascend."""


def weights_of(dataset: Dataset | Mapped, rule: Rebalance) -> Weights:
    """How rows of a dataset are weighted. Raises `InputError` where there is nothing to tell them apart."""
    check_ranges(rule, base=(0, math.inf))
    if rule.by == "weights":
        return _Column(dataset, rule.base)
    if isinstance(dataset, Dataset):
        ends, returns = np.flatnonzero(dataset.last), episodes(dataset)[1]
    else:
        ends, returns = dataset.ends, dataset.returns
    return _Returns(ends, returns, rule.base, dataset.name)


class _Returns:
    """By the return of the episode."""

    def __init__(
        self, ends: Int64[np.ndarray, " episodes"], returns: Float64[np.ndarray, " episodes"], base: float, name: str
    ) -> None:
        played = returns[np.diff(ends, prepend=-1) > 1]  # an episode without a step has no return
        least, greatest = played.min(initial=np.inf), played.max(initial=-np.inf)
        if not least < greatest:
            raise InputError(
                f"dataset {name!r}: all episodes have the same return, so none can be drawn more often; "
                "drop --rebalance return"
            )
        self.ends = ends
        self.weights = (returns - least) / (greatest - least) + base

    def __call__(self, rows: Int[np.ndarray, " rows"]) -> Float64[np.ndarray, " rows"]:
        return self.weights[np.searchsorted(self.ends, rows)]


class _Column:
    """By a column of the dataset."""

    def __init__(self, dataset: Dataset | Mapped, base: float) -> None:
        missing = dataset.weights is None if isinstance(dataset, Dataset) else "weights" not in dataset
        if missing:
            raise InputError(
                f"dataset {dataset.name!r} has no weights, which --rebalance weights is to follow; say which column "
                "of your own file they are by --columns weights=NAME, or use --rebalance return"
            )
        self.dataset, self.base = dataset, base

    def __call__(self, rows: Int[np.ndarray, " rows"]) -> Float64[np.ndarray, " rows"]:
        if not len(rows):
            return np.zeros(0)
        begin, stop = int(rows[0]), int(rows[-1]) + 1
        return self._stretch(begin, stop)[rows - begin].astype(np.float64) + self.base

    def _stretch(self, begin: int, stop: int) -> Float32[np.ndarray, " rows"]:
        if isinstance(self.dataset, Mapped):
            return self.dataset.rows("weights", begin, stop)
        assert self.dataset.weights is not None
        return self.dataset.weights[begin:stop]


def no_weight(name: str) -> InputError:
    """The sentence about weights that are all 0."""
    return InputError(f"dataset {name!r}: no transition has a weight above 0; give others, or add --rebalance-base")
