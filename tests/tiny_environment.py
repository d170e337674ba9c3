"""A counting game that starts in no time, for whatever needs an environment but not a simulator.

The seed decides how long an episode lasts; observations tell the seed and the time, so that tests can see who is where.
"""

import os
import signal
import sys
from typing import Any, ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from guidedflow.environments.wrappers import stacked
from guidedflow.errors import InputError


class Countdown(gymnasium.Env[NDArray[np.float64], NDArray[np.float32]]):
    """An episode of seed s takes 1 + s modulo `longest` steps and succeeds where that number is even.

    The observation is (s modulo 1000, steps so far, sum of first actions); the reward is the first action. The last
    step terminates if it succeeds, else it truncates. The action (-1, -1) raises, (-1, 1) kills the process.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, longest: int = 20, render_mode: str | None = None) -> None:
        self.longest = longest
        self.render_mode = render_mode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        super().reset(seed=seed)
        self.seed, self.time, self.total = (seed or 0) % 1000, 0, 0.0
        self.length = 1 + (seed or 0) % self.longest
        return self._observation(), {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        if np.array_equal(action, [-1, -1]):
            raise ValueError("the arm is bent")
        if np.array_equal(action, [-1, 1]):
            os.kill(os.getpid(), signal.SIGKILL)
        self.time += 1
        self.total += float(action[0])
        over, success = self.time >= self.length, self.time == self.length and self.length % 2 == 0
        return self._observation(), float(action[0]), over and success, over and not success, {"success": success}

    def render(self) -> NDArray[np.uint8]:
        return np.full((32, 48, 3), 10 * self.time % 256, np.uint8)

    def _observation(self) -> NDArray[np.float64]:
        return np.array([self.seed, self.time, self.total])


class Peaceful(Countdown):
    """The same game for policies that may do anything: no action raises or kills."""

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        return super().step(action / 2)


def unknown_task() -> gymnasium.Env[Any, Any]:
    raise InputError("task 'cube-singel' is not known (did you mean 'cube-single'?)")


def broken() -> gymnasium.Env[Any, Any]:
    raise OSError("no such model")


class Diverging(Countdown):
    """Its physics break in the second step: a reward or an observation is then not a number."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        if self.time == 2:
            observation, reward = (observation, np.nan) if self.what == "rewards" else (observation * np.nan, reward)
        return observation, reward, terminated, truncated, info


class ImportedJax(Countdown):
    """Observes only whether this process has imported JAX."""

    def _observation(self) -> NDArray[np.float64]:
        return np.full(3, float("jax" in sys.modules))


class Filmed(Peaceful):
    """Seen through a camera: every pixel of the first channel is the time, every pixel of the second the seed."""

    observation_space = gymnasium.spaces.Box(0, 255, (6, 5, 2), np.uint8)

    def _observation(self) -> NDArray[Any]:
        return np.full((6, 5, 2), [self.time, self.seed % 256], np.uint8)


def filmed(frame_stack: int) -> gymnasium.Env[Any, Any]:
    return stacked(Filmed(5), frame_stack)


class Blind(Countdown):
    """Finds no graphics library."""

    def render(self) -> NDArray[np.uint8]:
        raise ImportError(f"no display {os.environ['MUJOCO_GL']}")


class Destination(gymnasium.Env[NDArray[np.float64], NDArray[np.float32]]):
    """A point on a line that is to reach one of five places, told by its reset; it moves as `tiny_data.line` does.

    The observation is (x, 0, 0), and so is the goal; within 0.2 of it an episode succeeds, and it ends after 20 steps.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    places = (-2.0, -1.0, 0.5, 1.0, 2.0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        super().reset(seed=seed)
        drawn = int(self.np_random.integers(1, 6))
        self.place = self.places[(options or {}).get("task_id", drawn) - 1]
        self.x, self.time = self.np_random.uniform(-0.1, 0.1), 0
        return self._frame(self.x), {"goal": self._frame(self.place)}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        self.x, self.time = float(np.clip(self.x + action[0] / 4, -2, 2)), self.time + 1
        success = abs(self.x - self.place) < 0.2
        return self._frame(self.x), float(success), success, self.time >= 20, {"success": success}

    def _frame(self, x: float) -> NDArray[np.float64]:
        return np.array([x, 0.0, 0.0])


def destination() -> gymnasium.Env[Any, Any]:
    """The same, as a policy sees it: with its goal behind each observation."""
    from guidedflow.environments.goals import GoalObserved

    return GoalObserved(Destination())
