"""Train an algorithm on a dataset: compiled intervals of updates, and what happens between them.

    interval    `log_interval` updates of every seed in one compiled call: sampling, gradients, Adam
    between     metrics, evaluation, checkpoint, in this order, so that a resumed run writes what any other does

Nothing in the run's folder changes before the first interval is computed.
"""

import contextlib
import math
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from guidedflow import environments
from guidedflow.algorithms.contract import Algorithm, check_data, initial_state, shown
from guidedflow.data.dataset import Dataset
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.sampling.cutting import Cutting, observation_scale
from guidedflow.data.sampling.feed import open_feed
from guidedflow.data.sampling.rebalance import Rebalance
from guidedflow.data.sampling.windows import WINDOW, Window
from guidedflow.data.sources import at_home
from guidedflow.environments.vector import Simulators, open_simulators
from guidedflow.errors import InputError
from guidedflow.evaluation.rollout import evaluate
from guidedflow.keys import Stream
from guidedflow.policies.rescaled import in_units
from guidedflow.results.intervals import first_unfinite
from guidedflow.runs import checkpoint
from guidedflow.runs.configuration import Configuration, Spaces
from guidedflow.runs.run import Run
from guidedflow.runs.tracking import Tracker
from guidedflow.runs.trained import Trained
from guidedflow.settings import defaults_of, to_plain
from guidedflow.training.interruption import interruption
from guidedflow.training.plan import Plan
from guidedflow.training.record import record
from guidedflow.training.updates import advance, compiling
from guidedflow.types import Transition


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
    normalize_observations: bool | None = None,
    simulators: Simulators | None = None,
) -> Trained:
    """Train `algorithm` on `dataset` into the run folder `out`, and return what it learned.

    A dataset on disk is read a `window` after another. With `rebalance`, transitions are not drawn uniformly.
    Observations that are no images are brought to mean 0 and deviation 1 with `normalize_observations`, by default
    where the dataset is none of a suite's; a resumed run goes on as it was. `recipe`
    is kept in the configuration, as a record of where the settings came from (`Recipe.record`). Evaluations on the way
    are in the simulators of the dataset's task, or in those that are given. Raises `InputError` for observations that
    no network here takes, a folder that is in use or holds something, and a loss that is no longer finite.
    """
    _check_arguments(algorithm, dataset, plan)
    window = replace(window, updates=window.lasting(plan.batch_size, plan.log_interval))
    out = Path(out).expanduser()
    normalizes = _normalizes(dataset, out, resume) if normalize_observations is None else normalize_observations
    cutting = replace(plan.cutting, observation_scale=observation_scale(dataset) if normalizes else None)
    with ExitStack() as stack:
        # what is read, and what it is recorded as
        feed = stack.enter_context(
            open_feed(dataset, cutting, rebalance=rebalance, window=window, seed=plan.seed, steps=plan.steps)
        )
        example = feed.example()
        check_data(algorithm, example)
        configuration = _configuration(dataset, example, plan, cutting)
        used = window if isinstance(dataset, Mapped) else None
        config = record(algorithm, dataset, plan, configuration, recipe=recipe, window=used, rebalance=rebalance)

        # where it is written, and what watches it
        defaults = to_plain(Plan()) | {"algorithm": defaults_of(type(algorithm))}
        run = stack.enter_context(Run.claim(out, config, resume, overwrite, defaults))
        if plan.eval_interval:
            if simulators is None:
                most = plan.eval_episodes * plan.seeds
                opened = open_simulators(dataset.name, plan.workers, most, plan.frame_stack)
                simulators = stack.enter_context(opened)
            _check_simulators(simulators, dataset.name, example, plan)
        tracker = stack.enter_context(
            Tracker(run.path, plan.each_seed, plan.steps, shown=shown(algorithm), wandb=plan.wandb, config=config)
        )

        # the state at the newest intact checkpoint, or at the start
        seeds = jnp.asarray(plan.each_seed, jnp.int32)
        step, state = _restore(run, algorithm, example, seeds, plan, resume)
        run.warn_of_changes()
        if step == 0 and resume:
            tracker.note(f"no checkpoint was found in {run.path}; starting from 0")

        caught = stack.enter_context(interruption())
        caught.at_once = step == 0
        began = False
        while step < plan.steps:
            end = plan.end_of_interval(step)
            with compiling() as clock:
                start = time.perf_counter()
                state, metrics = advance(algorithm, state, feed.at(step), seeds, step, end - step, plan.batch_size)
                numbers = {name: np.asarray(value) for name, value in metrics.items()}
                seconds = time.perf_counter() - start - clock.seconds
            _refuse_unfinite(numbers, step, end)
            if not began:
                run.begin()
                tracker.rewind(step or None)
                began, caught.at_once = True, False
            speed = (end - step) / max(seconds, 1e-9)
            step = end
            tracker.log(step, numbers, speed)
            tracker.advance(step, numbers, speed)
            if plan.evaluates_at(step) and simulators is not None:
                for name, policy in algorithm.policies(state).items():
                    found = evaluate(
                        in_units(policy, configuration.action_scale, cutting.observation_scale), simulators,
                        task=dataset.name, seeds=plan.each_seed, episodes=plan.eval_episodes, seed=plan.seed,
                        stream=Stream.TRAINING_EPISODES, task_ids=environments.task_ids(dataset.name),
                    )  # fmt: skip
                    tracker.episodes(found.labelled(policy=name, step=step).rows)
            if plan.saves_at(step) or caught.number is not None:
                checkpoint.save(run.checkpoints, step, state, plan.kept)
            if caught.number is not None:
                tracker.note(f"interrupted: saved at step {step:,}; go on with --resume")
                raise SystemExit(caught.status)
        return Trained(run, algorithm, state, step, configuration)


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


