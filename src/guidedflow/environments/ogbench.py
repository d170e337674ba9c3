"""Names of OGBench's tasks, and the environments behind them.

A task is `{environment}-{data}-singletask[-task{1..5}]-v0`, for instance `cube-single-noisy-singletask-task1-v0`;
without the task words it is a dataset, `cube-single-noisy-v0`, whose environment is goal-conditioned: a reset takes one
of five tasks, `options={"task_id": 1..5}`, or draws one. `cube-single-noisy-oraclerep-v0` is the same with goals of a
few numbers. OGBench (Park et al., arXiv 2410.20092) is imported by `make` alone. This module does not know what is in a
dataset, what acts, or how many environments run at once.
"""

import re
from typing import Any, Literal

import gymnasium

from guidedflow.environments.tasks import Task
from guidedflow.environments.wrappers import installed

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
    r"(?P<single>-singletask(-task(?P<number>[1-5]))?)?(?P<oracle>-oraclerep)?-v0"
)


def datasets() -> list[str]:
    """Names of all datasets, without task words."""
    return [f"{environment}-{data}-v0" for environment, (kinds, _) in ENVIRONMENTS.items() for data in kinds]


def tasks() -> list[str]:
    """Names of all single tasks, five for each dataset."""
    return [f"{name.removesuffix('-v0')}-singletask-task{number}-v0" for name in datasets() for number in range(1, 6)]


def find(name: str) -> Task | None:
    """What the name of a task or of a dataset says, or None for a name that OGBench does not have."""
    match = _NAME.fullmatch(name)
    kinds, default = ENVIRONMENTS.get(match["environment"], ((), 0)) if match else ((), 0)
    if match is None or match["data"] not in kinds:
        return None
    oracle = match["oracle"] is not None
    if oracle and (match["single"] or match["environment"].startswith("visual-")):
        return None
    number = int(match["number"] or default) if match["single"] else None
    return Task(name, match["environment"], match["data"], number, oracle=oracle)


def names() -> list[str]:
    """All names that `find` knows: single tasks, with and without their number, and datasets, plain and `oraclerep`."""
    oracle = [name.replace("-v0", "-oraclerep-v0") for name in datasets() if not name.startswith("visual-")]
    return [*tasks(), *(task.replace("-task1-", "-") for task in tasks()), *datasets(), *oracle]


def make(
    task: Task, render: bool, success_timing: SuccessTiming = SUCCESS_TIMING, **settings: Any
) -> gymnasium.Env[Any, Any]:
    """The environment of a task, as OGBench makes it. Further `settings` go to OGBench's constructor."""
    if render and not task.pixels:
        settings = {"width": 480, "height": 480} | settings
    with installed(task.name, "ogbench"):
        import ogbench

        return ogbench.make_env_and_datasets(
            task.name, env_only=True, success_timing=success_timing, disable_env_checker=True, **settings
        )


def describe(task: Task, success_timing: SuccessTiming) -> dict[str, str]:
    """When success is judged, and what differs from the simulators of the papers."""
    differs = (
        "FQL and GFP published with ogbench before 1.2 and MuJoCo before 4; other versions give slightly other physics"
    )
    return {"success_timing": success_timing, "differs": differs}


TASK_IDS = (1, 2, 3, 4, 5)
"""What a reset of a goal-conditioned environment is told, as `options["task_id"]`."""

PACKAGES = ("ogbench", "mujoco", "gymnasium")
"""Whose versions decide what an episode is."""
