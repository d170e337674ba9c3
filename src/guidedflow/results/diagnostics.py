"""What the figures of a run mean: rules with thresholds and remedies, and the warnings that they give.

A rule looks at one figure. Its warning begins where the figure is beyond the threshold in `patience` rows in a
row, and ends with the first row that is not. How a figure is computed stands in `algorithms.parts.figures`.
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


RULES = (
    Rule(
        "overestimation", "swapped_gain", "above", 0.25,
        "On cube-single-noisy successful runs stay below 0.1; those whose alpha is too small and fail are above 0.3.",
        "The critic prefers the policy's actions to the data's even in other states, so it overestimates them.",
        "Raise the actor's --alpha and GFP's --temperature tenfold, or take --ensemble.target-aggregate min.",
    ),
    Rule(
        "targets-outside", "targets_outside", "above", 0.1,
        "No policy has such a value; a tenth of a batch is more than errors at the range's ends.",
        "The critic's targets leave the range that the rewards allow.",
        "Check rewards and terminations, lower --tau, or set --ensemble.ceiling.",
    ),
    Rule(
        "target-follows", "target_rate", "above", 0.1,
        "Published rates are 0.005 to 0.01; at 0.1 a target is replaced within ten updates.",
        "The target critic is all but the critic, so the critic chases itself.",
        "Lower --tau towards 0.005.",
    ),
    Rule(
        "values-out-of-reach", "target_lag", "above", 5.0,
        "Small healthy runs begin at 2 and fall; rewards times 1000 begin at 7 and grow.",
        "The critic is still far from the values that it has to reach: rewards are too large for its learning rate.",
        "Divide the rewards, or raise --learning-rate.",
    ),
    Rule(
        "members-disagree", "spread_ratio", "above", 4.0,
        "Members agree equally well on actions that the data support; healthy runs stay below two.",
        "The policy acts where the members of the critic were never trained.",
        "Raise --alpha, or act by --ensemble.actor-aggregate min.",
    ),
    Rule(
        "actor-leaves-flow", "actor_flow_ratio", "above", 2.0,
        "Two samples of the flow are one such distance apart, so the actor's action is none of its samples.",
        "The actor follows the critic away from the data: alpha is too small.",
        "Raise --alpha tenfold.",
    ),
    Rule(
        "actor-copies-flow", "settled_flow_ratio", "below", 0.25,
        "Healthy actors are a third to one such distance away once the critic has settled.",
        "The actor imitates the flow and ignores the critic: alpha is too large.",
        "Lower --alpha tenfold.",
        patience=5,
    ),
    Rule(
        "alpha-at-end", "alpha_place", "above", 0.9,
        "Alpha is above 1e5, a hundred times the largest published one, and still climbs.",
        "The actor cannot come as near to the flow as --distance asks, so it ignores the critic.",
        "Raise --distance, or train longer or wider networks.",
        patience=2,
    ),
    Rule(
        "actions-at-edge", "edge_excess", "above", 0.5,
        "A half more of the policy's numbers than of the data's lie at the edge of the box.",
        "The policy saturates: it climbs a critic that has no maximum inside the box.",
        "Raise --alpha tenfold; check the scale of the dataset's actions.",
    ),
    Rule(
        "flow-collapsed", "diversity_ratio", "below", 0.1,
        "Samples at one state are ten times closer than the data's actions at neighbouring states.",
        "The flow has collapsed onto few actions.",
        "Raise --temperature tenfold.",
    ),
    Rule(
        "weights-sharp", "weight_undecided", "below", 0.002,
        "Not one of 256 weights lies between 0.01 and 0.99; sharp but healthy runs have one or more.",
        "The weights of cloning are zeros and ones: the temperature is too small.",
        "Raise --temperature tenfold.",
        patience=6,
    ),
    Rule(
        "weights-flat", "weight_deviation", "below", 0.01,
        "Weights that differ by less than a hundredth choose nothing.",
        "The flow clones all data alike: the temperature is too large, or is 0.",
        "Lower --temperature tenfold, towards 1e-3.",
    ),
    Rule(
        "weights-few", "weight_effective", "below", 0.02,
        "Of a batch of 256, as many as five transitions count.",
        "A handful of transitions carries the loss of cloning.",
        "Raise --temperature (GFP) or lower --alpha (IQL) tenfold.",
    ),
    Rule(
        "weights-limited", "weight_limited", "above", 0.3,
        "A weight at its limit no longer tells better from best.",
        "Advantage weights stand at their limit of 100.",
        "Lower --alpha tenfold, or scale the rewards down.",
    ),
    Rule(
        "labels-one-sided", "labelled_better", "below", 0.01,
        "The conditional flow then learns from fewer than three transitions of a batch of 256.",
        "Almost no action is labelled better than expected.",
        "Lower --expectile towards 0.7.",
    ),
    Rule(
        "rewards-large", "return_magnitude", "above", 2500.0,
        "Rewards of 30 in each of 100 steps, as D4RL's largest, have a discounted return of 1,900.",
        "The rewards are so large that the critic cannot reach their values in time.",
        "Divide the rewards; --normalize-q frees FQL's alpha from their scale.",
        patience=1,
    ),
    Rule(
        "actions-unrelated", "action_explained", "below", 0.02,
        "On held-out rows a linear map from two neighbouring states explains less than 2 % of any action dimension.",
        "Actions do not belong to their rows: they are shuffled, shifted by a step, or of another robot.",
        "Check the order of the columns; guidedflow data validate looks for shifted ones.",
        patience=1,
    ),
    Rule(
        "few-good-episodes", "good_share", "below", 0.02,
        "Of 256 transitions, fewer than five are of episodes that are nearer to the best than to the median.",
        "Good episodes are so rare that batches hardly hold them.",
        "Draw by return: --rebalance return.",
        patience=1,
    ),
    Rule(
        "actions-small", "action_reach", "below", 0.2,
        "99 of 100 numbers lie in a fifth of the box, so that noise of deviation 1 drowns them.",
        "The actions are scaled wrongly.",
        "Give --rescale-actions, or divide the actions by their range.",
        patience=1,
    ),
    Rule(
        "actions-clipped", "edge_data", "above", 0.5,
        "Half of all numbers stand at the edge of the box.",
        "The actions are scaled wrongly, and were clipped.",
        "Give --rescale-actions in place of --clip-actions.",
        patience=1,
    ),
)  # fmt: skip
"""Every rule."""


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