def _normalizes(dataset: Dataset | Mapped, out: Path, resume: bool) -> bool:
    """Whether observations are normalised where nobody says so: as the run was that goes on, or for other than suites.

    The suites' methods were published on raw observations.
    """
    if resume and out.is_dir():
        with contextlib.suppress(InputError):
            return "observation_scale" in Run.open(out).config
    return not at_home(dataset.name)


def _configuration(dataset: Dataset | Mapped, example: Transition, plan: Plan, cutting: Cutting) -> Configuration:
    """What it takes to use what is trained."""
    return Configuration(
        task=dataset.name,
        seed=plan.seed,
        seeds=plan.seeds,
        discount=plan.discount,
        horizon=plan.horizon,
        chunk=plan.chunk,
        transition=Spaces.of(example),
        frame_stack=plan.frame_stack,
        goals=plan.goals,
        action_scale=dataset.action_scale,
        observation_scale=cutting.observation_scale,
    )


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


def _restore(
    run: Run, algorithm: Algorithm[Any], example: Transition, seeds: jax.Array, plan: Plan, resume: bool
) -> tuple[int, Any]:
    """The step and the state to go on from. Raises `InputError` where the run has come further than the plan."""
    newest = checkpoint.latest(run.checkpoints) if resume else None
    if newest is None:
        return 0, initial_state(algorithm, example, seeds)
    if newest > plan.steps:
        raise InputError(f"{run.path} has come to step {newest} already; give --steps beyond it.")
    like = jax.eval_shape(initial_state, algorithm, example, seeds)
    step, state = checkpoint.load(run.checkpoints, None, like)
    return step, jax.tree.map(jnp.asarray, state)


def _refuse_unfinite(metrics: Mapping[str, np.ndarray], step: int, end: int) -> None:
    if bad := first_unfinite(metrics):
        raise InputError(
            f"Training stopped between steps {step} and {end}: {bad} is no longer finite; "
            "look for extreme rewards in the dataset, or lower --learning-rate. Earlier checkpoints are unharmed."
        )
