"""Suites: names for sets of tasks that are run together."""

from guidedflow.errors import InputError, did_you_mean
from guidedflow.recipes.tasks import tasks

METAWORLD = (
    "metaworld-reach-v3-dithered",
    "metaworld-drawer-open-v3-mixed",
    "metaworld-button-press-topdown-v3-dithered",
    "metaworld-door-open-v3-dithered",
    "metaworld-basketball-v3-mixed",
    "metaworld-assembly-v3-mixed",
)
"""Six of MetaWorld's 200 tasks, the easy ones first; they need an installation of its own."""

LAPTOP = (
    *(f"cube-single-noisy-singletask-task{number}-v0" for number in range(1, 6)),
    *(f"cube-single-play-singletask-task{number}-v0" for number in range(1, 6)),
    *(f"pointmaze-medium-navigate-singletask-task{number}-v0" for number in range(1, 6)),
    *METAWORLD,
)
"""Tasks whose data `guidedflow data collect` makes in minutes."""


def suites() -> dict[str, list[str]]:
    """The names of the tasks of each suite."""
    ogbench, every = [task.name for task in tasks("ogbench")], [task.name for task in tasks()]
    return {
        "ogbench": ogbench,
        "ogbench-noisy": [name for name in ogbench if "-noisy-" in name],
        "d4rl": [task.name for task in tasks("d4rl")],
        "minari": [task.name for task in tasks("minari")],
        "all-144": every,
        "metaworld": list(METAWORLD),
        "laptop": list(LAPTOP),
    }


def suite(name: str) -> list[str]:
    """The names of the tasks of a suite. Raises `InputError` for an unknown one."""
    known = suites()
    if name not in known:
        raise InputError(f"unknown suite {name!r}{did_you_mean(name, known)}; they are {', '.join(known)}.")
    return known[name]
