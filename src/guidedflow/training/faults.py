"""Numbers that are no longer finite: which seeds have them, in which update they began, and in which tensor.

An interval costs nothing more: the means of its metrics say whether one was not finite, and its last state is looked at
once. Only where something is found, the interval is computed again from its first state, an update after another. Keys
are functions of the step, so that the fault comes back.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from guidedflow.algorithms.contract import Algorithm
from guidedflow.data.transitions import Transitions
from guidedflow.keys import Stream, stream_key
from guidedflow.runs import pytrees
from guidedflow.runs.deaths import Death


class Examiner:
    """Finds the rows of a state that are no longer finite; a leaf that never was is not looked at."""

    def __init__(self, state: Any) -> None:
        self._known = np.asarray(finite(state))

    def alive(self, state: Any, metrics: dict[str, np.ndarray]) -> Bool[np.ndarray, " rows"]:
        """Which rows are finite after an interval, in their metrics and in their state."""
        fine = np.all(np.asarray(finite(state)) | ~self._known, axis=0)
        for values in metrics.values():
            fine &= np.isfinite(values)
        return fine


@jax.jit
def finite(state: Any) -> Bool[Array, "leaves rows"]:
    """Whether each leaf of each row is finite; every leaf has a leading axis of rows."""
    return jnp.stack(
        [jnp.all(jnp.isfinite(leaf).reshape(leaf.shape[0], -1), axis=1) for leaf in jax.tree.leaves(state)]
    )


def examine(
    algorithms: Algorithm[Any],
    state: Any,
    batches: Transitions,
    seeds: Int[Array, " rows"],
    row: int,
    interval: tuple[int, int],
    batch_size: int,
) -> Death:
    """Where a row, whose state is that before the interval, is first not finite."""
    own = jax.tree.map(lambda leaf: leaf[row], (algorithms, state, seeds))
    update, in_metrics, in_state = _first(*own, batches.of_row(row), *interval, batch_size)
    metrics = [name for name, bad in in_metrics.items() if bad]
    names = [name for name, bad in zip(pytrees.specs(state), np.asarray(in_state), strict=True) if bad]
    return Death(int(seeds[row]), int(update), tuple(metrics), _first_name(names))


def _first_name(names: list[str]) -> str | None:
    """The first tensor: a gradient, which Adam's first moment follows at once, and else a parameter."""
    for name in names:
        head, mark, tail = name.partition(".mu.")
        if mark:
            return f"the gradient of {head.split('.optimizer')[0]}.{tail}"
    return names[0] if names else None


@partial(jax.jit, static_argnames=("batch_size",))
def _first(
    algorithm: Algorithm[Any],
    state: Any,
    seed: Int[Array, ""],
    batches: Transitions,
    step: int | Int[Array, ""],
    end: int | Int[Array, ""],
    batch_size: int,
) -> tuple[Int[Array, ""], dict[str, Bool[Array, ""]], Bool[Array, " leaves"]]:
    """The number of the first update with something that is not finite, and what it is among metrics and leaves."""

    def broken(state: Any) -> Bool[Array, " leaves"]:
        return jnp.stack([~jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(state)])

    never = broken(state)

    def update(state: Any, step: Int[Array, ""]) -> tuple[Any, Any, Any]:
        batch = batches.sample(stream_key(seed, Stream.DATA, step), batch_size)
        state, metrics = algorithm.update(state, batch, stream_key(seed, Stream.UPDATE, step))
        return state, jax.tree.map(lambda value: ~jnp.isfinite(value), metrics), broken(state) & ~never

    def going(carry: Any) -> Bool[Array, ""]:
        _, step, bad_metrics, bad_leaves = carry
        found = jnp.any(bad_leaves) | jnp.any(jnp.stack(jax.tree.leaves(bad_metrics)))
        return (step < end) & ~found

    def body(carry: Any) -> Any:
        state, step, _, _ = carry
        state, bad_metrics, bad_leaves = update(state, step)
        return state, step + 1, bad_metrics, bad_leaves

    start = jnp.asarray(step, jnp.int32)
    shapes = jax.eval_shape(update, state, start)
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes[1:])
    _, last, bad_metrics, bad_leaves = jax.lax.while_loop(going, body, (state, start, *nothing))
    return last, bad_metrics, bad_leaves
