"""Memory and speed of training on more than fits in memory, and of loading what fits.

    python benchmarks/memory.py [--json] [--transitions 20000000] [--algorithm fql] [--layers 3x256]

Streamed: random episodes of 40 + 5 numbers a row (the default is 4 GB) are written part by part into a temporary folder
and trained on through windows. Memory is the peak of the resident memory that is no file's, sampled, in a process of
its own, above that of the same training on 1,000 transitions. Speed is beside training on a dataset in memory, in one
process, interval by interval in turns; the fraction is the median over pairs, and that of the sums, waiting for windows
included. Loading: a million transitions in OGBench's format, relabelled by a simulator that is there already; its floor
is NumPy reading all arrays of the file, and its peak memory is relative to the arrays that it returns. Targets: 2 GB,
0.90, 1.3 and 1.3.
"""

import argparse
import json
import multiprocessing
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

EPISODE, OBSERVATION, ACTION = 1000, 40, 5
PART = 500_000  # transitions that are made at a time
BATCH = 256


def episodes(transitions: int, seed: int = 0) -> Any:
    """A dataset of random episodes."""
    from guidedflow.data.dataset import Dataset

    generator = np.random.default_rng(seed)
    rows = transitions // EPISODE * (EPISODE + 1)
    return Dataset(
        name="random",
        observations=generator.standard_normal((rows, OBSERVATION), np.float32),
        actions=generator.random((rows, ACTION), np.float32) * 2 - 1,
        rewards=-generator.random(rows, np.float32),
        masks=np.ones(rows, np.float32),
        last=np.arange(1, rows + 1) % (EPISODE + 1) == 0,
    )


