"""From offline to online: a trained run goes on learning in its environment, one update a step.

    buffer      the published protocol of FQL (arXiv 2502.02538): dataset and replay buffer are one, drawn uniformly
    balanced    a fixed part of each batch is of the dataset (RLPD, arXiv 2302.02948), after a warm-up in which the
                frozen policy fills the replay buffer (WSRL, arXiv 2412.07762)

Networks, target networks and optimisers go on as they were. The new run is an ordinary one whose steps follow those of
the run that it goes on from; a step is one of the environment. This module does not know any algorithm.
"""

import math
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from guidedflow import environments
from guidedflow.algorithms.contract import shown
from guidedflow.data.dataset import Dataset
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.sampling.feed import open_feed
from guidedflow.data.sampling.windows import WINDOW
from guidedflow.environments.vector import Simulators, open_simulators
from guidedflow.environments.wrappers import has_images, in_parts, layout
from guidedflow.errors import InputError
from guidedflow.packing import shape_of
from guidedflow.results.intervals import first_unfinite
from guidedflow.runs import checkpoint, steering
from guidedflow.runs.trained import Trained
from guidedflow.training import buffers
from guidedflow.training.diagnosing import Doctor
from guidedflow.training.interruption import interruption
from guidedflow.training.member import Member, Order
from guidedflow.training.online_plan import Online as Online
from guidedflow.training.online_updates import OnlineLearner
from guidedflow.training.playing import Player, reward_shift

_USUAL = Online()


def finetune(
    trained: Trained,
    dataset: Dataset | Mapped,
    online: Online = _USUAL,
    *,
    out: Path | str,
    env: Callable[[], gymnasium.Env[Any, Any]] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    simulators: Simulators | None = None,
    command: Sequence[str] | None = None,
) -> Trained:
    """Go on training a run in its environment, into the folder `out`, and return what it learned.

    `dataset` is the run's own (`Trained.load`). Each training seed has an environment and a replay buffer of its own:
    those of the suite, or what `env` makes. Evaluations are in the suite's simulators, in those of `env`, or in those
    given. With `resume`, a run that was killed ends with the bits of one that was not, if its environment gives the
    same observations for the same seed and actions. Raises `InputError` for goal-conditioned data, for an environment
    whose spaces do not fit, for a folder that is in use or holds something, and for a loss that is no longer finite.
    """
    _check(trained, dataset, online)
    plan = online.plan(trained)
    cutting = replace(plan.cutting, observation_scale=trained.configuration.observation_scale)
    order = Order(
        trained.algorithm, plan, Path(out).expanduser(), resume, overwrite,
        trained.run.config.get("recipe"), command, online.plain(trained),
    )  # fmt: skip
    window = replace(WINDOW, updates=WINDOW.lasting(plan.batch_size, plan.log_interval))
    with ExitStack() as stack:
        stack.enter_context(jax.enable_x64(False))
        caught = stack.enter_context(interruption())
        feed = stack.enter_context(open_feed(dataset, cutting, window=window, seed=plan.seed, steps=plan.steps))
        member = Member(order, dataset, feed.example(), cutting, window, None)
        with caught.held():
            member.run = stack.enter_context(member.claim())
            caught.undo.append(member.run.close)
        made = env or partial(environments.make, trained.task, frame_stack=plan.frame_stack)
        worlds = [_in_parts(made()) for _ in plan.each_seed]
        for world in worlds:
            stack.callback(world.close)
        _check_spaces(trained, worlds[0])
        if plan.eval_interval and simulators is None:
            most = plan.eval_episodes * plan.seeds
            simulators = stack.enter_context(
                open_simulators(trained.task, plan.workers, most, plan.frame_stack, own=env)  # type: ignore[arg-type]
            )
        member.tracker = stack.enter_context(member.track(shown(member.algorithm)))
        step, state = _restored(member, trained)
        member.begin(0 if step == trained.step else step)
        caught.at_once = False
        folder = member.run.path / buffers.FOLDER
        if step == trained.step:
            shutil.rmtree(folder, ignore_errors=True)
        players = [
            Player(
                world, buffers.replay(online, member, folder / f"working-{seed}"), seed,
                scale=trained.action_scale, shift=0.0 if env else reward_shift(trained.task),
            )
            for world, seed in zip(worlds, plan.each_seed, strict=True)
        ]  # fmt: skip
        if step > trained.step:
            buffers.restore(players, folder / str(step))
        elif plan.eval_interval and simulators is not None:
            member.evaluate(state, step, simulators)
        learner = OnlineLearner(member, online, players, feed, len(dataset), trained.step, state)
        doctor = Doctor(feed)
        while step < plan.steps:
            end = plan.end_of_interval(step)
            start = time.perf_counter()
            numbers = learner.advance(step, end)
            _check_finite(numbers, step, end)
            speed = (end - step) / max(time.perf_counter() - start, 1e-9)
            figures = doctor.figures(learner.algorithms, learner.state)
            member.tracker.log(end, numbers | figures | member.warn(end, figures), speed)
            member.tracker.advance(end, numbers, speed)
            if plan.evaluates_at(end) and simulators is not None:
                member.evaluate(learner.state, end, simulators)
            if plan.saves_at(end) or caught.number is not None:
                buffers.save_all(member, players, learner.state, end)
            step = end
            if caught.number is not None:
                member.tracker.note(f"interrupted: saved at step {step:,}; go on with --resume")
                caught.leave(step)
        return member.trained(learner.state, step)


