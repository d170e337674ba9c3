"""Tuning: settings are chosen on seeds and episodes that no reported number sees, and the budget is written down.

Stage after stage one setting is tried at each of its values, with those of earlier stages at their best. Successive
halving (arXiv 1502.07943) stops bad values early: all train for a part of the updates, the better half goes on to
twice as many, until the last ones come to the end.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from guidedflow import environments, files
from guidedflow.errors import InputError
from guidedflow.keys import Stream
from guidedflow.recipes.protocols import Protocol
from guidedflow.results import rows
from guidedflow.settings import from_plain, to_plain
from guidedflow.sweeps.driver import Ended
from guidedflow.sweeps.grid import Planned, in_word
from guidedflow.sweeps.left import Judging, reported
from guidedflow.training.plan import Plan

Sweep = Callable[[Sequence[Planned], Judging], Ended]
"""Carries runs out."""

Criterion = Callable[[Sequence[Planned], Judging], float]
"""The runs of one value, a seed each, and the episodes that they were evaluated on -> a score, larger for better."""

IN_SIMULATOR: Mapping[str, Any] = {"name": "mean success, score or return in the simulator"}
"""How the usual criterion is named beside a result."""


@dataclass(frozen=True)
class Halving:
    """How many updates each value is given: `rungs` times, twice as many each, the last ones all of them."""

    rungs: int = 3
    seeds: int = 2
    """Training seeds of each value."""
    first_seed: int = 100
    """The first of them; reported seeds are others."""
    episodes: int = 20
    """Episodes of each seed and rung, from the stream of selection."""

    def steps(self, plan: Plan) -> list[int]:
        """Updates at which values are compared, multiples of the log interval."""
        parts = [plan.steps // 2 ** (self.rungs - 1 - rung) for rung in range(self.rungs)]
        rounded = [max(part // plan.log_interval, 1) * plan.log_interval for part in parts[:-1]]
        return sorted({*(step for step in rounded if step < plan.steps), plan.steps})


@dataclass
class Study:
    """The tuning of one algorithm on one task."""

    base: Planned
    protocol: Protocol
    chosen: dict[str, Any] = field(default_factory=dict)
    curve: list[dict[str, Any]] = field(default_factory=list)
    seen: set[Any] = field(default_factory=set)
    """The settings that were tried."""
    updates: int = 0
    episodes: int = 0
    criterion: Mapping[str, Any] = field(default_factory=lambda: IN_SIMULATOR)
    """What values were ranked by, and its limits."""

    def __post_init__(self) -> None:
        self.chosen = dict(self.protocol.start)

    def runs(self, setting: str, value: Any, steps: int, halving: Halving) -> list[Planned]:
        """The runs of one value, of every tuning seed."""
        settings = {**to_plain(self.base.algorithm), **self.chosen, setting: value}
        algorithm = from_plain(type(self.base.algorithm), settings)
        label = "-".join(f"{key}={in_word(settings[key])}" for key in {**self.chosen, setting: value})
        self.seen.add(algorithm)
        seeds = range(halving.first_seed, halving.first_seed + halving.seeds)
        folder = self.base.out / "tuning" / label
        return [
            replace(
                self.base,
                algorithm=algorithm,
                plan=replace(self.base.plan, seed=seed, seeds=1, steps=steps),
                out=folder / f"seed-{seed}",
            )
            for seed in seeds
        ]

    def plain(self) -> dict[str, Any]:
        """As JSON's own types: what was chosen, what each value gave, and the budget that was spent."""
        return {
            "task": self.base.task,
            "algorithm": self.base.name,
            "chosen": self.chosen,
            "tried": max(len(self.seen), 1),
            "updates": self.updates,
            "episodes": self.episodes,
            "criterion": dict(self.criterion),
            "curve": self.curve,
        }


def planned(study: Study, halving: Halving) -> list[Planned]:
    """What a study trains: each rung of each stage on every tuning seed, then the winner on its reported seeds.

    A run stands for the updates that a rung adds. Which values go on is not known yet: the first stand for them.
    """
    found, steps = [], halving.steps(study.base.plan)
    for setting, values in study.protocol.stages:
        alive, before = list(values), 0
        for step in steps:
            for value in alive:
                runs = study.runs(setting, value, step, halving)
                found += [replace(run, plan=replace(run.plan, steps=step - before)) for run in runs]
            alive, before = alive[: max(math.ceil(len(alive) / 2), 1)], step
    study.seen.clear()
    return [*found, *winners([study])]


