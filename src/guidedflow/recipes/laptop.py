"""Recipes of a laptop: sizes at which a run ends in minutes on one core, and settings that nobody has to tune.

    laptop    any algorithm's own defaults, at these sizes
    auto      the same, where alpha and temperature find themselves; of GFP and FQL alone

The sizes were chosen on the suite `laptop`, whose measurements are in `docs/laptop.md`. A task is known by the
beginning of its name, so each task has sizes.
"""

from typing import Any

from guidedflow.errors import InputError
from guidedflow.recipes.facts import document
from guidedflow.recipes.recipe import PLAN, Recipe

SOURCE = "measured, docs/laptop.md"
"""Where the sizes come from."""


def algorithms(name: str) -> list[str]:
    """The algorithms that have the recipe of this name."""
    known = document("laptop")
    return sorted(known["auto"]) if name == "auto" else sorted([*known["flows"], *known["others"]])


def laptop(algorithm: str, task: str) -> Recipe:
    """The algorithm's defaults at a laptop's size. Raises `InputError` for an algorithm that is not of this package."""
    return _recipe("laptop", algorithm, task)


def auto(algorithm: str, task: str) -> Recipe:
    """The same with automatic alpha and temperature (GFP, FQL). Raises `InputError` for an algorithm without them."""
    return _recipe("auto", algorithm, task)


def _recipe(name: str, algorithm: str, task: str) -> Recipe:
    known = document("laptop")
    if algorithm not in algorithms(name):
        raise InputError(f"{algorithm} has no recipe {name!r}; {' and '.join(algorithms(name))} have.")
    sizes: dict[str, Any] = dict(known["sizes"][max((p for p in known["sizes"] if task.startswith(p)), key=len)])
    if algorithm not in known["flows"]:
        del sizes["flow_steps"]
    settings = {setting: value for setting, value in sizes.items() if setting not in PLAN}
    return Recipe(
        name=name,
        algorithm=algorithm,
        task=task,
        settings={**settings, **(known["auto"][algorithm] if name == "auto" else {})},
        plan={setting: value for setting, value in sizes.items() if setting in PLAN},
        source=SOURCE,
        remarks=(known["remarks"][algorithm],) if name == "auto" and algorithm in known["remarks"] else (),
    )
