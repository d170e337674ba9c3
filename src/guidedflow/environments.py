"""Names of OGBench's tasks, and the environments behind them.

A task is `{environment}-{data}-singletask[-task{1..5}]-v0`, for instance `cube-single-noisy-singletask-task1-v0`;
without the task words it is a dataset, `cube-single-noisy-v0`, whose environment draws a new goal at every reset and
has no reward. OGBench (Park et al., arXiv 2410.20092) is imported by `make` alone. This module does not know what is in
a dataset, what acts, or how many environments run at once.
"""

import ctypes.util
import importlib.metadata
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray

from guidedflow.errors import InputError, did_you_mean

SuccessTiming = Literal["pre", "post"]

SUCCESS_TIMING: SuccessTiming = "post"
"""Success, reward and termination are judged after the step, as FQL and GFP published; OGBench 1.2 prefers "pre"."""

_PLAN, _NAVIGATE = ("play", "noisy"), ("navigate", "stitch")

# environment: (kinds of data, the task that `-singletask-v0` stands for)
_STATES: dict[str, tuple[tuple[str, ...], int]] = {
    **{f"pointmaze-{maze}": (_NAVIGATE, 1) for maze in ("medium", "large", "giant", "teleport")},
    **{f"antmaze-{maze}": ((*_NAVIGATE, "explore"), 1) for maze in ("medium", "large", "teleport")},
    "antmaze-giant": (_NAVIGATE, 1),
    **{f"humanoidmaze-{maze}": (_NAVIGATE, 1) for maze in ("medium", "large", "giant")},
    **{f"antsoccer-{maze}": (_NAVIGATE, 4) for maze in ("arena", "medium")},
    **{f"cube-{count}": (_PLAN, 2) for count in ("single", "double", "triple", "quadruple", "octuple")},
    "scene": (_PLAN, 2),
    **{f"puzzle-{size}": (_PLAN, 4) for size in ("3x3", "4x4")},
    **{f"puzzle-{size}": (_PLAN, 2) for size in ("4x5", "4x6")},
}
_NO_PIXELS = ("pointmaze", "antsoccer", "cube-octuple")

ENVIRONMENTS = _STATES | {f"visual-{k}": v for k, v in _STATES.items() if not k.startswith(_NO_PIXELS)}

_NAME = re.compile(
    r"(?P<environment>.+)-(?P<data>play|noisy|navigate|stitch|explore)"
    r"(?P<single>-singletask(-task(?P<number>[1-5]))?)?-v0"
)


@dataclass(frozen=True)
class Task:
    """What a task's name says. `number` is None for a dataset without a task, else 1 to 5 with the default resolved."""

    name: str
    environment: str
    data: str
    number: int | None
    suite: str = "ogbench"

    @property
    def dataset(self) -> str:
        """The name of the dataset, without the task: one file serves the five tasks of its environment."""
        return f"{self.environment}-{self.data}-v0"

    @property
    def pixels(self) -> bool:
        """Whether observations are uint8 images of 64 x 64 pixels."""
        return self.environment.startswith("visual-")


def datasets() -> list[str]:
    """Names of all datasets, without task words."""
    return [f"{environment}-{data}-v0" for environment, (kinds, _) in ENVIRONMENTS.items() for data in kinds]


def tasks() -> list[str]:
    """Names of all single tasks, five for each dataset."""
    return [f"{name.removesuffix('-v0')}-singletask-task{number}-v0" for name in datasets() for number in range(1, 6)]


def parse(name: str) -> Task:
    """What the name of a task or of a dataset says. Raises `InputError` for a name that OGBench does not have."""
    match = _NAME.fullmatch(name)
    kinds, default = ENVIRONMENTS.get(match["environment"], ((), 0)) if match else ((), 0)
    if match is None or match["data"] not in kinds:
        closest = did_you_mean(name, [*tasks(), *(task.replace("-task1-", "-") for task in tasks()), *datasets()])
        example = "cube-single-noisy-singletask-task1-v0"
        raise InputError(f"unknown task {name!r}{closest}; tasks are named like {example!r}")
    number = int(match["number"] or default) if match["single"] else None
    return Task(name, match["environment"], match["data"], number)


