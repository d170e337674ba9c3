"""What a sweep saves: 16 short runs by one command against 16 commands, and two seeds on two cores against one.

    python benchmarks/sweeps.py [--repeats 1] [--updates 500] [--large 300]

Seconds of each, and their quotient. The processor time beside them is less disturbed by what else the machine does.
The data are random numbers of the sizes of cube-single.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

COLUMNS = "--columns observations=observations actions=actions rewards=rewards terminals=terminals ends=timeouts"
SEEDS, RATES = 4, ("1e-3", "3e-4", "1e-4", "3e-5")


def write(path: Path) -> None:
    """20 episodes of 200 random steps."""
    random = np.random.default_rng(0)
    ends = np.zeros(4000, bool)
    ends[199::200] = True
    np.savez(
        path,
        observations=random.standard_normal((4000, 28)).astype(np.float32),
        actions=random.uniform(-1, 1, (4000, 5)).astype(np.float32),
        rewards=random.uniform(-1, 0, 4000).astype(np.float32),
        terminals=np.zeros(4000, bool),
        timeouts=ends,
    )


def timed(commands: Sequence[str], cores: int | None = None) -> tuple[float, float]:
    """Seconds by the clock, and of the processor, of commands one after the other."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:cores])
    for command in commands:
        subprocess.run(
            [sys.executable, "-m", "guidedflow", *command.split()],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    os.sched_setaffinity(0, allowed)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return time.perf_counter() - start, used


def short(folder: Path, data: Path, updates: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """16 runs of FQL with 2 layers of 64 units: by `sweep`, and by `train` again and again, on one core."""
    words = f"--steps {updates} --log-interval {updates} --dataset {data} {COLUMNS}"
    swept = timed(
        [
            f"sweep --tasks bench --algorithms fql --hidden 64 64 {words} --seeds {SEEDS} "
            f"--grid learning_rate={','.join(RATES)} --out {folder}/sweep"
        ],
        cores=1,
    )
    alone = timed(
        [
            f"train fql --task bench --hidden 64 64 {words} --learning-rate {rate} --seed {seed} "
            f"--out {folder}/{rate}-{seed}"
            for rate in RATES
            for seed in range(SEEDS)
        ],
        cores=1,
    )
    return swept, alone


def pair(folder: Path, data: Path, updates: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Two seeds of GFP with 3 layers of 256 units on all cores: by `sweep`, and by `train --seeds 2`."""
    words = f"--hidden 256 256 256 --seeds 2 --steps {updates} --log-interval {updates} --dataset {data} {COLUMNS}"
    swept = timed([f"sweep --tasks bench --algorithms gfp {words} --out {folder}/two"])
    return swept, timed([f"train gfp --task bench {words} --out {folder}/together"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--updates", type=int, default=500)
    parser.add_argument("--large", type=int, default=1000)
    chosen = parser.parse_args()
    measures = (("16 short runs", short, chosen.updates), ("2 seeds, 3x256", pair, chosen.large))
    for name, measure, updates in measures:
        quotients = []
        for _ in range(chosen.repeats):
            with tempfile.TemporaryDirectory() as folder:
                data = Path(folder) / "bench.npz"
                write(data)
                (swept, used), (alone, spent) = measure(Path(folder), data, updates)
            quotients.append(swept / alone)
            print(f"{name}: sweep {swept:.1f} s ({used:.1f} s of processor), train {alone:.1f} s ({spent:.1f} s)")
        print(f"{name}: {statistics.median(quotients):.2f} of the time of train")


if __name__ == "__main__":
    main()
