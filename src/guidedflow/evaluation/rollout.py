"""Roll policies out in simulators: an exact number of episodes, each with its own seed, one row an episode.

The success of an episode is `info["success"]` of its last step, as OGBench's own agents and FQL record it, unless the
simulators count any step. Evaluating touches no random state of training.

This module does not know how episodes share a compiled call (`play` does), how a policy was trained, which suite a task
is from, or where rows are kept.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from guidedflow import environments, recipes
from guidedflow.environments.own import Own
from guidedflow.environments.vector import Simulators
from guidedflow.errors import InputError
from guidedflow.evaluation.pace import Pace
from guidedflow.evaluation.play import Rollout
from guidedflow.keys import Stream, stream_key
from guidedflow.policies.policy import Policy
from guidedflow.results.rows import Episode, episode, summarise

SOURCES = {
    Stream.TRAINING_EPISODES: "training",
    Stream.SELECTION_EPISODES: "selection",
    Stream.REPORTING_EPISODES: "evaluate",
}
"""What the rows of each stream of episodes are called."""


@dataclass(frozen=True)
class Evaluation:
    """What was rolled out: one row an episode, sorted by task, training seed and episode.

    `simulator` has the versions of the suite, or the name of what made an environment that no suite has.
    """

    rows: list[Episode]
    simulator: Mapping[str, Any] = field(default_factory=dict)

    def labelled(self, **columns: Any) -> "Evaluation":
        """The same episodes with these columns in every row, such as `policy`, `step` and `critic_run`."""
        return replace(self, rows=[episode(**{**row, **columns}) for row in self.rows])

    def summary(self) -> dict[str, Any]:
        """Means over episodes, and of each training seed in the order of `seeds`, and of each task."""
        return summarise(self.rows) | dict(self.simulator)


def evaluate(
    policy: PyTree,
    simulators: Simulators,
    *,
    task: str,
    seeds: Sequence[int],
    episodes: int,
    seed: int = 0,
    stream: Stream = Stream.REPORTING_EPISODES,
    replan: int | None = None,
    delay: int | None = None,
    realtime: bool = False,
    task_ids: Sequence[int] = (),
    watch: Callable[[], None] | None = None,
) -> Evaluation:
    """Run `episodes` episodes of each of the K training `seeds`, and of each of `task_ids`, if there are any.

    `policy(observation, key) -> action` is for one observation; its array leaves have a leading axis of K, its scalar
    leaves (a sampler's weight) are shared. An action that is a chunk of several is executed open loop, or asked for
    anew after `replan` steps. Episode e has the same environment seed for each training seed and each task, and an
    environment is told its task as an option of its reset. `stream` keeps the episodes of reported numbers apart from
    those seen while training or choosing settings. `watch` is called after each step and reset that came back.

    With a `delay` of d steps a chunk is executed from its d-th step on, d steps after its observation; until then the
    chunk before goes on. `realtime` pulls each chunk to the one before (`guidedflow.flows.realtime`). The environment
    waits for the first chunk of an episode.

    Raises `InputError` where policy, seeds and environments do not fit each other, or what either gives is not finite.
    """
    if episodes < 1:
        raise InputError(f"evaluation: expected at least one episode, found {episodes}")
    _check(policy, simulators, task, seeds)
    pace = Pace(replan, delay, realtime or (None if delay is None else False))
    pace.check(policy, math.prod(simulators.single_action_space.shape))
    environment = own_environment(simulators)
    shared = {"task": task, **vars(pace), "source": SOURCES[stream], "environment": environment}
    shared |= {"success_at": getattr(simulators, "success", "last")}
    shared |= policy.columns() if isinstance(policy, Policy) else {}
    initial = episode_seeds(seed, stream, episodes)
    rows = []
    for options in [{"task_id": number} for number in task_ids] or [{}]:
        try:
            with jax.enable_x64(False):
                rollout = Rollout(policy, simulators, task, seeds, initial, stream_key(seed, stream), pace, options)
                rollout.run(watch or (lambda: None))
        finally:
            simulators.settle()  # Nothing is on its way unless something went wrong.
        for _, row in sorted(rollout.rows.items()):
            score = None if environment else recipes.normalized(task, row["return"])
            rows.append(episode(**shared, **options, **row, score=score))
    return Evaluation(rows, {"environment": environment} if environment else environments.describe(task))


def own_environment(simulators: Simulators) -> str | None:
    """What made the environments, by name, unless it is the suites here."""
    made: Any = simulators.factory
    while isinstance(made, functools.partial):
        made = made.func
    if isinstance(made, Own):
        return made.name
    return None if made is environments.make else f"{made.__module__}.{getattr(made, '__qualname__', made)}"


def episode_seeds(seed: int, stream: Stream, episodes: int) -> list[int]:
    """The environment's seed of each episode, 32 bits from `np.random.SeedSequence`; more episodes keep the first."""
    sequences = (np.random.SeedSequence([seed, stream, episode]) for episode in range(episodes))
    return [int(sequence.generate_state(1)[0]) for sequence in sequences]


def _check(policy: PyTree, simulators: Simulators, task: str, seeds: Sequence[int]) -> None:
    if len(set(seeds)) < len(seeds) or not seeds:
        raise InputError(f"evaluation: expected one or more different training seeds, found {list(seeds)}")
    leading = {jnp.shape(leaf)[0] for leaf in jax.tree.leaves(policy) if jnp.ndim(leaf)}
    if leading - {len(seeds)}:
        raise InputError(
            f"evaluation: {len(seeds)} training seeds are named, so every array of the policy must have a leading axis "
            f"of that length, but some have {sorted(leading - {len(seeds)})}; stack the seeds' policies"
        )
    expected = getattr(policy, "observation_shape", None)
    found = simulators.observation_shape
    if expected is not None and expected != found:
        raise InputError(
            f"evaluation: the policy takes observations of shape {expected}, but task {task!r} gives {found}; "
            "evaluate it on the task that it was trained for"
        )
