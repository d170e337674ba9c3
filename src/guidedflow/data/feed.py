"""Where the updates of a run find their transitions: in all of them at once, or in one window after another.

This module does not know what an update is.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from guidedflow.data.dataset import Dataset, Transitions
from guidedflow.data.drawing import Weighted
from guidedflow.data.mapped import Mapped
from guidedflow.data.rebalance import Rebalance, no_weight, weights_of
from guidedflow.data.windows import WINDOW, Window, Windows
from guidedflow.types import Transition


@runtime_checkable
class Feed(Protocol):
    """What a run draws its batches from."""

    def at(self, step: int) -> Transitions:
        """The transitions that update `step` draws from; others may take their place between two compiled calls."""

    def example(self) -> Transition:
        """One transition, of the shapes that all have."""


@dataclass(frozen=True)
class Whole:
    """All transitions of a dataset in memory, at every step."""

    transitions: Transitions

    def at(self, step: int) -> Transitions:
        return self.transitions

    def example(self) -> Transition:
        return self.transitions.example()


@contextmanager
def open_feed(
    dataset: Dataset | Mapped,
    *,
    discount: float = 0.99,
    horizon: int = 1,
    chunk: bool = False,
    rebalance: Rebalance | None = None,
    window: Window = WINDOW,
    seed: int = 0,
    steps: float = math.inf,
) -> Iterator[Feed]:
    """The transitions of a dataset, cut as `Dataset.cut` does: all of it, or windows of one on disk.

    A window must tell its `updates` (`Window.lasting`), and none is read for those after `steps`. Raises `InputError`
    where no episode is long enough, for actions outside [-1, 1] on disk, and for weights that a dataset does not have.
    """
    weights = None if rebalance is None else weights_of(dataset, rebalance)
    if isinstance(dataset, Dataset):
        transitions = dataset.cut(discount, horizon, chunk)
        if weights is not None:
            each = weights(np.asarray(transitions.starts))
            if not each.any():
                raise no_weight(dataset.name)
            transitions = replace(transitions, drawing=Weighted.of(each))
        yield Whole(transitions)
        return
    cutting: dict[str, Any] = {"discount": discount, "horizon": horizon, "chunk": chunk}
    with Windows(dataset, window, **cutting, seed=seed, steps=steps, weights=weights) as windows:
        yield windows
