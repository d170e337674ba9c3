"""What a run has learned: its policies, as saved, and how they do in the simulator.

This module does not know how runs are trained.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from guidedflow import checkpoint, environments, files, video
from guidedflow.algorithm import Algorithm
from guidedflow.algorithms import ALGORITHMS
from guidedflow.errors import InputError, did_you_mean
from guidedflow.evaluation import Evaluation, evaluate
from guidedflow.policy import Policy
from guidedflow.processes import available_cores
from guidedflow.run import Run
from guidedflow.sampling import Sampler
from guidedflow.settings import from_plain
from guidedflow.streams import Stream, stream_key
from guidedflow.types import Transition
from guidedflow.vector import Simulators


class Trained:
    """A run at one of its checkpoints; every array of `state` has a leading axis of `seeds`."""

    def __init__(self, run: Run, algorithm: Algorithm[Any], state: Any, step: int):
        self.run = run
        self.algorithm = algorithm
        self.state = state
        self.step = step
        self.task: str = run.config["task"]
        self.seeds: list[int] = seeds_of(run.config)

    @classmethod
    def open(cls, path: Path | str, step: int | None = None) -> "Trained":
        """The run at `path`, at `step` or at its newest checkpoint; what cannot be read is an `InputError`."""
        run = Run.open(Path(path))
        algorithm = algorithm_of(run.config)
        like = jax.eval_shape(initial_state, algorithm, example_of(run.config), jnp.asarray(seeds_of(run.config)))
        step, state = checkpoint.load(run.checkpoints, step, like)
        return cls(run, algorithm, state, step)

    def policies(self) -> dict[str, Policy]:
        """The policies by name, of all seeds at once: every array has a leading axis of seeds."""
        return self.algorithm.policies(self.state)

    def policy(self, name: str | None = None, seed: int | None = None) -> Policy:
        """One policy of one training seed, by default the main policy and the first seed."""
        seed = self.seeds[0] if seed is None else seed
        if seed not in self.seeds:
            raise InputError(f"{self.run.path} has no seed {seed}; it was trained with {self.seeds}.")
        one = jax.tree.map(lambda leaf: leaf[self.seeds.index(seed)], self.state)
        return self._named(self.algorithm.policies(one), name)

    def evaluate(
        self,
        policy: str | None = None,
        *,
        episodes: int = 50,
        seed: int = 0,
        sampler: Sampler | None = None,
        simulators: Simulators | None = None,
        task: str | None = None,
    ) -> Evaluation:
        """Roll a policy of every seed out for `episodes` episodes each, and append the rows to the run's evaluations.

        `seed` chooses the episodes; they are never those seen while training. Give `simulators` to use them again.
        A `task` other than the run's own is for policies that do not depend on rewards.
        """
        task = task or self.task
        if simulators is None:
            with open_simulators(task) as own:
                return self.evaluate(policy, episodes=episodes, seed=seed, sampler=sampler, simulators=own, task=task)
        name, chosen = self._chosen(policy, sampler)
        result = evaluate(
            chosen,
            simulators,
            task=task,
            seeds=self.seeds,
            episodes=episodes,
            seed=seed,
            policy_name=name,
            sampler=str(chosen.sampler),
            step=self.step,
            source="evaluate",
            simulator=environments.describe(task),
        )
        files.append_rows(self.run.evaluations, result.rows)
        return result

    def film(
        self, path: Path, policy: str | None = None, *, episodes: int = 1, sampler: Sampler | None = None
    ) -> Evaluation:
        """Film a policy of the first seed into an MP4 or GIF; without a graphics library it is an `InputError`."""
        _, chosen = self._chosen(policy, sampler)
        factory = partial(environments.make, self.task, render=True)
        return video.record(chosen, factory, path, task=self.task, seeds=self.seeds, episodes=episodes)

    def _chosen(self, policy: str | None, sampler: Sampler | None) -> tuple[str, Policy]:
        stacked = self.policies()
        chosen = self._named(stacked, policy)
        name = next(name for name, candidate in stacked.items() if candidate is chosen)
        return name, chosen if sampler is None else chosen.with_sampler(sampler)

    def _named(self, policies: Mapping[str, Policy], name: str | None) -> Policy:
        if name is None:
            return next(iter(policies.values()))
        if name not in policies:
            raise InputError(
                f"{self.run.path} has no policy {name!r}{did_you_mean(name, policies)}; it has {', '.join(policies)}."
            )
        return policies[name]


def load_policy(
    path: Path | str, name: str | None = None, *, seed: int | None = None, step: int | None = None
) -> Policy:
    """The policy of a run: `policy(observation, key)` is an action. By default the main one of the first seed."""
    return Trained.open(path, step).policy(name, seed)


def open_simulators(task: str, workers: int | None = None, number: int | None = None) -> Simulators:
    """Simulators of a task: by default four environments a core; each takes 100 to 200 MB."""
    workers = workers or available_cores()
    return Simulators(partial(environments.make, task), number or 4 * workers, workers)


def algorithm_of(config: Mapping[str, Any]) -> Algorithm[Any]:
    """The algorithm, with its settings, that a run's configuration names."""
    settings = dict(config["algorithm"])
    name = settings.pop("name")
    if name not in ALGORITHMS:
        raise InputError(f"Unknown algorithm {name!r}{did_you_mean(name, ALGORITHMS)}; known: {', '.join(ALGORITHMS)}.")
    return from_plain(ALGORITHMS[name], settings)


def seeds_of(config: Mapping[str, Any]) -> list[int]:
    """The seeds that a run trains together."""
    return [config["seed"] + i for i in range(config["seeds"])]


def example_of(config: Mapping[str, Any]) -> Transition:
    """A transition of zeros, of the shapes that a run's configuration tells."""
    spaces = config["transition"]
    observation = jnp.zeros(spaces["observation_shape"], spaces["observation_dtype"])
    action = jnp.zeros(spaces["action_size"])
    return Transition(observation, action, jnp.zeros(()), jnp.zeros(()), observation, action)


@jax.jit
def initial_state(algorithm: Algorithm[Any], example: Transition, seeds: jax.Array) -> Any:
    """The state before the first update, of all seeds at once."""
    return jax.vmap(lambda seed: algorithm.init(example, stream_key(seed, Stream.INIT)))(seeds)
