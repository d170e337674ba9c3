"""The 144 tasks of the GFP paper, what was published about them, and how to run it again: recipes.

Everything here is read from the tables of this package, where each fact has its source. This package does not know
how an algorithm works, nor how a run is made; it imports neither JAX nor a suite.
"""

from guidedflow.recipes.choice import named, names, unlisted
from guidedflow.recipes.laptop import auto, laptop
from guidedflow.recipes.recipe import Contradiction, Recipe, awr, in_words, methods, online, published, quick
from guidedflow.recipes.scores import BestKnown, Score, average, best_known, normalized, score, scores
from guidedflow.recipes.suites import suite, suites
from guidedflow.recipes.tasks import Protocol, Reference, Task, find, task, tasks

__all__ = [
    "BestKnown",
    "Contradiction",
    "Protocol",
    "Recipe",
    "Reference",
    "Score",
    "Task",
    "auto",
    "average",
    "awr",
    "best_known",
    "find",
    "in_words",
    "laptop",
    "methods",
    "named",
    "names",
    "normalized",
    "online",
    "published",
    "quick",
    "score",
    "scores",
    "suite",
    "suites",
    "task",
    "tasks",
    "unlisted",
]
