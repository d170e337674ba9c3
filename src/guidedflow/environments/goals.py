"""An environment whose policy has to see where it is to go: the goal, joined to every observation.

A goal-conditioned environment, as OGBench has them (Park et al., arXiv 2410.20092), tells the goal of an episode once,
as `info["goal"]` of its reset: what is observed where the goal holds, after a few random actions. These come from the
simulator's own action space, which a reset does not seed, so here it does. This module does not know of any suite, nor
how a task is chosen.
"""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[Any]


class GoalObserved(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Numbers behind numbers, or channels behind channels; the goal stays where it is until the next reset."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        _keep_space(env.unwrapped)
        first, _ = self.reset(seed=0)  # only a reset tells how large a goal is
        pixels = first.dtype == np.uint8
        low, high = (0, 255) if pixels else (-np.inf, np.inf)
        self.observation_space = gymnasium.spaces.Box(low, high, first.shape, first.dtype.type)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Frame, dict[str, Any]]:
        """Start an episode, whose goal is then known; the same seed gives the same goal."""
        if seed is not None:
            self.env.unwrapped.action_space.seed(seed)
        observation, info = self.env.reset(seed=seed, options=options)
        self._goal = info["goal"]
        return self._joined(observation), info

    def step(self, action: Frame) -> tuple[Frame, Any, bool, bool, dict[str, Any]]:
        """One step of the simulator."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._joined(observation), reward, terminated, truncated, info

    def _joined(self, observation: Frame) -> Frame:
        return np.concatenate([observation, self._goal], axis=-1, dtype=observation.dtype, casting="unsafe")


def _keep_space(simulator: gymnasium.Env[Any, Any]) -> None:
    """Where each access makes an action space anew, as OGBench's arms do, make it the same one, which can be seeded."""
    kept = simulator.action_space
    if simulator.action_space is not kept:
        cls = type(simulator)
        simulator.__class__ = type(cls.__name__, (cls,), {"action_space": kept})
