"""Many updates of algorithms as one compiled program: sampling, gradients and Adam, of every seed of every run.

The key of an update is a function of seed and step, so there is no random state to save. This module knows no dataset
but for its batches, and does not know what happens between two such programs.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import Array, Int

from guidedflow.algorithms.contract import Algorithm
from guidedflow.data.transitions import Transitions
from guidedflow.errors import InputError
from guidedflow.keys import Stream, stream_key
from guidedflow.results.intervals import TAKEN
from guidedflow.runs import pytrees as leaves
from guidedflow.types import Metrics

_ROUND = 8
"""Updates of a round, at most."""


@dataclass
class Clock:
    """Seconds that were spent tracing and compiling one program."""

    compiled: float = 0.0
    traced: float = 0.0

    @property
    def seconds(self) -> float:
        """Of both."""
        return self.compiled + self.traced


@contextmanager
def compiling() -> Iterator[Clock]:
    """Within it, what it takes to trace and compile a program is measured by the clock that it gives."""
    clock = Clock()

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event == "/jax/core/compile/jaxpr_trace_duration":
            clock.traced = max(clock.traced, duration_secs)  # that of the whole program holds those of its parts
        elif event.startswith("/jax/core/compile/"):
            clock.compiled += duration_secs

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield clock
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def in_rows(algorithms: Sequence[Algorithm[Any]]) -> Algorithm[Any]:
    """Algorithms that differ in float settings alone as one, whose floats have a leading axis.

    Raises `InputError` for algorithms of other classes or other static settings.
    """
    if len({jax.tree.structure(each) for each in algorithms}) > 1:
        raise InputError("Runs that train as one program may differ in float settings and seeds alone.")
    return jax.tree.map(lambda *floats: jnp.stack([jnp.asarray(x, jnp.float32) for x in floats]), *algorithms)


@partial(jax.jit, static_argnames=("count", "batch_size"))
def advance(
    algorithms: Algorithm[Any],
    state: Any,
    batches: Transitions,
    seeds: Int[Array, " rows"],
    step: int | Int[Array, ""],
    count: int,
    batch_size: int,
) -> tuple[Any, Metrics]:
    """`count` updates from `step` on of every row; returns the state and each metric's mean, one number a row.

    A row is one training seed of one run: `algorithms`, `state` and `seeds` have a leading axis of rows (`in_rows`).
    Rows are spread over the devices where their number is a multiple of them. Raises `InputError` for an update that
    breaks the contract of `Algorithm`.
    """
    none = no_metrics(algorithms, state, batches, seeds, count, batch_size)
    state, metrics = advance_some(algorithms, state, none, batches, seeds, step, 0, count, count, batch_size)
    return state, means(metrics)


def no_metrics(
    algorithms: Algorithm[Any],
    state: Any,
    batches: Transitions,
    seeds: Int[Array, " rows"],
    count: int,
    batch_size: int,
) -> Metrics:
    """Room for every metric of `count` updates of every row, for `advance_some` to fill."""

    def first_row(algorithms: Algorithm[Any], state: Any, batches: Transitions, seeds: Int[Array, " rows"]) -> Metrics:
        algorithm, own, seed = jax.tree.map(lambda leaf: leaf[0], (algorithms, state, seeds))
        return _round(algorithm, own, batches.of_row(0), seed, jnp.int32(0), round_of(count), batch_size)[1]

    shapes = jax.eval_shape(first_row, algorithms, state, batches, seeds)
    return jax.tree.map(lambda metric: jnp.zeros((len(seeds), count), metric.dtype), shapes)


def round_of(count: int) -> int:
    """Updates of an interval of `count` between two looks at where a piece ends; each look may wait for the device."""
    return max(size for size in range(1, _ROUND + 1) if count % size == 0)


@partial(jax.jit, static_argnames=("count", "batch_size"))
def advance_some(
    algorithms: Algorithm[Any],
    state: Any,
    metrics: Metrics,
    batches: Transitions,
    seeds: Int[Array, " rows"],
    step: int | Int[Array, ""],
    begin: int | Int[Array, ""],
    end: int | Int[Array, ""],
    count: int,
    batch_size: int,
) -> tuple[Any, Metrics]:
    """Updates `begin` to `end` of an interval of `count` from `step` on; returns the state and the metrics so far.

    One program serves every piece of an interval, since both ends are arguments; they must be multiples of
    `round_of(count)`. `metrics` have one number an update, of which those before `begin` are kept.
    """

    def one_row(row: tuple[Algorithm[Any], Any, Metrics, Int[Array, ""], Int[Array, ""] | None]) -> tuple[Any, Metrics]:
        algorithm, state, metrics, seed, place = row
        mine = batches if place is None else batches.of_row(place)
        size = round_of(count)

        def go(carry: tuple[Any, Metrics, Int[Array, ""]]) -> tuple[Any, Metrics, Int[Array, ""]]:
            state, metrics, done = carry
            state, found = _round(algorithm, state, mine, seed, step + done, size, batch_size)
            write = partial(jax.lax.dynamic_update_slice_in_dim, start_index=done, axis=0)
            return state, jax.tree.map(write, metrics, found), done + size

        start = state, metrics, jnp.asarray(begin, jnp.int32)
        state, metrics, _ = jax.lax.while_loop(lambda carry: carry[2] < end, go, start)
        return state, metrics

    rows = algorithms, state, metrics, seeds, None if batches.shares is None else jnp.arange(len(seeds))
    devices = jax.devices()
    if len(devices) == 1 or len(seeds) % len(devices):
        return _every_row(one_row, rows)
    mesh = jax.make_mesh((len(devices),), ("rows",), axis_types=(AxisType.Auto,))
    spread = jax.shard_map(
        partial(_every_row, one_row),
        mesh=mesh,
        in_specs=PartitionSpec("rows"),
        out_specs=PartitionSpec("rows"),
        check_vma=False,
    )
    return spread(rows)


@jax.jit
def means(metrics: Metrics) -> Metrics:
    """The mean of each metric over the updates of an interval, one number a row."""
    return _every_row(partial(jax.tree.map, jnp.mean), metrics) if metrics else metrics


def _every_row(one_row: Callable[[Any], Any], rows: Any) -> Any:
    """A function of one row, of all of them.

    A CPU has nothing to gain from wider products: there the mapped update is a fifth slower than the plain one, so rows
    take turns, and together they compute the very bits that each would alone.
    """
    return jax.lax.map(one_row, rows) if jax.default_backend() == "cpu" else jax.vmap(one_row)(rows)


@partial(jax.jit, static_argnames=("count", "batch_size"))
def _round(
    algorithm: Algorithm[Any],
    state: Any,
    batches: Transitions,
    seed: Int[Array, ""],
    step: Int[Array, ""],
    count: int,
    batch_size: int,
) -> tuple[Any, Metrics]:
    """`count` updates of one row; each metric has one number an update."""

    def update(state: Any, step: Int[Array, ""]) -> tuple[Any, Metrics]:
        batch = batches.sample(stream_key(seed, Stream.DATA, step), batch_size)
        updated, metrics = algorithm.update(state, batch, stream_key(seed, Stream.UPDATE, step))
        _check(type(algorithm).__name__, state, updated, metrics)
        return updated, metrics

    return jax.lax.scan(update, state, step + jnp.arange(count))


def _check(name: str, state: Any, updated: Any, metrics: Any) -> None:
    """Raises `InputError` for a state that another update could not take, and for metrics that no row can hold."""
    before, after = leaves.specs(state), leaves.specs(updated)
    for leaf in [*before, *after]:
        if before.get(leaf) != after.get(leaf):
            raise InputError(
                f"{name}.update must return a state of the shapes and types that it was given, but leaf {leaf!r} is "
                f"{after.get(leaf, 'absent')} after it and {before.get(leaf, 'absent')} before."
            )
    given, returned = jax.tree.structure(state), jax.tree.structure(updated)
    if given != returned:  # type: ignore[operator]
        raise InputError(
            f"{name}.update must return a state of the structure that it was given, but returned {returned} "
            f"for {given}."
        )
    if not isinstance(metrics, dict):
        raise InputError(f"{name}.update must return its metrics as a dict, but returned {type(metrics).__name__}.")
    for metric, value in metrics.items():
        if metric in TAKEN:
            raise InputError(
                f"{name}.update must not call a metric {metric!r}, since every row has a column {metric!r}."
            )
        if not isinstance(value, int | float | np.ndarray | np.generic | jax.Array) or jnp.shape(value):
            raise InputError(f"{name}.update must return single numbers as metrics, but {metric!r} is {value}.")
