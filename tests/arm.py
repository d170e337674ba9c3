"""A synthetic arm whose joints are recorded in degrees: a log of it, and the environment that it is from."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from guidedflow import Dataset

JOINTS, STEPS, REACH = 3, 40, 8.0
"""Joints; steps of an episode; degrees within which every joint has arrived."""


class Arm(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Joints (degrees, about +-133) that move by up to 12 degrees a step, and the pose that they are to reach."""

    observation_space = gymnasium.spaces.Box(-180, 180, (2 * JOINTS,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (JOINTS,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.joints, self.goal = self.np_random.uniform(-133, 133, (2, JOINTS))
        self.count = 0
        return self._seen(), {}

    def step(self, action: NDArray[np.float32]) -> Any:
        self.joints = np.clip(self.joints + 12 * np.clip(action, -1, 1), -180, 180)
        self.count += 1
        arrived = bool(np.abs(self.joints - self.goal).max() < REACH)
        return self._seen(), float(arrived) - 1, arrived, self.count >= STEPS, {"success": arrived}

    def _seen(self) -> NDArray[np.float32]:
        return np.concatenate([self.joints, self.goal]).astype(np.float32)


def log(episodes: int = 300, seed: int = 0) -> Dataset:
    """What a clumsy operator recorded: towards the goal, with noise."""
    env, random = Arm(), np.random.default_rng(seed)
    columns: dict[str, list[Any]] = {name: [] for name in ("observations", "actions", "rewards", "masks", "last")}
    for episode in range(episodes):
        seen, _ = env.reset(seed=episode)
        over = False
        while not over:
            toward = np.clip((env.goal - env.joints) / 24, -1, 1)
            action = np.clip(toward + 0.3 * random.standard_normal(JOINTS), -1, 1).astype(np.float32)
            after, reward, arrived, late, _ = env.step(action)
            over = arrived or late
            for name, value in zip(columns, (seen, action, reward, 1.0 - arrived, False), strict=True):
                columns[name].append(value)
            seen = after
        for name, value in zip(columns, (seen, 0 * action, 0.0, 1.0, True), strict=True):
            columns[name].append(value)
    kinds = {"last": bool}
    arrays = {name: np.asarray(values, kinds.get(name, np.float32)) for name, values in columns.items()}
    return Dataset("arm", **arrays)
