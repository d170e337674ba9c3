"""Figures that tell how runs do, computed once a log interval between two compiled intervals.

They are a program of their own, on a batch and noise of their own: training computes the bits that it has without them.
This module does not know which figures there are, nor which of them are good.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from guidedflow.algorithms.contract import Algorithm, Diagnosed
from guidedflow.algorithms.parts import figures
from guidedflow.data.sampling.feed import Feed
from guidedflow.data.sampling.probe import Probe
from guidedflow.keys import Stream, stream_key
from guidedflow.results.diagnostics import FIGURE
from guidedflow.types import Metrics


class Doctor:
    """The probe of a run's dataset, which is surveyed once."""

    def __init__(self, feed: Feed) -> None:
        self._transitions = feed.survey()
        self._probes: dict[int, Probe] = {}

    def of_runs(
        self, algorithms: Algorithm[Any], state: Any, rows: Sequence[slice]
    ) -> list[dict[str, Float[np.ndarray, " own"]]]:
        """The figures of each run, whose rows of the state these are."""
        if self._transitions.shares is None:
            found = self.figures(algorithms, state)
            return [{name: values[own] for name, values in found.items()} for own in rows]
        each = []
        for own in rows:
            algorithm, mine = jax.tree.map(lambda leaf, own=own: leaf[own], (algorithms, state))
            each.append(self.figures(algorithm, mine, own.start))
        return each

    def figures(self, algorithms: Algorithm[Any], state: Any, row: int = 0) -> dict[str, Float[np.ndarray, " rows"]]:
        """Every figure under the name of its column, one number a row of the state; `row` has the discount of all."""
        share = 0 if self._transitions.shares is None else int(self._transitions.shares[row])
        if share not in self._probes:
            self._probes[share] = Probe.of(self._transitions.of_row(row))
        found = examine(algorithms, state, self._probes[share])
        return {FIGURE + name: np.asarray(value) for name, value in found.items()}


@jax.jit
def examine(algorithms: Algorithm[Any], state: Any, probe: Probe) -> dict[str, Float[Array, " rows"]]:
    """The figures of every row; `algorithms` and `state` have a leading axis of rows."""

    def one_row(row: tuple[Algorithm[Any], Any]) -> Metrics:
        algorithm, state = row
        key = stream_key(0, Stream.DIAGNOSTICS, 1)
        found = figures.of_policies(algorithm.policies(state), probe.batch, probe.returns, probe.limits, key)
        if isinstance(algorithm, Diagnosed):
            found |= algorithm.diagnostics(state, probe.batch, stream_key(0, Stream.DIAGNOSTICS, 2))
        return found | probe.dataset

    rows = algorithms, state
    return jax.lax.map(one_row, rows) if jax.default_backend() == "cpu" else jax.vmap(one_row)(rows)
