"""The 144 tasks of the GFP paper, what was published about them, and how to run it again: recipes.

Everything here is read from the tables of this package, where each fact has its source. This package does not know
how an algorithm works, nor how a run is made; it imports neither JAX nor a suite.
"""

from guidedflow.recipes.registry import Protocol, Reference, Task, find, task, tasks
from guidedflow.recipes.resolution import (
    Contradiction,
    Recipe,
    awr,
    in_words,
    methods,
    named,
    names,
    published,
    quick,
    unlisted,
)
from guidedflow.recipes.results import Score, average, score, scores

__all__ = [
    "Contradiction",
    "Protocol",
    "Recipe",
    "Reference",
    "Score",
    "Task",
    "average",
    "awr",
    "find",
    "in_words",
    "methods",
    "named",
    "names",
    "published",
    "quick",
    "score",
    "scores",
    "task",
    "tasks",
    "unlisted",
]
