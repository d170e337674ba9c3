"""Hopper, half-cheetah and walker of Gymnasium, for Minari's `mujoco/{hopper,halfcheetah,walker2d}/*-v0`.

Minari recorded them in Gymnasium's fifth versions, 1000 steps an episode. There is no success, only a return. This
module does not know what is in a dataset, nor what acts.
"""

from typing import Any

import gymnasium

from guidedflow.environments.tasks import Task
from guidedflow.environments.wrappers import installed, silent

PACKAGES = ("mujoco", "gymnasium")

_WALKERS = {"hopper": "Hopper-v5", "halfcheetah": "HalfCheetah-v5", "walker2d": "Walker2d-v5"}
_TASKS = {
    f"mujoco/{walker}/{data}-v0": Task(f"mujoco/{walker}/{data}-v0", walker, data, suite="minari")
    for walker in _WALKERS
    for data in ("simple", "medium", "expert")
}


def names() -> list[str]:
    """The nine tasks."""
    return list(_TASKS)


def find(name: str) -> Task | None:
    """The task of that name, if it is one of these."""
    return _TASKS.get(name)


def make(task: Task, render: bool, **settings: Any) -> gymnasium.Env[Any, Any]:
    """The environment of a task."""
    if render:
        settings = {"render_mode": "rgb_array", "width": 480, "height": 480} | settings
    with installed(task.name, "minari"), silent():
        return gymnasium.make(_WALKERS[task.environment], disable_env_checker=True, **settings)


def describe(task: Task) -> dict[str, str]:
    """What differs from the simulators of the papers."""
    return {"differs": "GFP published before MuJoCo 4; another version of MuJoCo gives slightly other physics"}
