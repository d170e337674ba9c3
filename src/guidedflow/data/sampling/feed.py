"""Where the updates of a run find their transitions: in all of them at once, or in one window after another.

This module does not know what an update is.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from guidedflow.data import box
from guidedflow.data.dataset import Dataset
from guidedflow.data.drawing import UNIFORM, Drawing, Weighted
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.sampling.cutting import CUTTING, Cutting
from guidedflow.data.sampling.rebalance import Rebalance, Weights, no_weight, weights_of
from guidedflow.data.sampling.windows import WINDOW, Window, Windows
from guidedflow.data.transitions import Batches, cut
from guidedflow.types import Transition


@runtime_checkable
class Feed(Protocol):
    """What a run draws its batches from."""

    def at(self, step: int) -> Batches:
        """The batches that update `step` draws from; others may take their place between two compiled calls."""

    def example(self) -> Transition:
        """One transition, of the shapes that all have."""


@dataclass(frozen=True)
class Whole:
    """All transitions of a dataset in memory, at every step."""

    batches: Batches

    def at(self, step: int) -> Batches:
        return self.batches

    def example(self) -> Transition:
        return self.batches.example()


@contextmanager
def open_feed(
    dataset: Dataset | Mapped,
    cutting: Cutting = CUTTING,
    *,
    rebalance: Rebalance | None = None,
    window: Window = WINDOW,
    seed: int = 0,
    steps: float = math.inf,
) -> Iterator[Feed]:
    """The batches of a dataset: of all of it, or of windows of one on disk.

    A window must tell its `updates` (`Window.lasting`), and none is read for those after `steps`. Raises `InputError`
    where no episode is long enough, for observations that no network takes, for actions outside [-1, 1], and for
    weights that a dataset does not have.
    """
    cutting.check(dataset.name, *_observations(dataset), dataset.goal_conditioned)
    weights = None if rebalance is None else weights_of(dataset, rebalance)
    if isinstance(dataset, Dataset):
        share, row = box.outside(dataset)
        if share:
            raise box.complaint(dataset.name, share, row, box.largest(dataset))
        yield Whole(cutting.of(dataset, _drawing(dataset, cutting, weights)))
        return
    with Windows(dataset, window, cutting, seed=seed, steps=steps, weights=weights) as windows:
        yield windows


def _observations(dataset: Dataset | Mapped) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of one observation."""
    if isinstance(dataset, Dataset):
        return dataset.observations.shape[1:], dataset.observations.dtype
    told = dataset.manifest["columns"]["observations"]
    return tuple(told["shape"][1:]), np.dtype(told["type"])


def _drawing(dataset: Dataset, cutting: Cutting, weights: Weights | None) -> Drawing:
    """How its transitions are drawn."""
    if weights is None:
        return UNIFORM
    found = cut(dataset.rewards, dataset.masks, dataset.last, **cutting.spans)
    if not len(found.starts):
        return UNIFORM  # of nothing, which is told where the transitions are cut
    each = weights(found.starts)
    if not each.any():
        raise no_weight(dataset.name)
    return Weighted.of(each)
