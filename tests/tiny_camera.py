"""Observations of an image and a vector, and an environment that gives them."""

from typing import Any, ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray
from tiny_data import film, line
from tiny_environment import Peaceful

from guidedflow.data.dataset import Dataset
from guidedflow.packing import pack

IMAGE, STATE = (6, 5, 2), (3,)


def camera(episodes: int = 6, length: int = 20, seed: int = 0) -> Dataset:
    """The line, seen as numbers and through a camera; the numbers are far from unit scale."""
    data, pictures = line(episodes, length, seed), film(episodes, length, seed)
    parts = pack({"state": 100 * data.observations + 7, "image": pictures.observations})
    return Dataset("camera", parts, data.actions, data.rewards, data.masks, data.last)


class Watched(Peaceful):
    """The counting game: its numbers as the state, and a picture whose first channel is the time."""

    observation_space = gymnasium.spaces.Dict(
        {
            "image": gymnasium.spaces.Box(0, 255, IMAGE, np.uint8),
            "state": gymnasium.spaces.Box(-np.inf, np.inf, STATE, np.float64),
        }
    )  # type: ignore[assignment]
    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def _observation(self) -> Any:
        picture: NDArray[Any] = np.full(IMAGE, [self.time, self.seed % 256], np.uint8)
        return {"image": picture, "state": super()._observation()}


def watched() -> gymnasium.Env[Any, Any]:
    """An episode of it has at most five steps."""
    return Watched(5)