def make(
    task: str, render: bool = False, success_timing: SuccessTiming = SUCCESS_TIMING, **settings: Any
) -> gymnasium.Env[Any, Any]:
    """The environment of a task: float32 (or uint8) observations, and resets that one seed repeats bit for bit.

    Making an environment never touches data. With `render`, `env.render()` gives 480 x 480 uint8 pictures. Further
    `settings` go to OGBench's constructor. Raises `InputError` for an unknown task, and where OGBench or, for pictures,
    a graphics library is missing.
    """
    parsed = parse(task)
    _choose_graphics(needed=render or parsed.pixels)
    if render and not parsed.pixels:
        settings = {"width": 480, "height": 480} | settings
    try:
        with _quiet():
            import ogbench

            env = ogbench.make_env_and_datasets(
                task, env_only=True, success_timing=success_timing, disable_env_checker=True, **settings
            )
            return Repeatable(env)
    except ImportError as error:
        raise InputError(
            f"the simulator of {task!r} cannot be imported ({error}): install it by pip install 'guidedflow[ogbench]', "
            "or, if this is its graphics library, set MUJOCO_GL to egl, osmesa or off"
        ) from error


class Repeatable(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Float32 observations, and one seed for both sources of randomness at a reset.

    OGBench's mazes draw their start noise from NumPy's global generator, which `reset(seed=...)` leaves alone; so it is
    seeded here as well, in this process.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        # OGBench's manipulation environments build their spaces anew at each access; these stay.
        self.action_space = env.action_space
        self.observation_space = _single_precision(env.observation_space)
        self._dtype = self.observation_space.dtype

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start an episode; the same seed gives the same episode, whatever happened before."""
        if seed is not None:
            np.random.seed(seed % 2**32)  # noqa: NPY002
        with _quiet():
            observation, info = self.env.reset(seed=seed, options=options)
        return observation.astype(self._dtype, copy=False), info

    def step(self, action: NDArray[Any]) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """One step of the simulator."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation.astype(self._dtype, copy=False), float(reward), bool(terminated), bool(truncated), info


def describe(task: str, success_timing: SuccessTiming = SUCCESS_TIMING) -> dict[str, str]:
    """What a result must record to be compared with another: the simulator's versions and when success is judged."""
    parsed = parse(task)
    versions = {package: importlib.metadata.version(package) for package in ("ogbench", "mujoco", "gymnasium")}
    return {"suite": parsed.suite, "environment": parsed.environment, **versions, "success_timing": success_timing}


def _single_precision(space: gymnasium.Space[Any]) -> gymnasium.spaces.Box:
    if not isinstance(space, gymnasium.spaces.Box):
        raise InputError(f"observations must be one array, not {space}")
    if space.dtype == np.uint8:
        return space
    return gymnasium.spaces.Box(-np.inf, np.inf, space.shape, np.float32)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings that importing MuJoCo and reading OGBench's action spaces give each time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _choose_graphics(needed: bool) -> None:
    """Name a headless graphics library; MuJoCo reads the choice once, when it is first imported."""
    if sys.platform == "linux" and not os.environ.keys() & {"MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"}:
        libraries = {"egl": "EGL", "osmesa": "OSMesa"}
        os.environ["MUJOCO_GL"] = next((k for k, v in libraries.items() if ctypes.util.find_library(v)), "off")
    if needed and os.environ.get("MUJOCO_GL", "").lower() in ("off", "disable", "disabled", "false", "0"):
        raise InputError(
            "pictures need a graphics library and none is in use: install libegl1 (or libosmesa6), "
            "and set MUJOCO_GL to egl (or osmesa) before the program starts"
        )
