"""What a user may name on the command line: an algorithm, and functions that make an environment."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from tiny_environment import Peaceful

from guidedflow.algorithms.bc import BC
from guidedflow.settings import hyperparameters


@hyperparameters
class Mine(BC):
    """Behaviour cloning under another name, with a setting more."""

    extra: float = 1.0
    """A setting that BC does not have."""


class Reached(Peaceful):
    """Succeeds in its first step alone, and says so in the words of other libraries, with a reward of an array."""

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float64], Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, _ = super().step(action)
        return observation, np.array([reward]), terminated, truncated, {"is_success": self.time == 1}


class Endless(Peaceful):
    """Never ends by itself."""

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        observation, reward, _, _, info = super().step(action)
        return observation, reward, False, False, info


class Vector(Peaceful):
    """Gives a reward of two parts."""

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float64], Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, np.array([reward, 1.0]), terminated, truncated, info


def make() -> gymnasium.Env[Any, Any]:
    return Reached(longest=6)
