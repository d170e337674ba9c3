"""A dataset that takes no simulator to make: a point on a line that is paid for coming to the middle."""

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