def parts(transitions: int) -> Iterator[Any]:
    """The same, a part at a time."""
    for number in range(transitions // PART):
        yield episodes(PART, number)


class Trainer:
    """The compiled intervals of one run, one call each, as `guidedflow train` makes them."""

    def __init__(self, data: Any, algorithm: str, layers: str, interval: int, window: int) -> None:
        import jax
        import jax.numpy as jnp

        from guidedflow.algorithms import ALGORITHMS
        from guidedflow.algorithms.contract import initial_state
        from guidedflow.data.sampling.feed import open_feed
        from guidedflow.data.sampling.windows import Window

        depth, width = map(int, layers.split("x"))
        settings: Any = ALGORITHMS[algorithm]
        self.algorithm, self.interval, self.step = settings(hidden=(width,) * depth), interval, 0
        size = Window(window)
        size = Window(window, size.lasting(BATCH, interval))
        self.updates = size.updates
        self._context = open_feed(data, window=size)
        self.feed = self._context.__enter__()
        self.seeds = jnp.arange(1)
        self.state = jax.jit(initial_state)(self.algorithm, self.feed.example(), self.seeds)

    def __call__(self) -> float:
        """Seconds of the next interval, the wait for its window included."""
        import jax

        from guidedflow.training.updates import advance, in_rows

        start = time.perf_counter()
        transitions = self.feed.at(self.step)
        self.state, metrics = advance(
            in_rows([self.algorithm] * len(self.seeds)),
            self.state,
            transitions,
            self.seeds,
            self.step,
            self.interval,
            BATCH,
        )
        jax.block_until_ready(metrics)
        self.step += self.interval
        return time.perf_counter() - start

    def close(self) -> None:
        self._context.__exit__(None, None, None)


def resident(kind: str = "RssAnon") -> int:
    """Bytes of this process that are in memory and no file's."""
    status = Path("/proc/self/status").read_text().split()
    return 1024 * int(status[status.index(f"{kind}:") + 1])


class Peak:
    """The peaks of the resident memory inside a `with`: without and with pages of files."""

    def __enter__(self) -> "Peak":
        self.anonymous = self.all = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._over.wait(0.005):
            self.anonymous, self.all = max(self.anonymous, resident()), max(self.all, resident("VmRSS"))

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function in a process of its own, which has no memory of others."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def trained(folder: str | None, algorithm: str, layers: str, interval: int, window: int, windows: int) -> list[int]:
    """Peak memory of training, without and with pages of files, over so many windows, or on 1,000 transitions."""
    from guidedflow.data.ondisk.mapped import Mapped

    with Peak() as peak:
        trainer = Trainer(
            episodes(1000) if folder is None else Mapped.open(folder), algorithm, layers, interval, window
        )
        last = 2 * interval if folder is None else (windows - 1) * trainer.updates + interval
        while trainer.step < last:
            trainer()
            if folder is not None and trainer.step % trainer.updates:  # a window's later intervals tell nothing new
                trainer.step += trainer.updates - trainer.step % trainer.updates
        trainer.close()
    return [peak.anonymous, peak.all]


def speeds(folder: str, fitting: int, algorithm: str, layers: str, interval: int, window: int, windows: int) -> Any:
    """Updates a second streamed and in memory, and the median of their ratios over pairs of intervals."""
    from guidedflow.data.ondisk.mapped import Mapped

    streamed = Trainer(Mapped.open(folder), algorithm, layers, interval, window)
    start = time.perf_counter()
    streamed.feed.at(0)
    first = time.perf_counter() - start
    memory = Trainer(episodes(fitting), algorithm, layers, interval, window)
    streamed(), memory()  # compile
    pairs: list[tuple[float, float]] = []
    while streamed.step < windows * streamed.updates:
        pairs.append((streamed(), memory()) if len(pairs) % 2 else (memory(), streamed())[::-1])
    streamed.close()
    return {
        "first_window_seconds": first,
        "streamed_updates_per_second": interval / statistics.median(mine for mine, _ in pairs),
        "memory_updates_per_second": interval / statistics.median(theirs for _, theirs in pairs),
        "fraction_median": statistics.median(theirs / mine for mine, theirs in pairs),
        "fraction_total": sum(theirs for _, theirs in pairs) / sum(mine for mine, _ in pairs),
        "intervals": len(pairs),
        "windows": windows,
    }


TASK, SHAPES = "cube-single-noisy-singletask-task1-v0", {"observations": 28, "actions": 5, "qpos": 21, "qvel": 20}


def write_ogbench(path: Path, transitions: int) -> None:
    """A file in OGBench's format, of random numbers of cube-single's shapes."""
    generator, rows = np.random.default_rng(0), transitions // EPISODE * (EPISODE + 1)
    columns: dict[str, Any] = {name: generator.random((rows, width), np.float32) for name, width in SHAPES.items()}
    columns["terminals"] = np.arange(1, rows + 1) % (EPISODE + 1) == 0
    np.savez(path, allow_pickle=False, **columns)


def raw(path: Path) -> float:
    """Seconds to read all arrays of a file by NumPy, and nothing else."""
    start = time.perf_counter()
    with np.load(path, allow_pickle=False) as arrays:
        kept = [arrays[name] for name in arrays.files]
    seconds = time.perf_counter() - start
    assert kept
    return seconds


def loaded(file: str, repeats: int) -> dict[str, float]:
    """Time and memory of loading, with the simulator that relabels made before."""
    import functools

    from guidedflow import environments
    from guidedflow.data.formats import ogbench

    environments.make = functools.cache(environments.make)
    path = Path(file)
    start = time.perf_counter()
    environment: Any = environments.make(TASK, goal=False)
    environment.reset()
    simulator = time.perf_counter() - start
    environment.close = lambda: None
    before = resident()
    with Peak() as peak:
        dataset = ogbench.load(path, TASK)
    columns = sum(column.nbytes for column in dataset._columns().values())
    del dataset
    pairs = []
    for _ in range(repeats):
        floor = raw(path)
        start = time.perf_counter()
        ogbench.load(path, TASK)
        pairs.append((time.perf_counter() - start, floor))
    return {
        "megabytes": columns / 1e6,
        "seconds": statistics.median(mine for mine, _ in pairs),
        "raw_seconds": statistics.median(floor for _, floor in pairs),
        "time_ratio": statistics.median(mine / floor for mine, floor in pairs),
        "peak_ratio": (peak.anonymous - before) / columns,
        "simulator_seconds": simulator,
    }


def measure(options: argparse.Namespace, place: Path) -> dict[str, Any]:
    """All figures; what is written below `place` is no longer needed after."""
    from guidedflow.data.ondisk import mapper

    run = (options.algorithm, options.layers, options.interval, options.window)
    folder = place / "data"
    start = time.perf_counter()
    mapper.write(parts(options.transitions), folder, "benchmarks/memory.py")
    wrote = time.perf_counter() - start
    size = sum(file.stat().st_size for file in folder.iterdir())
    small = alone(trained, None, *run, 0)
    large = alone(trained, str(folder), *run, 4)
    speed = alone(speeds, str(folder), options.fitting, *run, options.windows)
    shutil.rmtree(folder)
    file = place / "cube-single-noisy-v0.npz"
    alone(write_ogbench, file, options.loaded)
    return {
        "algorithm": options.algorithm,
        "layers": options.layers,
        "transitions": options.transitions,
        "gigabytes": size / 1e9,
        "write_seconds": wrote,
        "tiny_peak_gigabytes": small[0] / 1e9,
        "streamed_peak_gigabytes": large[0] / 1e9,
        "above_tiny_gigabytes": (large[0] - small[0]) / 1e9,
        "above_tiny_with_files_gigabytes": (large[1] - small[1]) / 1e9,
        "speed": speed,
        "load": alone(loaded, str(file), options.repeats),
    }


def show(told: dict[str, Any]) -> None:
    """The figures as a table, each beside what it is to be."""
    speed, load = told["speed"], told["load"]
    table = Table(title=f"{told['transitions']:,} transitions, {told['gigabytes']:.1f} GB; {told['algorithm']}")
    for title in ("measured", "figure", "target"):
        table.add_column(title, justify="left" if title == "measured" else "right")
    table.add_row("memory above a tiny dataset's", f"{told['above_tiny_gigabytes']:.2f} GB", "2 GB")
    table.add_row("... with pages of files", f"{told['above_tiny_with_files_gigabytes']:.2f} GB", "")
    table.add_row("updates/s, in memory", f"{speed['memory_updates_per_second']:.1f}", "")
    table.add_row("updates/s, streamed", f"{speed['streamed_updates_per_second']:.1f}", "")
    table.add_row("fraction, median of pairs", f"{speed['fraction_median']:.3f}", "0.90")
    table.add_row("fraction, whole time", f"{speed['fraction_total']:.3f}", "0.90")
    table.add_row("first window", f"{speed['first_window_seconds']:.1f} s", "10 s")
    table.add_row("loading, of the raw read", f"{load['time_ratio']:.2f}", "1.30")
    table.add_row("loading, peak of its arrays", f"{load['peak_ratio']:.2f}", "1.30")
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory and speed of data that does not fit, and of data that does.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--transitions", type=int, default=20_000_000, help="of the dataset on disk")
    parser.add_argument("--fitting", type=int, default=1_000_000, help="of the one in memory beside it")
    parser.add_argument("--loaded", type=int, default=1_000_000, help="of the file in OGBench's format")
    parser.add_argument("--algorithm", default="fql")
    parser.add_argument("--layers", default="3x256", help="depth x width")
    parser.add_argument("--interval", type=int, default=200, help="updates of a compiled call")
    parser.add_argument("--window", type=int, default=2**20, help="transitions on the device")
    parser.add_argument("--windows", type=int, default=3, help="for the speed")
    parser.add_argument("--repeats", type=int, default=7, help="of loading")
    parser.add_argument("--folder", type=Path, default=None, help="where to write; by default a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        free, needed = shutil.disk_usage(place).free, options.transitions * 4 * (OBSERVATION + ACTION + 4)
        if free < 1.2 * needed:
            parser.exit(
                2, f"{place} has {free / 1e9:.1f} GB free, but {1.2 * needed / 1e9:.1f} are needed; use --folder\n"
            )
        told = measure(options, Path(place))
    print(json.dumps(told)) if options.json else show(told)


if __name__ == "__main__":
    main()
