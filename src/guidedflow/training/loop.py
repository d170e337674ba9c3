"""Train an algorithm on a dataset: compiled intervals of updates, and what happens between them.

    interval    `log_interval` updates of every seed in one compiled call: sampling, gradients, Adam
    between     metrics, evaluation, checkpoint, in this order, so that a resumed run writes what any other does

This module knows no algorithm and no suite, nor how many updates become one program.
"""

import math
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import is_dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from guidedflow import environments
from guidedflow.algorithms.contract import Algorithm, initial_state
from guidedflow.data.dataset import Dataset
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.sampling.feed import Feed, open_feed
from guidedflow.data.sampling.rebalance import Rebalance
from guidedflow.data.sampling.windows import WINDOW, Window
from guidedflow.environments.vector import Simulators, open_simulators
from guidedflow.errors import InputError
from guidedflow.evaluation.rollout import evaluate
from guidedflow.keys import Stream
from guidedflow.policies.rescaled import in_units
from guidedflow.processes import available_cores
from guidedflow.results.intervals import first_unfinite
from guidedflow.runs import checkpoint
from guidedflow.runs.configuration import Configuration, name_of
from guidedflow.runs.provenance import commit, versions
from guidedflow.runs.run import Run
from guidedflow.runs.tracking import Tracker
from guidedflow.runs.trained import Trained
from guidedflow.settings import defaults_of, to_plain
from guidedflow.training.plan import Plan
from guidedflow.training.updates import advance
from guidedflow.types import Transition

SHOWN = ("critic_loss", "flow_loss", "distillation_loss", "q_loss")
"""The losses that the progress bar shows, of those that an algorithm has."""


def train(
    algorithm: Algorithm[Any],
    dataset: Dataset | Mapped,
    plan: Plan = Plan(),  # noqa: B008
    *,
    out: Path | str,
    resume: bool = False,
    overwrite: bool = False,
    recipe: Mapping[str, Any] | None = None,
    window: Window = WINDOW,
    rebalance: Rebalance | None = None,
) -> Trained:
    """Train `algorithm` on `dataset` into the run folder `out`, and return what it learned.

    A dataset on disk is read a `window` after another. With `rebalance`, transitions are not drawn uniformly. `recipe`
    is kept in the configuration, as a record of where the settings came from (`Recipe.record`). Raises `InputError` for
    a plan that cannot be carried out, observations that no network here takes, a folder that is in use or holds
    something, and a loss that is no longer finite.
    """
    _check_arguments(algorithm, dataset, plan)
    plan.check()
    window = replace(window, updates=window.lasting(plan.batch_size, plan.log_interval))
    with open_feed(dataset, plan.cutting, rebalance=rebalance, window=window, seed=plan.seed, steps=plan.steps) as feed:
        config = _configuration(algorithm, dataset, feed.example(), plan) | {
            name: record
            for name, record in {
                "action_scale": to_plain(dataset.action_scale),
                "recipe": recipe,
                "window": to_plain(window) if isinstance(dataset, Mapped) else None,
                "rebalance": to_plain(rebalance),
            }.items()
            if record is not None
        }
        return _run(algorithm, dataset.name, feed, plan, config, Path(out).expanduser(), resume, overwrite)


def _check_arguments(algorithm: Any, dataset: Any, plan: Any) -> None:
    """Raises `InputError` for what is not made to be trained."""
    for value, kind, wanted in (
        (algorithm, Algorithm, "an algorithm with its settings, such as GFP(alpha=1.0)"),
        (dataset, Dataset | Mapped, "a dataset, as load_dataset gives it"),
        (plan, Plan, "a plan, such as Plan(steps=20_000)"),
    ):
        if not isinstance(value, kind) or isinstance(value, type):
            raise InputError(f"train takes {wanted}, but got {value!r}.")
    if not is_dataclass(algorithm) or jax.tree_util.all_leaves([algorithm]):
        name = type(algorithm).__name__
        raise InputError(f"{name} is no class of settings; decorate it by guidedflow.settings.hyperparameters.")


def _run(
    algorithm: Algorithm[Any],
    task: str,
    feed: Feed,
    plan: Plan,
    config: dict[str, Any],
    out: Path,
    resume: bool,
    overwrite: bool,
) -> Trained:
    """The same, of what is open."""
    with ExitStack() as stack:
        defaults = to_plain(Plan()) | {"algorithm": defaults_of(type(algorithm))}
        run = stack.enter_context(Run.claim(out, config, resume, overwrite, defaults))
        if resume and (checkpoint.latest(run.checkpoints) or 0) > plan.steps:
            raise InputError(
                f"{run.path} has come to step {checkpoint.latest(run.checkpoints)} already; give --steps beyond it."
            )
        simulators = None
        if plan.eval_interval:
            rollouts = plan.eval_episodes * plan.seeds
            simulators = stack.enter_context(open_simulators(task, plan.workers, rollouts, plan.frame_stack))
            _check_simulators(simulators, task, feed.example(), plan)
        tracker = stack.enter_context(
            Tracker(
                run.path, Configuration.read(config).each_seed, plan.steps, shown=SHOWN, wandb=plan.wandb, config=config
            )
        )
        run.begin()  # from here on nothing of an older run is left, so all that can be missing was asked for before
        return _Training(algorithm, plan, feed, run, tracker, simulators).continue_()


