"""Where the updates of a run find their transitions: in all of them at once, or in one window after another.

This module does not know what an update is.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from guidedflow.data import actions
from guidedflow.data.dataset import Dataset
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.sampling.cutting import CUTTING, Cutting
from guidedflow.data.sampling.rebalance import Rebalance, weights_of
from guidedflow.data.sampling.windows import WINDOW, Window, Windows
from guidedflow.data.transitions import Transitions
from guidedflow.types import Transition


@runtime_checkable
class Feed(Protocol):
    """What a run draws its batches from: `Transitions` in memory, or `Windows` of a dataset on disk."""

    def at(self, step: int) -> Transitions:
        """The transitions that update `step` draws from; others may take their place between two compiled calls."""

    def example(self) -> Transition:
        """One transition, of the shapes that all have."""

    def survey(self) -> Transitions:
        """Transitions that stand for the whole dataset: all in memory, or some blocks; alike in every call."""


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
    cutting.check(dataset)
    weights = None if rebalance is None else weights_of(dataset, rebalance)
    if (excess := dataset.actions_outside).share:
        raise actions.complaint(dataset.name, excess)
    if isinstance(dataset, Dataset):
        yield cutting.of(dataset, weights)
        return
    with Windows(dataset, window, cutting, seed=seed, steps=steps, weights=weights) as windows:
        yield windows
