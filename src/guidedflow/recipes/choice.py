"""Recipes by their names: which an algorithm has, and the one that a task takes."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from guidedflow.errors import InputError, did_you_mean
from guidedflow.recipes import laptop
from guidedflow.recipes.facts import rows
from guidedflow.recipes.recipe import QUICK_PLAN, QUICK_SETTINGS, Recipe, awr, methods, online, published, quick
from guidedflow.recipes.tasks import Task, tasks

PUBLISHED: Mapping[str, Callable[[str, str | Task], Recipe]] = {
    "published": published,
    "quick": quick,
    "awr": awr,
    "online": online,
}
"""Recipes that begin with what a paper published for one of the 144 tasks."""

MEASURED: Mapping[str, Callable[[str, str], Recipe]] = {"laptop": laptop.laptop, "auto": laptop.auto}
"""Recipes that were measured here, for any task."""


def names(algorithm: str) -> list[str]:
    """Names of the recipes that an algorithm has; none for one that this package does not know."""
    only = {"awr": ["gfp"], "online": [row["method"] for row in rows("online")]}
    owners = {name: only.get(name, list(methods())) for name in PUBLISHED}
    owners |= {name: laptop.algorithms(name) for name in MEASURED}
    return [name for name, known in owners.items() if algorithm in known]


def named(name: str, algorithm: str, task: str | Task) -> Recipe:
    """The recipe of this name; an unknown name, of recipe, algorithm or task, is an `InputError`."""
    _check(name, algorithm)
    if name in MEASURED:
        return MEASURED[name](algorithm, task.name if isinstance(task, Task) else task)
    return PUBLISHED[name](algorithm, task)


def unlisted(name: str, algorithm: str, task: str) -> Recipe:
    """The recipe for a task that is none of the 144: that of another one in its environment, or else defaults.

    Defaults are at a laptop's size if `name` is quick.
    """
    _check(name, algorithm)
    if name in MEASURED:
        return MEASURED[name](algorithm, task)
    if name in ("awr", "online"):
        raise InputError(f"there is no recipe {name!r} for {task}, which is none of the 144 tasks.")
    for other in tasks():
        if other.number is not None and task.startswith(f"{other.environment}-singletask-"):
            return replace(PUBLISHED[name](algorithm, other), task=task, source=None)
    size = name == "quick"
    return Recipe(name, algorithm, task, QUICK_SETTINGS if size else {}, QUICK_PLAN if size else {})


def _check(name: str, algorithm: str) -> None:
    known = names(algorithm)
    if not known:
        every = laptop.algorithms("laptop")
        raise InputError(
            f"there is no recipe of {algorithm!r}{did_you_mean(algorithm, every)}; known: {', '.join(every)}."
        )
    if name not in known:
        raise InputError(f"{algorithm} has no recipe {name!r}{did_you_mean(name, known)}; it has {', '.join(known)}.")
