"""An environment that no suite has, made by a function of the user's own.

This module does not know where the function comes from, nor which task it is for.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
from numpy.typing import NDArray

from guidedflow.environments.wrappers import has_images, in_parts, stacked
from guidedflow.errors import InputError

LONGEST = 10_000
"""Steps after which an episode without a step limit is taken for one that never ends."""


@dataclass(frozen=True)
class Own:
    """A factory for `Simulators`: what `function` makes, a Gymnasium environment, with frames and a step limit.

    `function` must be importable by name, since simulators run in processes of their own. `episode_steps` truncates
    episodes. Without it, an episode of an environment that has no limit itself must end within 10,000 steps; one that
    does not is an `InputError`.
    """

    function: Callable[..., gymnasium.Env[Any, Any]]
    frame_stack: int = 1
    episode_steps: int | None = None

    def __post_init__(self) -> None:
        if self.episode_steps is not None and self.episode_steps < 1:
            raise InputError(f"episode-steps must be at least 1, but is {self.episode_steps}.")

    @property
    def name(self) -> str:
        """The function's module and name, as rows of results have it."""
        return f"{self.function.__module__}.{getattr(self.function, '__qualname__', self.function)}"

    def __call__(self, render: bool = False) -> gymnasium.Env[Any, Any]:
        """One environment; with `render` it draws, if the function has a parameter `render_mode`."""
        takes = inspect.signature(self.function).parameters
        env = self.function(render_mode="rgb_array") if render and "render_mode" in takes else self.function()
        if not isinstance(env, gymnasium.Env):
            raise InputError(f"{self.name} must make a gymnasium.Env, but made a {type(env).__name__}.")
        space = env.observation_space
        if isinstance(space, gymnasium.spaces.Dict):
            env = in_parts(env) if has_images(space) else gymnasium.wrappers.FlattenObservation(env)
        elif not isinstance(space, gymnasium.spaces.Box):
            raise InputError(f"{self.name}: observations must be one array, or a Dict of arrays, but are {space}.")
        if self.episode_steps is not None:
            env = gymnasium.wrappers.TimeLimit(env, self.episode_steps)
        elif not _has_limit(env):
            env = _Endless(env, self.name)
        return env if self.frame_stack == 1 else stacked(env, self.frame_stack)


class _Endless(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Refuses an episode that does not end."""

    def __init__(self, env: gymnasium.Env[Any, Any], name: str) -> None:
        super().__init__(env)
        self._name, self._steps = name, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        self._steps = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: NDArray[Any]) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One step; the 10,000th of an episode is an `InputError`."""
        self._steps += 1
        if self._steps >= LONGEST:
            raise InputError(
                f"an episode of {self._name} has not ended after {LONGEST:,} steps; give it a limit by --episode-steps"
            )
        return self.env.step(action)


def _has_limit(env: gymnasium.Env[Any, Any]) -> bool:
    """Whether an environment says after how many steps its episodes end."""
    if env.spec is not None and env.spec.max_episode_steps:
        return True
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, gymnasium.wrappers.TimeLimit):
            return True
        env = env.env
    return False
