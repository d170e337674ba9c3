"""Update speed of every algorithm, as a fraction of the float32 matmul rate that the same run measures.

    python benchmarks/updates.py [--json] [--algorithms bc fql gfp] [--layers 3x256 4x512] [--seeds 1 4]

Operations are those of the matrix products in the update's own program: its jaxpr, loops times their length, without
dead code and repetitions (for GFP, FQL and BC this equals what is left in the compiled program); of a choice between
two branches, of which ReBRAC has one and takes each every second time, it is their mean. The floor is a chain
of 1024x1024 products in one compiled loop. Each repeat times the floor and the updates one after the other, and the
median of their ratios is shown. A first update is tracing, compiling and one step, initialisation included. Targets on
a CPU with nothing else to do: 0.80 of the floor at 4x512, and a first update within 10 s.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jax.interpreters import partial_eval
from rich.console import Console
from rich.table import Table

from guidedflow.algorithms import ALGORITHMS
from guidedflow.algorithms.contract import Algorithm, initial_state
from guidedflow.data.dataset import Dataset
from guidedflow.training.updates import advance, in_rows

BATCH = 256
ROWS, EPISODE, OBSERVATION, ACTION = 10_000, 200, 28, 5
MATRIX = 1024
SECONDS = 0.4  # of each timed call


class Row(NamedTuple):
    """One line of the table; an update of each of K seeds counts as K updates."""

    algorithm: str
    layers: str
    seeds: int
    gflop: float
    """Of one update of one seed."""
    updates_per_second: float
    gflop_per_second: float
    matmul_gflop_per_second: float
    fraction: float
    first_update_seconds: float


def operations(function: Callable[..., Any], *args: Any) -> int:
    """Floating-point operations of the matrix products that `function(*args)` needs, repetitions counted once."""
    jaxpr = jax.make_jaxpr(function)(*args).jaxpr
    alive, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return counted(alive)


def counted(jaxpr: Any) -> int:
    """The operations of the products in a program of its own."""
    return Products().of(jaxpr, [("input", i) for i in range(len(jaxpr.invars))])[0]


class Products:
    """Counts matrix products as a compiler computes them: what has the same operation and operands is one value."""

    def __init__(self) -> None:
        self.known: dict[Any, list[Hashable]] = {}

    def of(self, jaxpr: Any, inputs: list[Hashable]) -> tuple[int, list[Hashable]]:
        """The operations that `jaxpr` adds to what was seen before, and the names of its outputs' values."""
        names = dict(zip(jaxpr.invars, inputs, strict=True)) | {var: ("constant", id(var)) for var in jaxpr.constvars}

        def name(atom: Any) -> Hashable:
            return ("literal", str(atom.val)) if isinstance(atom, core.Literal) else names[atom]

        total = 0
        for equation in jaxpr.eqns:
            added, values = self.equation(equation, [name(atom) for atom in equation.invars])
            names |= dict(zip(equation.outvars, values, strict=True))
            total += added
        return total, [name(atom) for atom in jaxpr.outvars]

    def equation(self, equation: Any, inputs: list[Hashable]) -> tuple[int, list[Hashable]]:
        """The same, of one equation; a called function is looked into, a loop is one operation of many products."""
        kind, params = equation.primitive.name, equation.params
        called = params.get("call_jaxpr", params.get("jaxpr")) if kind != "scan" else None
        if called is not None:
            return self.of(getattr(called, "jaxpr", called), inputs)
        key = (kind, str(params), *inputs)
        if key in self.known:
            return 0, self.known[key]
        self.known[key] = [("value", len(self.known), i) for i in range(len(equation.outvars))]
        if kind == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            depth = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
            return 2 * depth * math.prod(equation.outvars[0].aval.shape), self.known[key]
        if kind == "scan":
            return params["length"] * counted(params["jaxpr"].jaxpr), self.known[key]
        if kind == "cond":
            branches = params["branches"]
            return sum(counted(each.jaxpr) for each in branches) // len(branches), self.known[key]
        if kind == "while":
            raise ValueError(f"how often the parts of {kind!r} run depends on data, so they cannot be counted")
        return 0, self.known[key]


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


