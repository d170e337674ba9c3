"""What the figures of a run mean: rules with thresholds and remedies, and the warnings that they give.

A rule looks at one figure. Its warning begins where the figure is beyond the threshold in `patience` rows in a row, and it
ends with the first row that is not. This module does not know how a figure is computed (`algorithms.parts.figures`), nor
which algorithm a run trained.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from guidedflow.results.intervals import Interval, Metrics

FIGURE = "figure/"
"""What the names of all figures begin with, among the metrics of a row."""

WARNING = "warning/"
"""What the name of a column begins with that marks a warning, in the row where it begins."""

PAGE = "https://guidedflow.github.io/guidedflow/diagnostics/"
"""The page that explains each rule, at an anchor of its name."""


@dataclass(frozen=True)
class Rule:
    """A signature of a run that goes wrong."""

    name: str
    figure: str
    """Name of the figure, without its prefix."""
    side: Literal["above", "below"]
    threshold: float
    reason: str
    """Why the threshold is there."""
    meaning: str
    """What it usually means."""
    remedy: str
    """Which setting to move, and which way."""
    patience: int = 3
    """Rows in a row that the figure must be beyond the threshold."""

    @property
    def link(self) -> str:
        """Where the documentation explains it."""
        return f"{PAGE}#{self.name}"

    def broken_by(self, figure: float | None) -> bool:
        """Whether a figure is beyond the threshold; one that is unknown is not."""
        if figure is None or math.isnan(figure):
            return False
        return figure > self.threshold if self.side == "above" else figure < self.threshold


@dataclass(frozen=True)
class Warned:
    """A rule that holds for one seed of a run, from one step to another."""

    rule: Rule
    seed: int
    step: int
    """The step of the row in which it began."""
    figure: float
    """The figure in that row."""
    until: int | None = None
    """The step of the first row in which it held no more; None where it held to the end."""

    @property
    def sentence(self) -> str:
        """One line for a console."""
        return (
            f"step {self.step:,}, seed {self.seed}: {self.rule.name}: {self.rule.figure} is {self.figure:.3g}, "
            f"{self.rule.side} {self.rule.threshold:g}; {self.rule.meaning} {self.rule.remedy} {self.rule.link}"
        )

    def plain(self) -> dict[str, Any]:
        """As JSON's own types."""
        return {
            "rule": self.rule.name,
            "step": self.step,
            "until": self.until,
            "seed": self.seed,
            "figure": {"name": self.rule.figure, "value": self.figure, "threshold": self.rule.threshold},
            "meaning": self.rule.meaning,
            "remedy": self.rule.remedy,
            "link": self.rule.link,
        }


RULES: tuple[Rule, ...] = ()


class Watch:
    """Follows the rows of a run as they come, and says which warnings begin."""

    def __init__(self, seeds: Sequence[int], rules: Sequence[Rule] = RULES) -> None:
        self.seeds, self._rules = tuple(seeds), rules
        self._held = {(rule.name, seed): 0 for rule in rules for seed in seeds}
        self._active: dict[tuple[str, int], Warned] = {}
        self._shown: set[tuple[str, int]] = set()
        self.ended: list[Warned] = []
        """Warnings that held for a while."""

    def replay(self, rows: Iterable[Interval]) -> None:
        """Follow rows that were written before."""
        for row in rows:
            values = {name: [math.nan if v is None else v for v in each] for name, each in row.metrics.items()}
            self.observe(row.step, values)

    def observe(self, step: int, metrics: "Metrics | Mapping[str, Sequence[float]]") -> list[Warned]:
        """The warnings that begin at this row, each rule and seed once in a run."""
        begun = []
        for rule in self._rules:
            values = metrics.get(FIGURE + rule.figure)
            for index, seed in enumerate(self.seeds):
                key, figure = (rule.name, seed), None if values is None else float(values[index])
                broken = rule.broken_by(figure)
                self._held[key] = self._held[key] + 1 if broken else 0
                if not broken and key in self._active:
                    ended = self._active.pop(key)
                    self.ended.append(Warned(rule, seed, ended.step, ended.figure, step))
                if broken and figure is not None and self._held[key] >= rule.patience and key not in self._active:
                    self._active[key] = Warned(rule, seed, step, figure)
                    if key not in self._shown:
                        begun.append(self._active[key])
                    self._shown.add(key)
        return begun

    @property
    def warnings(self) -> list[Warned]:
        """All warnings so far, in the order of their steps."""
        return sorted([*self.ended, *self._active.values()], key=lambda each: (each.step, each.rule.name, each.seed))


def columns(begun: Sequence[Warned], seeds: Sequence[int]) -> dict[str, Float[np.ndarray, " seeds"]]:
    """Warnings as columns of the row in which they begin: 1 for the seeds that they are about, else 0."""
    found: dict[str, Float[np.ndarray, " seeds"]] = {}
    for each in begun:
        column = found.setdefault(WARNING + each.rule.name, np.zeros(len(seeds), np.float32))
        column[list(seeds).index(each.seed)] = 1.0
    return found


def warnings(rows: Sequence[Interval], seeds: Sequence[int]) -> list[Warned]:
    """Every warning of a run, by its rows, whatever was printed while it trained."""
    watch = Watch(seeds)
    watch.replay(rows)
    return watch.warnings


def missing(rows: Sequence[Interval]) -> list[Rule]:
    """The rules whose figure no row has."""
    known = {name for row in rows for name in row.metrics}
    return [rule for rule in RULES if FIGURE + rule.figure not in known]
