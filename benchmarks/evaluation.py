"""Throughput of `evaluate` against the bare simulator on the same cores, in steps a second.

    python benchmarks/evaluation.py --task cube-single-noisy-singletask-task1-v0

Bare: one process a core steps one environment with actions drawn beforehand, and tells nobody. Ours: `evaluate` from
the first reset to the last row, policy and resets included, worker start and compilation excluded. The policy is
FQL's actor of 3x256 under uniform noise, so that both move the arm alike. The two take turns; medians over `--repeats`.
"""

import argparse
import functools
import multiprocessing
import statistics
import time
from multiprocessing.connection import Connection
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from guidedflow.algorithms import FQL
from guidedflow.algorithms.contract import initial_state
from guidedflow.environments import make
from guidedflow.environments.vector import Simulators
from guidedflow.evaluation.rollout import evaluate
from guidedflow.policies.policy import Policy
from guidedflow.processes import available_cores
from guidedflow.types import Transition


class Restless(NamedTuple):
    """What a policy costs, and uniform noise, but for a thousandth, for an action."""

    policy: Policy

    def __call__(self, observation: jax.Array, key: jax.Array) -> jax.Array:
        return jax.random.uniform(key, (self.policy.action_size,), minval=-1.0, maxval=1.0) + 1e-3 * self.policy(
            observation, key
        )


def restless(simulators: Simulators, hidden: int, seeds: int) -> Restless:
    """FQL's actor before its first update, with all that it carries."""
    observation = jnp.zeros(simulators.single_observation_space.shape)
    action, number = jnp.zeros(simulators.single_action_space.shape), jnp.zeros(())
    example = Transition(observation, action, number, number, observation, action)
    algorithm = FQL(hidden=(hidden,) * 3)
    return Restless(algorithm.policies(initial_state(algorithm, example, jnp.arange(seeds)))["actor"])


def bare(connection: Connection, task: str, worker: int) -> None:
    """Answer each number of steps with the seconds that they took, resets included."""
    environment = make(task)
    generator = np.random.default_rng(worker)
    while (steps := connection.recv()) > 0:
        actions = generator.uniform(-1, 1, (steps, environment.action_space.sample().size)).astype(np.float32)
        start = time.perf_counter()
        environment.reset(seed=int(generator.integers(2**31)))
        for i, action in enumerate(actions):
            _, _, terminated, truncated, _ = environment.step(action)
            if terminated or truncated:
                environment.reset(seed=i)
        connection.send(time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--task", default="cube-single-noisy-singletask-task1-v0")
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--environments", type=int, nargs="+", default=[16])
    parser.add_argument("--workers", type=int, default=available_cores())
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()

    context = multiprocessing.get_context("spawn")
    pipes = []
    for worker in range(options.workers):
        ours, theirs = context.Pipe()
        context.Process(target=bare, args=(theirs, options.task, worker), daemon=True).start()
        pipes.append(ours)
    pools = {n: Simulators(functools.partial(make, options.task), n, options.workers) for n in options.environments}
    ratios: dict[int, list[float]] = {n: [] for n in pools}
    rates: dict[int, list[float]] = {n: [] for n in pools}
    floors: list[float] = []
    for repeat in range(-1, options.repeats):
        steps = 200 if repeat < 0 else 100 * options.episodes * options.seeds // options.workers
        floors.append(floor(pipes, steps))
        for number, simulators in pools.items():
            policy = restless(simulators, options.hidden, options.seeds)
            start = time.perf_counter()
            evaluation = evaluate(
                policy, simulators, task=options.task, seeds=range(options.seeds), episodes=options.episodes
            )
            rate = sum(row["length"] for row in evaluation.rows) / (time.perf_counter() - start)
            floors.append(floor(pipes, steps))
            if repeat >= 0:
                rates[number].append(rate)
                ratios[number].append(2 * rate / (floors[-2] + floors[-1]))
    print(f"bare simulator, {options.workers} processes: {statistics.median(floors):7.0f} steps/s")
    for number in pools:
        rate, ratio = statistics.median(rates[number]), statistics.median(ratios[number])
        print(
            f"evaluate, {number:3d} environments:   {rate:7.0f} steps/s, {ratio:.2f} of the bare rate "
            f"({min(ratios[number]):.2f} to {max(ratios[number]):.2f} over {options.repeats})"
        )
    for pipe in pipes:
        pipe.send(0)


def floor(pipes: list[Connection], steps: int) -> float:
    """Steps a second of all bare processes together."""
    for pipe in pipes:
        pipe.send(steps)
    return sum(steps / pipe.recv() for pipe in pipes)


if __name__ == "__main__":
    main()
