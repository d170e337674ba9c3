"""Adroit's hand (Rajeswaran et al., arXiv 1709.10087): open a door, hammer a nail, turn a pen, move a ball.

    {door,hammer,pen,relocate}-{human,cloned,expert}-v1          D4RL's tasks (Fu et al., arXiv 2004.07219)
    D4RL/{door,hammer,pen,relocate}/{human,cloned,expert}-v2     Minari's, recorded in gymnasium-robotics

Both are simulated by gymnasium-robotics. Since its release 1.2.1 the reward differs from D4RL's in one sign: door,
hammer and relocate add 0.1 for each metre from the palm to its object, which D4RL subtracts; and the pen's episode ends
neither when the pen is dropped nor after 100 steps. D4RL's tasks get D4RL's reward, end and time limit here, Minari's
are left as they were recorded. This module does not know what is in a dataset, nor what acts.
"""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from guidedflow.environments.tasks import Task
from guidedflow.environments.wrappers import installed, silent

PACKAGES = ("gymnasium-robotics", "mujoco", "gymnasium")

# environment: (Gymnasium's name, D4RL's limit of steps, where an observation has the way from the palm to the object)
_HANDS = {
    "door": ("AdroitHandDoor-v1", 200, slice(35, 38)),
    "hammer": ("AdroitHandHammer-v1", 200, None),
    "pen": ("AdroitHandPen-v1", 100, None),
    "relocate": ("AdroitHandRelocate-v1", 200, slice(30, 33)),
}
_DATA = ("human", "cloned", "expert")
_PEN_HEIGHT = 26  # of the pen in an observation
_DROPPED = 0.075  # metres: D4RL ends an episode where the pen is lower

_TASKS = {
    task.name: task
    for hand in _HANDS
    for data in _DATA
    for task in (
        Task(f"{hand}-{data}-v1", hand, data, suite="d4rl"),
        Task(f"D4RL/{hand}/{data}-v2", hand, data, suite="minari"),
    )
}


def names() -> list[str]:
    """The 24 tasks."""
    return list(_TASKS)


def find(name: str) -> Task | None:
    """The task of that name, if it is one of these."""
    return _TASKS.get(name)


def make(task: Task, render: bool, **settings: Any) -> gymnasium.Env[Any, Any]:
    """The environment of a task; `info["success"]` tells whether its goal holds after the step."""
    name, steps, _ = _HANDS[task.environment]
    if task.suite == "d4rl":
        settings = {"max_episode_steps": steps, **settings}
    if render:
        settings = {"render_mode": "rgb_array", "width": 480, "height": 480} | settings
    with installed(task.name, "d4rl"), silent():
        import gymnasium_robotics

        gymnasium.register_envs(gymnasium_robotics)
        env = gymnasium.make(name, disable_env_checker=True, **settings)
    return D4RLHand(env, task.environment) if task.suite == "d4rl" else env


def describe(task: Task) -> dict[str, str]:
    """What differs from the simulators of the papers."""
    if task.suite == "d4rl":
        differs = (
            "published D4RL scores were made with d4rl on MuJoCo 2.1; this is gymnasium-robotics with D4RL's reward, "
            "end and time limit"
        )
    else:
        differs = "GFP published before MuJoCo 4; another version of MuJoCo gives slightly other physics"
    return {"differs": differs}


class D4RLHand(gymnasium.Wrapper[Any, Any, Any, Any]):
    """D4RL's reward and, for the pen, D4RL's end of an episode."""

    def __init__(self, env: gymnasium.Env[Any, Any], hand: str) -> None:
        super().__init__(env)
        self._hand = hand
        self._reach = _HANDS[hand][2]

    def step(self, action: NDArray[Any]) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """One step of the simulator."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        reward = np.asarray(reward).item()
        if self._hand == "pen":
            terminated = bool(observation[_PEN_HEIGHT] < _DROPPED)
        else:
            reward -= 2 * 0.1 * float(np.linalg.norm(self._way(observation)))
        return observation, reward, terminated, truncated, info

    def _way(self, observation: NDArray[Any]) -> NDArray[Any]:
        """From the palm to what the hand must take, in metres."""
        if self._reach is not None:
            return observation[self._reach]
        return observation[36:39] - observation[33:36]  # the hammer and the palm
