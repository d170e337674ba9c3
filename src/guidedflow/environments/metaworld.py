"""MetaWorld's 50 manipulation tasks (Yu et al., arXiv 1910.10897; version 3 of the simulator), one at a time.

    metaworld-{reach-v3,push-v3,...}-{expert,noisy,mixed,dithered}

Where objects and goal stand is drawn at each reset from the whole range of the task, by the seed of the reset; the
suite itself would keep one drawing, or choose among 50. The goal is observed: an observation is 39 numbers, those of
hand and objects now and one step before, and the goal's place. An episode ends at the first step with success, as the
suite judges it after the step, or after 500 steps. MetaWorld's reward lies between 0 and 10; here it is a tenth of
that, less 1. So each step costs up to 1, and success, after which nothing follows, is worth as much as the largest
reward for ever. With sparse rewards (`--rewards sparse`) each step costs 1, and the one with success nothing.

The package `metaworld` is imported by `make` alone. This module does not know what is in a dataset, nor what acts.
"""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from guidedflow.environments.tasks import Task
from guidedflow.environments.wrappers import installed

PACKAGES = ("metaworld", "mujoco", "gymnasium")

_NAMES = (
    "assembly basketball bin-picking box-close button-press button-press-topdown button-press-topdown-wall "
    "button-press-wall coffee-button coffee-pull coffee-push dial-turn disassemble door-close door-lock door-open "
    "door-unlock drawer-close drawer-open faucet-close faucet-open hammer hand-insert handle-press "
    "handle-press-side handle-pull handle-pull-side lever-pull peg-insert-side peg-unplug-side pick-out-of-hole "
    "pick-place pick-place-wall plate-slide plate-slide-back plate-slide-back-side plate-slide-side push push-back "
    "push-wall reach reach-wall shelf-place soccer stick-pull stick-push sweep sweep-into window-close window-open"
)
ENVIRONMENTS = tuple(f"{name}-v3" for name in _NAMES.split())
"""The suite's own names of its tasks."""

DATA = ("expert", "noisy", "mixed", "dithered")
"""Kinds of data; `guidedflow.data.obtain.metaworld` says what they are."""

STEPS = 500
"""Steps after which an episode is cut off."""

LARGEST_REWARD = 10.0

CAMERA = "corner2"
"""Sees hand, table and objects, but stands upside down in version 3."""

_TASKS = {
    task.name: task
    for environment in ENVIRONMENTS
    for data in DATA
    for task in (Task(f"metaworld-{environment}-{data}", environment, data, suite="metaworld"),)
}


def names() -> list[str]:
    """The 200 tasks."""
    return list(_TASKS)


def find(name: str) -> Task | None:
    """The task of that name, if it is one of these."""
    return _TASKS.get(name)


def make(task: Task, render: bool, **settings: Any) -> gymnasium.Env[Any, Any]:
    """The environment of a task; `info["success"]` tells whether it is solved. Further `settings` go to MetaWorld's."""
    if render:
        settings = {"render_mode": "rgb_array", "camera_name": CAMERA, "width": 480, "height": 480} | settings
    with installed(task.name, "metaworld"):
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS

        return SingleTask(ALL_V3_ENVIRONMENTS[task.environment](**settings))


def describe(task: Task) -> dict[str, str]:
    """What differs from the simulators of papers."""
    differs = (
        "objects and goal are drawn anew at each reset, the goal is observed, an episode ends at success, and a reward "
        "is a tenth of MetaWorld's less 1; papers differ in all four"
    )
    return {"differs": differs}


class SingleTask(gymnasium.Wrapper[Any, Any, Any, Any]):
    """One of MetaWorld's tasks with its goal observed; the seed of a reset draws where objects and goal stand."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        arm: Any = env.unwrapped
        # What MetaWorld's own multi-task benchmarks set by `set_task`, which needs a pickled task.
        arm._set_task_called, arm._partially_observable = True, False
        vars(arm).pop("sawyer_observation_space", None)  # It is kept, and says that a hidden goal is 0.
        arm._freeze_rand_vec, arm.seeded_rand_vec = False, True
        self._arm = arm

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start an episode; MetaWorld ignores the seed of a reset and has a method of its own for it."""
        if seed is not None:
            self._arm.seed(int(seed))
        observation, _ = self.env.reset()
        return observation, {"success": False}

    def step(self, action: NDArray[Any]) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """One step of the simulator, with `info["dense_reward"]` as MetaWorld gives it."""
        observation, reward, _, truncated, info = self.env.step(action)
        success = bool(info["success"])
        told = {**info, "success": success, "dense_reward": float(reward)}
        return observation, float(reward) / LARGEST_REWARD - 1, success, truncated and not success, told

    def render(self) -> Any:
        """A picture, turned the right way up."""
        picture = self.env.render()
        if isinstance(picture, np.ndarray) and self._arm.camera_name == CAMERA:
            return np.ascontiguousarray(picture[::-1, ::-1])
        return picture
