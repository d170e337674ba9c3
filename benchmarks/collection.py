"""Throughput of `collect` against the bare simulator on the same cores, in steps a second.

    python benchmarks/collection.py --name cube-single-noisy-v0

Bare: one process a core resets the same episodes and steps the actions that were just recorded, with no oracle and no
file; and, for comparison, random actions, under which an arm that grasps nothing costs less. Ours: `collect`
with as many processes; their start is taken out by the difference between a longer and a shorter collection.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from guidedflow import environments
from guidedflow.data.obtain.collect import collect
from guidedflow.data.obtain.oracles import recipe
from guidedflow.processes import available_cores

Episodes = list[tuple[int, NDArray[np.float32]]]
"""The seed of the reset and the actions of each episode."""


def bare(connection: Connection, name: str) -> None:
    """Answer each list of episodes with the seconds that it took to step through them."""
    environment = environments.make(
        name, goal=False, terminate_at_goal=False, mode="data_collection", max_episode_steps=recipe(name).rows
    )
    while episodes := connection.recv():
        start = time.perf_counter()
        for seed, actions in episodes:
            environment.reset(seed=seed)
            for action in actions:
                environment.step(action)
        connection.send(time.perf_counter() - start)


def recorded(path: Path, rows: int) -> Episodes:
    """What was collected into a file with seed 0."""
    with np.load(path, allow_pickle=False) as arrays:
        actions = arrays["actions"].reshape(-1, rows, arrays["actions"].shape[1])
    seeds = [np.random.SeedSequence(0, spawn_key=(0, i)).spawn(2)[0].generate_state(1)[0] for i in range(len(actions))]
    return [(int(seed), mine[:-1]) for seed, mine in zip(seeds, actions, strict=True)]


def floor(pipes: list[Connection], episodes: Episodes) -> float:
    """Steps a second of all bare processes together."""
    shares = [episodes[i :: len(pipes)] for i in range(len(pipes))]
    for pipe, share in zip(pipes, shares, strict=True):
        pipe.send(share)
    return sum(sum(len(a) for _, a in share) / pipe.recv() for pipe, share in zip(pipes, shares, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="cube-single-noisy-v0")
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--workers", type=int, default=available_cores())
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    rows = recipe(options.name).rows
    rng = np.random.default_rng(0)

    context = multiprocessing.get_context("spawn")
    pipes = []
    for _ in range(options.workers):
        ours, theirs = context.Pipe()
        context.Process(target=bare, args=(theirs, options.name), daemon=True).start()
        pipes.append(ours)

    def seconds(folder: str, episodes: int) -> tuple[Path, float]:
        start = time.perf_counter()
        path, _ = collect(options.name, episodes, options.workers, 0, Path(folder), overwrite=True, progress=False)
        return path, time.perf_counter() - start

    rates: dict[str, list[float]] = {"collect": [], "same actions": [], "random actions": []}
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            _, short = seconds(folder, options.workers)
            path, long = seconds(folder, options.workers + options.episodes)
            episodes = recorded(path, rows)[: options.episodes]
        rates["collect"].append(options.episodes * rows / (long - short))
        rates["same actions"].append(floor(pipes, episodes))
        uniform = [(seed, rng.uniform(-1, 1, actions.shape).astype(np.float32)) for seed, actions in episodes]
        rates["random actions"].append(floor(pipes, uniform))
    print(f"{options.name}, {options.workers} processes, medians of {options.repeats}")
    collected = statistics.median(rates["collect"])
    for name, found in rates.items():
        rate = statistics.median(found)
        print(
            f"{name:>15}: {rate:8,.0f} steps/s"
            + ("" if name == "collect" else f", collect is {collected / rate:.2f} of it")
        )
    for pipe in pipes:
        pipe.send([])


if __name__ == "__main__":
    main()
