"""How long a sweep takes, and how much disk: from the operations of an update and this machine's rate of products."""

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from guidedflow.algorithms.contract import Algorithm, initial_state
from guidedflow.sweeps.grid import Planned
from guidedflow.types import Transition

OBSERVATION, ACTION = 40, 8
"""Sizes of a typical task; hidden layers decide the cost of an update."""

SHARE = 0.7
"""Of the machine's rate of matrix products, that updates reach on a CPU."""


@dataclass(frozen=True)
class Estimate:
    """Of a whole sweep."""

    runs: int
    hours: float
    """Of all places together, divided by their number; evaluations are left out."""
    gigabytes: float


def estimate(runs: Sequence[Planned], places: int) -> Estimate:
    """Hours and disk of these runs on so many places that compute at once, each at one core's rate."""
    rate = SHARE * _rate()
    seconds, size = 0.0, 0.0
    costs: dict[Hashable, tuple[float, float]] = {}
    for run in runs:
        chunk = run.plan.horizon if run.plan.chunk else 1
        shape = jax.tree.structure(run.algorithm), run.plan.batch_size, chunk
        if shape not in costs:
            costs[shape] = _cost(run.algorithm, run.plan.batch_size, chunk)
        operations, bytes_of_state = costs[shape]
        seconds += run.plan.steps * operations / rate
        size += bytes_of_state * (run.plan.kept or 1)
    return Estimate(len(runs), seconds / 3600 / max(places, 1), size / 1e9)


def _cost(algorithm: Algorithm[Any], batch_size: int, chunk: int) -> tuple[float, float]:
    """Operations of one update, and bytes of the state of one seed."""
    action = jnp.zeros(ACTION * chunk)
    seen = jnp.zeros(OBSERVATION)
    example = Transition(seen, action, jnp.zeros(()), jnp.zeros(()), seen, action)
    state = jax.eval_shape(initial_state, algorithm, example, jnp.zeros(1, jnp.int32))
    state = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), state)
    batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((batch_size, *leaf.shape), leaf.dtype), example)
    lowered = jax.jit(algorithm.update).lower(state, batch, jax.random.key(0))
    told = lowered.cost_analysis() or {}
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    return float(told.get("flops", 0.0)), float(size)


@cache
def _rate() -> float:
    """Operations a second of one core in single precision, measured in a tenth of a second."""
    left = np.random.default_rng(0).standard_normal((256, 512), np.float32)
    right = np.ones((512, 512), np.float32)
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(left, right))
    best = 0.0
    for _ in range(5):
        start = time.process_time()
        for _ in range(20):
            result = product(left, right)
        jax.block_until_ready(result)
        best = max(best, 20 * 2 * 256 * 512 * 512 / max(time.process_time() - start, 1e-9))
    return best