def random_dataset(rows: int = ROWS, episode: int = EPISODE) -> Dataset:
    """Episodes of random numbers, of the shapes of cube-single."""
    generator = np.random.default_rng(0)
    last = np.arange(1, rows + 1) % episode == 0
    return Dataset(
        name="random",
        observations=generator.standard_normal((rows, OBSERVATION), np.float32),
        actions=generator.uniform(-1, 1, (rows, ACTION)).astype(np.float32),
        rewards=generator.uniform(-1, 0, rows).astype(np.float32),
        masks=np.ones(rows, np.float32),
        last=last,
    )


class Updates:
    """The compiled training loop of one algorithm, as `guidedflow train` runs it."""

    def __init__(self, algorithm: Algorithm[Any], seeds: int):
        self.algorithm, self.seeds = algorithm, jnp.arange(seeds)
        self.algorithms = in_rows([algorithm] * seeds)
        self.transitions = random_dataset().cut()
        start = time.perf_counter()
        self.state = jax.jit(initial_state)(algorithm, self.transitions.example(), self.seeds)
        jax.block_until_ready(self(1)())
        self.first_update = time.perf_counter() - start

    def __call__(self, count: int) -> Callable[[], Any]:
        """`count` updates of every seed in one call, always from the same state."""
        return lambda: advance(self.algorithms, self.state, self.transitions, self.seeds, 0, count, BATCH)

    def operations(self) -> int:
        """Of one update of one seed."""
        state = jax.tree.map(lambda leaf: leaf[0], self.state)
        batch = self.transitions.take(jnp.arange(BATCH))
        return operations(self.algorithm.update, state, batch, jax.random.key(0))


def measure(name: str, layers: str, seeds: int, repeats: int) -> Row:
    """One row of the table."""
    depth, width = map(int, layers.split("x"))
    settings: Any = ALGORITHMS[name]
    updates = Updates(settings(hidden=(width,) * depth), seeds)
    work = updates.operations()
    floor, products_each = calibrated(matmuls)
    train, updates_each = calibrated(updates)
    rates = [
        (2 * MATRIX**3 * products_each / seconds(floor), seeds * updates_each / seconds(train)) for _ in range(repeats)
    ]
    rate = statistics.median(rate for _, rate in rates)
    return Row(
        algorithm=name,
        layers=layers,
        seeds=seeds,
        gflop=work / 1e9,
        updates_per_second=rate,
        gflop_per_second=work * rate / 1e9,
        matmul_gflop_per_second=statistics.median(floor for floor, _ in rates) / 1e9,
        fraction=statistics.median(work * rate / floor for floor, rate in rates),
        first_update_seconds=updates.first_update,
    )


def show(rows: list[Row]) -> None:
    """The rows as a table; the rate of the updates and that of the matrix products are in GFLOP/s."""
    table = Table(title=f"Updates of batch {BATCH} on {jax.devices()[0].device_kind}")
    for title in ("method", "layers", "seeds", "GFLOP", "per s", "rate", "matmul", "fraction", "first"):
        table.add_column(title, justify="left" if title == "method" else "right")
    for name, layers, seeds, gflop, speed, rate, floor, fraction, first in rows:
        table.add_row(
            name,
            layers,
            str(seeds),
            f"{gflop:.2f}",
            f"{speed:.1f}",
            f"{rate:.0f}",
            f"{floor:.0f}",
            f"{fraction:.2f}",
            f"{first:.1f} s",
        )
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description="Update speed as a fraction of the float32 matmul rate.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--algorithms", nargs="+", default=list(ALGORITHMS), choices=list(ALGORITHMS))
    parser.add_argument("--layers", nargs="+", default=["3x256", "4x512"], help="depth x width")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 4], help="trained together")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    rows = [
        measure(name, layers, seeds, options.repeats)
        for layers in options.layers
        for name in options.algorithms
        for seeds in options.seeds
    ]
    if options.json:
        device = jax.devices()[0].device_kind
        print(json.dumps({"device": device, "batch": BATCH, "rows": [row._asdict() for row in rows]}))
    else:
        show(rows)


if __name__ == "__main__":
    main()
