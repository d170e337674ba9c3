"""The part of MetaWorld that the library touches, without physics: a hand that moves through space to a goal.

`installed` puts it in the place of the package, so that what surrounds the suite is tested where it is not installed.
"""

import sys
import types
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

SPEED = 0.1


class Arm(gymnasium.Env[NDArray[np.float64], NDArray[np.float32]]):
    """Solved within 0.05 of the goal; the reward is 10 there and falls with the distance. The goal may be hidden."""

    action_space = gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32)
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (39,), np.float64)

    def __init__(self, max_path_length: int = 500, camera_name: str | None = None, **picture: Any) -> None:
        self.max_path_length, self.camera_name = max_path_length, camera_name
        self._set_task_called, self._partially_observable = False, True
        self._freeze_rand_vec, self.seeded_rand_vec = True, False
        self.sawyer_observation_space = "with the goal hidden"

    def seed(self, seed: int) -> list[int]:
        self.np_random, seed = gymnasium.utils.seeding.np_random(seed)
        return [seed]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        assert seed is None, "MetaWorld ignores it"
        assert not self._freeze_rand_vec
        assert self.seeded_rand_vec
        self.steps, self.hand = 0, np.zeros(3)
        self.goal = self.np_random.uniform(0.2, 1, 3)
        return self._seen(self.hand), {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        assert self._set_task_called
        before = self.hand
        self.hand = self.hand + SPEED * np.clip(action[:3], -1, 1)
        self.steps += 1
        distance = float(np.linalg.norm(self.hand - self.goal))
        info = {"success": float(distance <= 0.05), "near_object": 1.0}
        return self._seen(before), 10 * max(0.0, 1 - distance), False, self.steps == self.max_path_length, info

    def render(self) -> NDArray[np.uint8]:  # type: ignore[override]
        return np.arange(12, dtype=np.uint8).reshape(2, 2, 3)

    def _seen(self, before: NDArray[np.float64]) -> NDArray[np.float64]:
        goal = np.zeros(3) if self._partially_observable else self.goal
        return np.concatenate([self.hand, np.zeros(15), before, np.zeros(15), goal])


class Script:
    """Walks straight to the goal, faster than actions allow."""

    def get_action(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.append((observation[-3:] - observation[:3]) / SPEED, 0.0).astype(np.float32)


def installed(patch: pytest.MonkeyPatch, **settings: Any) -> None:
    """Put the tiny suite in the place of the package, with its one task, reach-v3."""
    package, environments, policies = (types.ModuleType(name) for name in ("metaworld", "env_dict", "policies"))
    environments.ALL_V3_ENVIRONMENTS = {"reach-v3": partial(Arm, **settings)}  # type: ignore[attr-defined]
    policies.ENV_POLICY_MAP = {"reach-v3": Script}  # type: ignore[attr-defined]
    patch.setitem(sys.modules, "metaworld", package)
    patch.setitem(sys.modules, "metaworld.env_dict", environments)
    patch.setitem(sys.modules, "metaworld.policies", policies)