def tune(studies: Sequence[Study], halving: Halving, sweep: Sweep, criterion: Criterion | None = None) -> None:
    """Choose the settings of every study; their stages run side by side, each study over its own number of updates.

    A `criterion` ranks values without a simulator, and no episode is played then. Without one, values are ranked in the
    simulator: `InputError` where a task has none.
    """
    if criterion is None:
        for study in studies:
            environments.simulated(study.base.task)
    else:
        halving = replace(halving, episodes=0)
    judging = Judging(halving.episodes, stream=Stream.SELECTION_EPISODES)
    for stage in range(max((len(study.protocol.stages) for study in studies), default=0)):
        races = [_Race.of(study, stage, halving) for study in studies if stage < len(study.protocol.stages)]
        for rung in range(max(len(race.steps) for race in races)):
            begun = [race for race in races if rung < len(race.steps)]
            asked = [race.runs(rung, halving) for race in begun]
            sweep([run for values in asked for runs in values.values() for run in runs], judging)
            for race, values in zip(begun, asked, strict=True):
                race.halve(rung, values, {value: (criterion or score)(runs, judging) for value, runs in values.items()})
        for race in races:
            race.study.chosen[race.setting] = race.alive[0]


@dataclass
class _Race:
    """One stage of a study: the values of a setting that are still tried, and the updates of each rung."""

    study: Study
    setting: str
    alive: list[Any]
    steps: list[int]
    episodes: int
    """Of each run and rung."""

    @classmethod
    def of(cls, study: Study, stage: int, halving: Halving) -> "_Race":
        setting, values = study.protocol.stages[stage]
        return cls(study, setting, list(values), halving.steps(study.base.plan), halving.episodes)

    def runs(self, rung: int, halving: Halving) -> dict[Any, list[Planned]]:
        """The runs of a rung by their value, a seed each."""
        return {value: self.study.runs(self.setting, value, self.steps[rung], halving) for value in self.alive}

    def halve(self, rung: int, runs: Mapping[Any, Sequence[Planned]], scores: Mapping[Any, float]) -> None:
        """Keep the better half, the best first, and after the last rung the best; a run that failed is the worst."""
        steps, before = self.steps[rung], self.steps[rung - 1] if rung else 0
        for value, found in scores.items():
            self.study.updates += (steps - before) * len(runs[value])
            self.study.episodes += self.episodes * len(runs[value])
            self.study.curve.append({"setting": self.setting, "value": value, "steps": steps, "score": _finite(found)})
        order = sorted(scores, key=lambda value: scores[value], reverse=True)
        self.alive = order[: 1 if rung == len(self.steps) - 1 else max(math.ceil(len(order) / 2), 1)]


def score(runs: Sequence[Planned], judging: Judging) -> float:
    """The mean success, score or return of the main policy over the seeds of one value; -inf where a run failed."""
    means = []
    for run in runs:
        found = reported(run.out, run.plan.steps, judging)
        if not found:
            return -math.inf
        main = next(iter(found.values()))
        means.append(rows.mean(main, rows.measure(main)) or 0.0)
    return float(np.mean(means))


def winners(studies: Sequence[Study]) -> list[Planned]:
    """The chosen settings of each study on its reported seeds, with a record of the budget beside them."""
    runs = []
    for study in studies:
        settings = {**to_plain(study.base.algorithm), **study.chosen}
        algorithm = from_plain(type(study.base.algorithm), settings)
        folder = study.base.out / "reported"
        for seed in study.base.plan.each_seed:
            plan = replace(study.base.plan, seed=seed, seeds=1)
            runs.append(replace(study.base, algorithm=algorithm, plan=plan, out=folder / f"seed-{seed}"))
    return runs


def record(study: Study) -> None:
    """Write what was tried and what it cost beside the reported runs."""
    path = study.base.out / "reported" / "tuning.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, study.plain())


def check_seeds(plan: Plan, halving: Halving) -> None:
    """Raises `InputError` where a seed would be both tuned on and reported."""
    shared = set(plan.each_seed) & set(range(halving.first_seed, halving.first_seed + halving.seeds))
    if shared:
        raise InputError(f"seed {min(shared)} is both tuned on and reported; choose other seeds by --seed.")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
