"""What the diagnostics of training cost, as a share of the time of the updates between them.

    python benchmarks/diagnostics.py [--json] [--algorithms gfp fql iql] [--layers 3x128 3x256] [--interval 1000]

Once a log interval a run looks for numbers that are not finite and computes its figures. In one process, calls of some
updates and calls of these checks take turns. A row shows the median of each, and the second as a share of a whole
interval of updates. "first" is what a run pays once: the survey of its dataset, tracing and compiling. Times are those
of the process on its core, so that a busy machine changes them little; pin it to one core. The target is 2 %.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from updates import random_dataset

from guidedflow.algorithms import ALGORITHMS
from guidedflow.algorithms.contract import initial_state
from guidedflow.results import tables
from guidedflow.training.diagnosing import Doctor
from guidedflow.training.faults import Examiner
from guidedflow.training.updates import advance, in_rows

BATCH = 256
ROWS, EPISODE = 200_000, 1000
TARGET = 0.02
UPDATES = 20
"""Updates of one timed call."""


class Row(NamedTuple):
    """One line of the table."""

    algorithm: str
    layers: str
    update_milliseconds: float
    finite_milliseconds: float
    figures_milliseconds: float
    share: float
    """Of the updates of an interval."""
    first_seconds: float
    """Survey of the dataset, and tracing and compiling of the figures, once a run."""


def seconds(call: Callable[[], Any]) -> float:
    """Time of this process on its cores, results included."""
    start = time.process_time()
    jax.block_until_ready(call())
    return time.process_time() - start


def measure(name: str, layers: str, interval: int, repeats: int) -> Row:
    """One row of the table."""
    depth, width = map(int, layers.split("x"))
    settings: Any = ALGORITHMS[name]
    algorithm = settings(hidden=(width,) * depth)
    algorithms, seeds, transitions = in_rows([algorithm]), jnp.arange(1), random_dataset(ROWS, EPISODE).cut()
    state = initial_state(algorithm, transitions.example(), seeds)

    def updates() -> Any:
        return advance(algorithms, state, transitions, seeds, 0, UPDATES, BATCH)

    _, metrics = updates()
    numbers = {metric: np.asarray(value) for metric, value in metrics.items()}
    examiner = Examiner(state)
    examiner.alive(state, numbers)
    start = time.process_time()
    doctor = Doctor(transitions)
    doctor.figures(algorithms, state)
    first = time.process_time() - start
    taken = [
        (
            seconds(updates) / UPDATES,
            seconds(lambda: examiner.alive(state, numbers)),
            seconds(lambda: doctor.figures(algorithms, state)),
        )
        for _ in range(repeats)
    ]
    update, finite, figures = (statistics.median(column) for column in zip(*taken, strict=True))
    share = (finite + figures) / (interval * update)
    return Row(name, layers, 1000 * update, 1000 * finite, 1000 * figures, share, first)


def show(rows: list[Row], interval: int) -> None:
    """The rows as a table, and whether all are within the target."""
    console = Console()
    headers = ["algorithm", "layers", "update", "finite", "figures", "share", "first"]
    cells = [
        [
            row.algorithm, row.layers, f"{row.update_milliseconds:.2f} ms", f"{row.finite_milliseconds:.2f} ms",
            f"{row.figures_milliseconds:.1f} ms", f"{row.share:.2%}", f"{row.first_seconds:.1f} s",
        ]
        for row in rows
    ]  # fmt: skip
    console.print(tables.table(headers, cells, f"Diagnostics once in {interval:,} updates of batch {BATCH}"))
    most = max(row.share for row in rows)
    console.print(
        f"The largest share is {most:.2%}; the target of {TARGET:.0%} is {'met' if most <= TARGET else 'missed'}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="What the diagnostics cost, as a share of the updates between them.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--algorithms", nargs="+", default=["gfp", "fql", "iql"], choices=list(ALGORITHMS))
    parser.add_argument("--layers", nargs="+", default=["3x128", "3x256"], help="depth x width")
    parser.add_argument("--interval", type=int, default=1000, help="updates between two diagnoses")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    rows = [
        measure(name, layers, options.interval, options.repeats)
        for layers in options.layers
        for name in options.algorithms
    ]
    if options.json:
        device = jax.devices()[0].device_kind
        print(json.dumps({"device": device, "interval": options.interval, "rows": [row._asdict() for row in rows]}))
    else:
        show(rows, options.interval)


if __name__ == "__main__":
    main()
