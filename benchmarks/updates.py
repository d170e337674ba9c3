"""Update speed of every algorithm, as a fraction of the float32 matmul rate that the same run measures.

    python benchmarks/updates.py [--json] [--algorithms BC FQL GFP] [--layers 3x256 4x512] [--seeds 1 4]

Operations are those of the matrix products in the update's own program: its jaxpr without dead code, loops times their
length. The floor is a chain of 1024x1024 products in one compiled loop; each repeat times floor and update one after the
other, and the medians of the repeats are shown. A first update is tracing, compiling and one step. Targets on a CPU: 0.80
of the floor at 4x512, and a first update within 10 s.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.interpreters import partial_eval
from rich.console import Console
from rich.table import Table

from guidedflow import algorithms
from guidedflow.types import Transition

BATCH, ROWS = 256, 10_000
OBSERVATION, ACTION = 28, 5  # those of cube-single
MATRIX = 1024
SECONDS = 0.4  # of each timed call


class Row(NamedTuple):
    """One line of the table; rates are in operations or updates a second, a seed's update counts as one."""

    algorithm: str
    layers: str
    seeds: int
    gflop_per_update: float
    updates_per_second: float
    gflops: float
    floor_gflops: float
    fraction: float
    first_update_seconds: float


def products(jaxpr: Any) -> int:
    """Floating-point operations of all matrix products in `jaxpr`."""
    return sum(
        product(equation) if equation.primitive.name == "dot_general" else length * products(inner)
        for equation in jaxpr.eqns
        for inner, length in ([(None, 1)] if equation.primitive.name == "dot_general" else bodies(equation))
    )


