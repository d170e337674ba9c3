"""The tasks of each suite by name, and the environments behind them.

    ogbench     OGBench's single tasks, and its goal-conditioned environments
    adroit      the 24 hand tasks of D4RL and Minari, simulated by gymnasium-robotics
    antmaze     D4RL's six, simulated by gymnasium-robotics
    mujoco      Minari's hopper, halfcheetah and walker2d, simulated by Gymnasium
    metaworld   MetaWorld's 50 manipulation tasks, each with four kinds of data

A suite is imported when one of its environments is made, and not before. Data without a simulator may have any other
name. This module does not know what is in a dataset, what acts, or how many environments run at once.
"""

import importlib.metadata
from contextlib import nullcontext
from typing import Any

import gymnasium

from guidedflow.environments import adroit, antmaze, metaworld, mujoco, ogbench
from guidedflow.environments.goals import GoalObserved
from guidedflow.environments.ogbench import ENVIRONMENTS, SUCCESS_TIMING, SuccessTiming, datasets, tasks
from guidedflow.environments.tasks import Task
from guidedflow.environments.wrappers import Repeatable, choose_graphics, drawing, drawing_as, quiet, stacked
from guidedflow.errors import InputError, did_you_mean

__all__ = [
    "ENVIRONMENTS",
    "SUCCESS_TIMING",
    "Repeatable",
    "SuccessTiming",
    "Task",
    "alike",
    "datasets",
    "describe",
    "drawing_as",
    "known",
    "make",
    "names",
    "parse",
    "simulated",
    "task_ids",
    "tasks",
]

_SUITES = (ogbench, adroit, antmaze, mujoco, metaworld)


def known(name: str) -> bool:
    """Whether there is a simulator for a task of that name."""
    return any(suite.find(name) is not None for suite in _SUITES)


def parse(name: str) -> Task:
    """What the name of a task or of a dataset says. Raises `InputError` for a name that no suite has."""
    for suite in _SUITES:
        if (task := suite.find(name)) is not None:
            return task
    closest = did_you_mean(name, names())
    example = "cube-single-noisy-singletask-task1-v0"
    raise InputError(f"unknown task {name!r}{closest}; tasks are named like {example!r}")


def names() -> list[str]:
    """The names of all tasks, and of OGBench's datasets."""
    return [name for suite in _SUITES for name in suite.names()]


def simulated(name: str) -> None:
    """Raises `InputError` for a task without a simulator, such as data of your own."""
    if not known(name):
        raise InputError(
            f"task {name!r} has no simulator here, so that a policy cannot be rolled out; name your own environment by "
            "--env MODULE:FUNCTION, estimate returns by evaluate --off-policy, or act by guidedflow.load_policy(RUN), "
            "whose policy(observation, key) is an action"
        )


def alike(one: str, other: str) -> bool:
    """Whether two names stand for the same task of MetaWorld's, whose kinds of data share simulator and rewards."""
    found = [metaworld.find(name) for name in (one, other)]
    return None not in found and len({task.environment for task in found if task is not None}) == 1


def task_ids(name: str) -> tuple[int, ...]:
    """The tasks that a goal-conditioned name stands for, as `options["task_id"]` of a reset; none for other names."""
    return ogbench.TASK_IDS if known(name) and parse(name).goal_conditioned else ()


def make(
    task: str,
    render: bool = False,
    success_timing: SuccessTiming = SUCCESS_TIMING,
    goal: bool = True,
    frame_stack: int = 1,
    **settings: Any,
) -> gymnasium.Env[Any, Any]:
    """The environment of a task: float32 (or uint8) observations, and resets that one seed repeats bit for bit.

    Making an environment never touches data. An observation is the last `frame_stack` of the simulator, the oldest
    first, along the last axis. Where the name is goal-conditioned, the goal is joined to it, unless `goal` says
    otherwise. With `render`, `env.render()` gives 480 x 480 uint8 pictures. Further `settings` go to the suite's
    constructor; `success_timing` is OGBench's alone. Raises `InputError` for an unknown task, and where the suite or,
    for pictures, a graphics library is missing.
    """
    parsed = parse(task)
    choose_graphics(needed=render or parsed.pixels)
    if parsed.suite == "ogbench":
        settings = {"success_timing": success_timing, **settings}
    with quiet(), drawing(task) if parsed.pixels else nullcontext():
        env = _suite(parsed).make(parsed, render, **settings)
        env = env if frame_stack == 1 else stacked(env, frame_stack)
        return Repeatable(GoalObserved(env) if goal and parsed.goal_conditioned else env)


def describe(task: str, success_timing: SuccessTiming = SUCCESS_TIMING) -> dict[str, str]:
    """What a result must record to be compared with another: versions, and a sentence on what differs from the papers'.

    For OGBench it is also when success is judged.
    """
    parsed = parse(task)
    suite = _suite(parsed)
    versions = {package: importlib.metadata.version(package) for package in suite.PACKAGES}
    told = {"suite": parsed.suite, "environment": parsed.environment, **versions}
    return told | (ogbench.describe(parsed, success_timing) if suite is ogbench else suite.describe(parsed))


def _suite(task: Task) -> Any:
    return next(suite for suite in _SUITES if suite.find(task.name) is not None)