def _check(trained: Trained, dataset: Dataset | Mapped, online: Online) -> None:
    """Raise `InputError` for what cannot be fine-tuned."""
    if dataset.goal_conditioned:
        raise InputError(f"{dataset.name!r} is goal-conditioned; fine-tuning is for tasks with rewards.")
    expected = trained.run.config.get("dataset", {}).get("fingerprint")
    if expected is not None and dataset.fingerprint != expected:
        warnings.warn(f"{trained.run.path} was trained on another dataset than this one.", stacklevel=3)
    steering.named(trained.policies(), online.policy, trained.run.path)


def _in_parts(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    """The environment; where an image stands in a dictionary, with each part as networks take it."""
    space = env.observation_space
    return in_parts(env) if isinstance(space, gymnasium.spaces.Dict) and has_images(space) else env


def _check_spaces(trained: Trained, env: gymnasium.Env[Any, Any]) -> None:
    """Raise `InputError` for an environment that the policy cannot act in."""
    told = trained.configuration
    seen, taken = shape_of(*layout(env.observation_space)), math.prod(env.action_space.shape or ())
    size = told.transition.action_size // (told.horizon if told.chunk else 1)
    if (told.transition.observation_shape, size) != (seen, taken):
        raise InputError(
            f"{trained.run.path} takes observations of shape {told.transition.observation_shape} and acts in {size} "
            f"numbers, but the environment gives {seen} and takes {taken}; name the one that its data are of by --env."
        )


def _check_finite(numbers: Mapping[str, np.ndarray], begin: int, end: int) -> None:
    """Raise `InputError` for metrics of an interval that are no longer finite."""
    if bad := first_unfinite(numbers):
        raise InputError(
            f"Fine-tuning stopped between steps {begin} and {end}: {bad} is no longer finite; look for extreme rewards "
            "of the environment, or fine-tune a run of a lower --learning-rate. Earlier checkpoints are unharmed."
        )


def _restored(member: Member, trained: Trained) -> tuple[int, Any]:
    """The step and state of the newest intact checkpoint; those of the run that is fine-tuned where there is none."""
    if member.order.resume and checkpoint.latest(member.run.checkpoints) is not None:
        return member.restore()
    if member.order.resume:
        member.tracker.note(f"no checkpoint was found in {member.run.path}; starting from step {trained.step:,}")
    return trained.step, jax.tree.map(jnp.asarray, trained.state)