def product(equation: Any) -> int:
    """2 x batch x rows x contracted x columns."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)


def bodies(equation: Any) -> Iterator[tuple[Any, int]]:
    """The programs inside an equation, and how often each is run."""
    if equation.primitive.name in ("while", "cond"):
        raise ValueError(f"the operations of {equation.primitive.name!r} depend on data and cannot be counted")
    length = equation.params["length"] if equation.primitive.name == "scan" else 1
    for parameter in equation.params.values():
        for part in parameter if isinstance(parameter, tuple) else (parameter,):
            if isinstance(part, core.ClosedJaxpr):
                yield part.jaxpr, length
            elif isinstance(part, core.Jaxpr):
                yield part, length


def operations(function: Callable[..., Any], *args: Any) -> int:
    """Floating-point operations of the matrix products that `function(*args)` needs."""
    jaxpr = jax.make_jaxpr(function)(*args).jaxpr
    alive, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return products(alive)


def seconds(call: Callable[[], Any]) -> float:
    """How long `call` takes, its results included."""
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def calibrated(make: Callable[[int], Callable[[], Any]]) -> tuple[Callable[[], Any], int]:
    """`make(n)` for the n that takes about `SECONDS`, and n; compiled and warm."""
    short = make(1)
    seconds(short)
    length = max(1, round(SECONDS / min(seconds(short) for _ in range(3))))
    call = make(length)
    seconds(call)
    return call, length


def matmuls(length: int) -> Callable[[], Any]:
    """The floor: a chain of `length` products, each needing the one before."""
    matrix = jax.random.normal(jax.random.key(0), (MATRIX, MATRIX)) / math.sqrt(MATRIX)

    @jax.jit
    def chain(x: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda x, _: (x @ matrix, None), x, None, length=length)[0]

    return lambda: chain(matrix)


def transitions(key: jax.Array) -> Transition:
    """A table of random transitions on the device."""
    keys = jax.random.split(key, 5)
    return Transition(
        observation=jax.random.normal(keys[0], (ROWS, OBSERVATION)),
        action=jax.random.uniform(keys[1], (ROWS, ACTION), minval=-1.0),
        reward=jax.random.uniform(keys[2], (ROWS,), minval=-1.0, maxval=0.0),
        discount=jnp.full(ROWS, 0.99),
        next_observation=jax.random.normal(keys[3], (ROWS, OBSERVATION)),
        next_action=jax.random.uniform(keys[4], (ROWS, ACTION), minval=-1.0),
    )


class Updates:
    """The compiled training loop of one algorithm: draw a batch, update, again; all seeds under one vmap."""

    def __init__(self, algorithm: Any, seeds: int):
        self.algorithm, self.table = algorithm, transitions(jax.random.key(0))
        self.keys = jax.random.split(jax.random.key(1), seeds)
        example = jax.tree.map(lambda column: column[0], self.table)
        start = time.perf_counter()
        self.state = jax.jit(jax.vmap(algorithm.init, in_axes=(None, 0)))(example, self.keys)
        seconds(self(1))
        self.first_update = time.perf_counter() - start

    def operations(self) -> int:
        """Of one update of one seed."""
        batch = jax.tree.map(lambda column: column[:BATCH], self.table)
        state = jax.tree.map(lambda leaf: leaf[0], self.state)
        return operations(self.algorithm.update, state, batch, self.keys[0])

    def __call__(self, length: int) -> Callable[[], Any]:
        """`length` updates of every seed in one call, always from the same state."""

        def train(state: Any, key: jax.Array) -> Any:
            def step(state: Any, i: jax.Array) -> tuple[Any, Any]:
                data_key, update_key = jax.random.split(jax.random.fold_in(key, i))
                rows = jax.random.randint(data_key, (BATCH,), 0, ROWS)
                return self.algorithm.update(state, jax.tree.map(lambda column: column[rows], self.table), update_key)

            return jax.lax.scan(step, state, jnp.arange(length))

        compiled = jax.jit(jax.vmap(train))
        return lambda: compiled(self.state, self.keys)


def measure(name: str, layers: str, seeds: int, repeats: int) -> Row:
    """One row of the table."""
    depth, width = map(int, layers.split("x"))
    updates = Updates(getattr(algorithms, name)(hidden=(width,) * depth), seeds)
    work = updates.operations()
    floor, products_each = calibrated(matmuls)
    train, updates_each = calibrated(updates)
    pairs = [(seconds(floor), seconds(train)) for _ in range(repeats)]
    floor_rate = statistics.median(2 * MATRIX**3 * products_each / floor for floor, _ in pairs)
    rate = statistics.median(updates_each * seeds / train for _, train in pairs)
    return Row(
        algorithm=name,
        layers=layers,
        seeds=seeds,
        gflop_per_update=work / 1e9,
        updates_per_second=rate,
        gflops=work * rate / 1e9,
        floor_gflops=floor_rate / 1e9,
        fraction=work * rate / floor_rate,
        first_update_seconds=updates.first_update,
    )


def show(rows: list[Row]) -> None:
    """The rows as a table."""
    table = Table(title=f"Updates, batch {BATCH}, {jax.devices()[0].device_kind}, {jax.device_count()} device(s)")
    for title in (
        "algorithm",
        "layers",
        "seeds",
        "GFLOP",
        "updates/s",
        "GFLOP/s",
        "matmul GFLOP/s",
        "fraction",
        "first",
    ):
        table.add_column(title, justify="left" if title in ("algorithm", "layers") else "right")
    for row in rows:
        table.add_row(
            row.algorithm,
            row.layers,
            str(row.seeds),
            f"{row.gflop_per_update:.2f}",
            f"{row.updates_per_second:.1f}",
            f"{row.gflops:.0f}",
            f"{row.floor_gflops:.0f}",
            f"{row.fraction:.2f}",
            f"{row.first_update_seconds:.1f} s",
        )
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--algorithms", nargs="+", default=["BC", "FQL", "GFP"])
    parser.add_argument("--layers", nargs="+", default=["3x256", "4x512"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    rows = [
        measure(name, layers, seeds, options.repeats)
        for layers in options.layers
        for name in options.algorithms
        for seeds in options.seeds
    ]
    if options.json:
        print(
            json.dumps(
                {"device": jax.devices()[0].device_kind, "batch": BATCH, "rows": [row._asdict() for row in rows]}
            )
        )
    else:
        show(rows)


if __name__ == "__main__":
    main()
