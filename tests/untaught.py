"""Runs that were begun by the real loop and learned nothing, for tests of what happens around the mathematics.

Compiling an update takes most of a small run's time. Here only `init` is compiled: an update moves each number by a
hair, so that checkpoints differ from each other, and there are no figures.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from guidedflow.algorithms.contract import shown
from guidedflow.runs.trained import Trained
from guidedflow.training import loop
from guidedflow.training.diagnosing import Doctor
from guidedflow.training.pieces import Pieces


@contextmanager
def untaught() -> Iterator[None]:
    """Within it, training computes no update."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pieces, "advance", moved)
        patch.setattr(Doctor, "figures", lambda *_, **__: {})
        yield


def begun(*arguments: Any, **more: Any) -> Trained:
    """As `train`, without the updates."""
    with untaught():
        return loop.train(*arguments, **more)


def moved(_: Pieces, algorithms: Any, state: Any, batches: Any, seeds: Any, step: int, count: int) -> Any:
    """In the place of `Pieces.advance`: the floats of a state grow by a thousandth an update, and every metric is 0."""

    def move(leaf: jax.Array) -> jax.Array:
        values = np.asarray(leaf)
        return jnp.asarray(values * np.float32(1 + count / 1000)) if values.dtype == np.float32 else leaf

    return jax.tree.map(move, state), {name: np.zeros(len(seeds), np.float32) for name in shown(algorithms)}