def _check_simulators(simulators: Simulators, task: str, example: Transition, plan: Plan) -> None:
    """Raises `InputError` where the dataset is of other sizes than the simulator, before anything is learned."""
    seen, taken = simulators.single_observation_space.shape, math.prod(simulators.single_action_space.shape)
    found, size = example.observation.shape, example.action.size // (plan.horizon if plan.chunk else 1)
    if (found, size) != (seen, taken):
        raise InputError(
            f"The dataset has observations of shape {found} and actions of {size} numbers, but the simulator of "
            f"{task!r} gives {seen} and takes {taken}; train without --eval-interval, or under the name of the task "
            "that the data are of."
        )


class _Training:
    """One process's work on a run."""

    def __init__(
        self,
        algorithm: Algorithm[Any],
        plan: Plan,
        feed: Feed,
        run: Run,
        tracker: Tracker,
        simulators: Simulators | None,
    ):
        self.algorithm = algorithm
        self.plan = plan
        self.feed = feed
        self.run = run
        self.tracker = tracker
        self.simulators = simulators
        self.configuration = Configuration.read(run.config)
        self.seeds = jnp.asarray(self.configuration.each_seed, jnp.int32)

    def continue_(self) -> Trained:
        """Train from the newest intact checkpoint, or from the start, to the end."""
        step, state = self._restore()
        self.tracker.rewind(step or None)
        with _interruptions() as interrupted:
            while step < self.plan.steps:
                end = min((step // self.plan.log_interval + 1) * self.plan.log_interval, self.plan.steps)
                state = self._interval(state, step, end)
                step = end
                if self._due(step, self.plan.eval_interval):
                    self._evaluate(state, step)
                if self._due(step, self.plan.checkpoint_interval) or interrupted:
                    checkpoint.save(self.run.checkpoints, step, state, self.plan.keep_checkpoints or None)
                if interrupted:
                    self.tracker.note(f"interrupted: saved at step {step:,}; go on with --resume")
                    raise SystemExit(128 + interrupted[0])
        return Trained(self.run, self.algorithm, state, step, self.configuration)

    def _restore(self) -> tuple[int, Any]:
        start = self.algorithm, self.feed.example(), self.seeds
        if checkpoint.latest(self.run.checkpoints) is None:
            return 0, initial_state(*start)
        step, state = checkpoint.load(self.run.checkpoints, None, jax.eval_shape(initial_state, *start))
        return step, jax.tree.map(jnp.asarray, state)

    def _due(self, step: int, interval: int) -> bool:
        return step == self.plan.steps or (interval > 0 and step % interval == 0)

    def _interval(self, state: Any, step: int, end: int) -> Any:
        began = time.perf_counter()
        state, metrics = advance(
            self.algorithm, state, self.feed.at(step), self.seeds, step, end - step, self.plan.batch_size
        )
        numbers = {name: np.asarray(value) for name, value in metrics.items()}
        speed = (end - step) / (time.perf_counter() - began)
        if bad := first_unfinite(numbers):
            raise InputError(
                f"Training stopped between steps {step} and {end}: {bad} is no longer finite; "
                "look for extreme rewards in the dataset, or lower --learning-rate. Earlier checkpoints are unharmed."
            )
        self.tracker.log(end, numbers, speed)
        self.tracker.advance(end, numbers, speed)
        return state

    def _evaluate(self, state: Any, step: int) -> None:
        if self.simulators is None:
            return
        told = self.configuration
        for name, policy in self.algorithm.policies(state).items():
            result = evaluate(
                in_units(policy, told.action_scale),
                self.simulators,
                task=told.task,
                seeds=told.each_seed,
                episodes=self.plan.eval_episodes,
                seed=self.plan.seed,
                stream=Stream.TRAINING_EPISODES,
                task_ids=environments.task_ids(told.task),
            )
            self.tracker.episodes(result.labelled(policy=name, step=step).rows)


@contextmanager
def _interruptions() -> Iterator[list[int]]:
    """A list that receives the first SIGINT or SIGTERM, so that the interval can end and be saved."""
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for each, handler in previous.items():
            signal.signal(each, handler)

    try:
        previous = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread, where signals are somebody else's
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _configuration(
    algorithm: Algorithm[Any], dataset: Dataset | Mapped, example: Transition, plan: Plan
) -> dict[str, Any]:
    """All that it takes to tell, repeat and resume a run."""
    settings = to_plain(plan)
    if not dataset.goal_conditioned:
        del settings["goals"]
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "task": dataset.name,
        "algorithm": {"name": name_of(algorithm), **to_plain(algorithm)},
        **settings,
        "dataset": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "transitions": len(dataset),
            "episodes": dataset.episodes,
        },
        "transition": {
            "observation_shape": list(example.observation.shape),
            "observation_dtype": str(example.observation.dtype),
            "action_size": example.action.size,
        },
        # On a CPU the number of cores is the number of threads, which sums are split over: part of what makes the bits.
        "versions": {**versions(), "device": jax.devices()[0].device_kind, "cores": available_cores()},
        "commit": commit(),
    }
