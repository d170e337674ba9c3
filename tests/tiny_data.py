"""Datasets that take no simulator to make."""

from collections.abc import Sequence

import numpy as np

from guidedflow.data.dataset import Dataset


def line(episodes: int = 6, length: int = 20, seed: int = 0) -> Dataset:
    """Observation (x, noise, noise), action (a, noise); x moves by a / 4, and the reward is -|x|."""
    random = np.random.default_rng(seed)
    rows = episodes * (length + 1)
    actions = random.uniform(-1, 1, (rows, 2)).astype(np.float32)
    observations = random.normal(size=(rows, 3)).astype(np.float32)
    last = np.arange(rows) % (length + 1) == length
    for row in range(1, rows):
        if not last[row - 1]:
            observations[row, 0] = np.clip(observations[row - 1, 0] + actions[row - 1, 0] / 4, -2, 2)
    rewards = -np.abs(observations[:, 0])
    return Dataset("line", observations, actions, rewards, (rewards < -0.05).astype(np.float32), last)


def film(episodes: int = 6, length: int = 20, seed: int = 0) -> Dataset:
    """The line seen through a camera: 6 x 5 pixels of noise in two channels, the first brighter where x is larger."""
    data = line(episodes, length, seed)
    images = np.random.default_rng(seed).integers(0, 64, (len(data.last), 6, 5, 2), np.uint8)
    images[..., 0] += (48 * (2 + np.clip(data.observations[:, 0], -2, 2))).astype(np.uint8)[:, None, None] // 2
    return Dataset("film", images, data.actions, data.rewards, data.masks, data.last)


def episodes(lengths: Sequence[int], pixels: bool = False) -> Dataset:
    """Rows that tell where they are: the observation is (episode, step), action and reward are the row's number."""
    where = [(episode, step) for episode, length in enumerate(lengths) for step in range(length + 1)]
    rows = np.arange(len(where), dtype=np.float32)
    return Dataset(
        name="counted",
        observations=np.array(where, np.uint8 if pixels else np.float32),
        actions=rows[:, None],
        rewards=-rows,
        masks=(rows % 3 != 0).astype(np.float32),
        last=np.array([step == lengths[episode] for episode, step in where]),
    )
