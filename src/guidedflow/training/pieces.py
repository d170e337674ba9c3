"""An interval of updates in pieces of about a second, so that a signal never waits for the whole interval.

All pieces are calls of one compiled program. Where they end follows a clock, but the bits of a run do not: an update is
the same code in every piece, and the mean of a metric is taken once over the whole interval.
"""

import time
from typing import Any

import jax
from jaxtyping import Array, Int

from guidedflow.algorithms.contract import Algorithm
from guidedflow.data.transitions import Transitions
from guidedflow.training.interruption import Interruption
from guidedflow.training.updates import advance_some, compiling, means, no_metrics, round_of
from guidedflow.types import Metrics

SECONDS = 1.0
"""How long a piece takes, about; a round of updates that takes longer is a piece."""

PATIENCE = 5.0
"""An interval whose rest takes no more seconds is computed to its end after a signal."""


class Pieces:
    """The intervals of a run, in which a signal is looked for."""

    def __init__(self, batch_size: int, caught: Interruption) -> None:
        self._batch_size, self._caught = batch_size, caught
        self._each: float | None = None
        """Seconds of an update in the last piece."""
        self._empty: dict[int, Metrics] = {}
        """Room for the metrics of an interval, by its length."""

    def advance(
        self, algorithms: Algorithm[Any], state: Any, batches: Transitions, seeds: Int[Array, " rows"], step: int,
        count: int,
    ) -> tuple[Any, Metrics]:  # fmt: skip
        """The state and the means of `updates.advance`, bit for bit.

        Raises `Dropped` after a signal, unless the rest of the interval takes no more than `PATIENCE`.
        """
        if count not in self._empty:
            self._empty[count] = no_metrics(algorithms, state, batches, seeds, count, self._batch_size)
        done, metrics = 0, self._empty[count]
        while done < count:
            if self._each is not None and self._each * (count - done) > PATIENCE:
                self._caught.drop()
            end = min(done + self._length(round_of(count)), count)
            with compiling() as clock:
                start = time.perf_counter()
                state, metrics = jax.block_until_ready(
                    advance_some(algorithms, state, metrics, batches, seeds, step, done, end, count, self._batch_size)
                )
                seconds = time.perf_counter() - start - clock.seconds
            self._each, done = seconds / (end - done), end
        return state, means(metrics)

    def _length(self, size: int) -> int:
        """Updates of the next piece, in whole rounds of this size."""
        rounds = 1 if self._each is None else round(SECONDS / max(self._each, 1e-9) / size)
        return size * max(rounds, 1)
