"""Published scores: points of a task, from 0 to about 100, by method.

A method is a column of a paper. Our policies stand in these columns: BC's flow in `fql-bc-flow`, FQL's actor in `fql`,
GFP's actor in `gfp` and its flow in `gfp-vabc`; `gaussian-bc` is cloning without a flow. This module does not know
what settings the scores were reached with.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal, cast

from guidedflow.recipes.facts import citation, rows
from guidedflow.recipes.tasks import find, tasks
from guidedflow.recipes.tasks import task as task_named


@dataclass(frozen=True)
class Score:
    """Mean and standard deviation over training seeds, as published."""

    task: str
    method: str
    mean: float
    std: float | None
    """The population's, dividing by the number of seeds, unless the source did otherwise."""
    seeds: int | None
    source: str
    used: bool
    """Whether it stands in the GFP paper's own column of the method; otherwise it is what was printed earlier."""
    note: str
    """Where another place prints another value."""

    def __str__(self) -> str:
        return f"{self.mean:.1f}" + ("" if self.std is None else f" ± {self.std:.1f}")


@dataclass(frozen=True)
class BestKnown:
    """The highest published mean over the five tasks of an OGBench environment, as of November 2026."""

    environment: str
    setting: Literal["standard", "any"]
    """`standard` is 1M updates on the default rewards and data; `any` also counts other ones."""
    mean: float
    method: str
    source: str


def best_known(environment: str) -> list[BestKnown]:
    """The best of the standard setting and of any, or nothing for an environment that the table does not have."""
    return [known for known in _best_known() if known.environment == environment]


def scores(task: str | None = None, method: str | None = None, used: bool = True) -> list[Score]:
    """Scores of a task and of a method if asked; with `used=False` those that later runs have replaced as well."""
    name = None if task is None else task_named(task).name
    return [
        score
        for score in _scores()
        if name in (None, score.task) and method in (None, score.method) and (score.used or not used)
    ]


def score(method: str, task: str) -> Score | None:
    """The score of a method on a task, if one was published."""
    return next(iter(scores(task, method)), None)


def average(method: str, suite: str | None = None) -> tuple[float, int] | None:
    """The mean over the tasks of a suite that the method has a score for, and their number; None if there are none."""
    wanted = {task.name for task in tasks(suite)}
    found = [score.mean for score in scores(method=method) if score.task in wanted]
    return (sum(found) / len(found), len(found)) if found else None


def normalized(name: str, episode_return: float) -> float | None:
    """Points of a (mean) return between a random policy's and an expert's, or None for a task without such references.

        score = 100 (return - random) / (expert - random)

    The references are D4RL's, and for Minari those that GFP used; they are names, not bounds.
    """
    task = find(name)
    return None if task is None or task.reference is None else task.score(episode_return)


@cache
def _scores() -> tuple[Score, ...]:
    return tuple(
        Score(
            task=row["task"],
            method=row["method"],
            mean=float(row["mean"]),
            std=float(row["std"]) if row["std"] else None,
            seeds=int(row["seeds"]) if row["seeds"] else None,
            source=citation(row["source"]),
            used=row["used"] == "yes",
            note=row["note"],
        )
        for row in rows("scores")
    )


@cache
def _best_known() -> tuple[BestKnown, ...]:
    return tuple(
        BestKnown(
            environment=row["environment"],
            setting=cast(Literal["standard", "any"], row["setting"]),
            mean=float(row["score"]),
            method=row["method"],
            source=citation(row["source"]),
        )
        for row in rows("best_known")
    )
