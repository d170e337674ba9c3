"""Runs that are judged without a simulator: estimates of their policies, beside what a simulator measured of them.

This module does not know how a table is printed, nor which runs are compared.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from guidedflow.data.formats.columns import Columns
from guidedflow.errors import InputError
from guidedflow.evaluation.importance import WeightedReturn, behaviour, check_density, log_densities, weighted_return
from guidedflow.evaluation.off_policy import Judgement, as_recorded, judged
from guidedflow.evaluation.recorded import Judge
from guidedflow.evaluation.rollout import SOURCES
from guidedflow.keys import Stream
from guidedflow.policies.policy import Policy
from guidedflow.results import rows
from guidedflow.results.ranking import Agreement, agreement
from guidedflow.runs.held_out import HeldOut, actions, member, validation_losses
from guidedflow.runs.trained import Trained


@dataclass(frozen=True)
class Simulated:
    """What the simulator measured of a policy."""

    measure: rows.Measure
    mean: float
    episodes: int
    """Of all training seeds."""


@dataclass(frozen=True)
class Judged:
    """One policy of one run, at one weight of guidance."""

    run: str
    policy: str
    weight: float | None
    sampler: str
    step: int
    seeds: int
    judgement: Judgement
    seen: bool
    """Whether the run was trained on the episodes that it is judged on."""
    losses: Mapping[str, float]
    """Validation losses of the run's algorithm."""
    importance: WeightedReturn | None
    simulated: Simulated | None

    def plain(self) -> dict[str, Any]:
        """As JSON's own types."""
        found, weighted, measured = self.judgement, self.importance, self.simulated
        told = {
            **{name: getattr(self, name) for name in ("run", "policy", "weight", "sampler", "step", "seeds", "seen")},
            "value": found.value,
            "interval": [found.interval.low, found.interval.high],
            **{name: getattr(found, name) for name in ("everywhere", "distance", "near", "drift")},
            "members": list(found.members),
            "losses": dict(self.losses),
        }
        if weighted is not None:
            interval = [weighted.interval.low, weighted.interval.high]
            told["importance"] = {"value": weighted.value, "interval": interval, "effective": weighted.effective}
        if measured is not None:
            told["simulator"] = {"measure": measured.measure, "mean": measured.mean, "episodes": measured.episodes}
        return told


@dataclass
class Panel:
    """Judges policies of runs on the same held-out episodes, which are opened once for all runs that see them alike.

    Runs of another task, discount or chunk length than the first one's are refused: their values are of another unit.
    """

    judge: Judge
    dataset: Path | str | None = None
    """Held-out episodes; by default the data that each run was trained on."""
    columns: Columns | None = None
    importance: bool = False
    """Also weigh by importance; a policy without a density is then an `InputError`."""
    _first: Trained | None = field(default=None, init=False)
    _opened: list[tuple[Trained, HeldOut]] = field(default_factory=list, init=False)

    def held_out(self, trained: Trained) -> HeldOut:
        """The held-out episodes in the units of a run. Raises `InputError` for a run that cannot be compared."""
        self._first = self._first or trained
        _check_comparable(self._first, trained)
        for other, found in self._opened:
            mine, theirs = (replace(each.configuration, seed=0, seeds=1) for each in (trained, other))
            own = self.dataset is not None or _data(trained) == _data(other)
            if own and mine == theirs:
                return found
        found = HeldOut.open(trained, self.judge, self.dataset, self.columns)
        self._opened.append((trained, found))
        return found

    def recorded(self) -> dict[str, Any]:
        """Fitted Q evaluation of the recorded actions themselves, beside the return that was recorded.

        The difference shows how far an estimate may be off where data is plentiful.
        """
        recorded = self._opened[0][1].recorded
        found = judged(recorded, [as_recorded(recorded)], self.judge)
        interval, returns = [found.interval.low, found.interval.high], float(np.mean(recorded.returns))
        counts = {"episodes": len(recorded.returns), "transitions": len(recorded.rewards)}
        return {"value": found.value, "interval": interval, "return": returns, **counts}

    def __call__(self, trained: Trained, name: str, policies: Mapping[float | None, Policy]) -> list[Judged]:
        """Judge a policy of all seeds of a run under each weight; under None as it was trained to act."""
        held_out = self.held_out(trained)
        if self.importance:
            for policy in policies.values():
                check_density(policy, name)
        losses = validation_losses(trained, held_out, self.judge.seed)
        return [
            Judged(
                run=str(trained.run.path),
                policy=name,
                weight=weight,
                sampler=rows.in_words(policy.columns()),
                step=trained.step,
                seeds=len(trained.seeds),
                judgement=judged(held_out.recorded, actions(policy, held_out, self.judge), self.judge),
                seen=held_out.seen_by(trained),
                losses=losses,
                importance=self._weighted(policy, held_out, len(trained.seeds)) if self.importance else None,
                simulated=simulated(trained, name, policy),
            )
            for weight, policy in policies.items()
        ]

    def _weighted(self, policy: Policy, held_out: HeldOut, seeds: int) -> WeightedReturn:
        """The importance-weighted return, its log-densities averaged over training seeds by mixing the policies."""
        steps = held_out.steps()
        each = np.stack([log_densities(member(policy, row), steps) for row in range(seeds)])
        mixed = np.logaddexp.reduce(each, axis=0) - math.log(seeds)
        return weighted_return(mixed - behaviour(steps, self.judge.seed), steps, seed=self.judge.seed)


def agree(found: Sequence[Judged], seed: int = 0) -> dict[str, Agreement | None]:
    """Agreement with the simulator: of all values, of values of near policies, and of the ranking with far ones last.

    None for fewer than four policies that were measured alike.
    """
    measures = [each.simulated.measure for each in found if each.simulated is not None]
    alike = [each for each in found if each.simulated is not None and each.simulated.measure == measures[0]]
    orders = sorted({each.judgement.order for each in alike})
    every = [
        (each.judgement, float(orders.index(each.judgement.order)), each.simulated.mean)
        for each in alike
        if each.simulated is not None
    ]

    def of(pairs: Sequence[tuple[float, float]]) -> Agreement | None:
        return agreement([estimate for estimate, _ in pairs], [measured for _, measured in pairs], seed=seed)

    return {
        "all values": of([(judgement.value, mean) for judgement, _, mean in every]),
        "values of near policies": of([(judgement.value, mean) for judgement, _, mean in every if judgement.near]),
        "ranking": of([(place, mean) for _, place, mean in every]),
    }


def simulated(trained: Trained, name: str, policy: Policy) -> Simulated | None:
    """What reported episodes of the run say of a policy that acts in this way, at this checkpoint; None without any."""
    acts = {key: value for key, value in policy.columns().items() if key in rows.ACTING}
    found = [
        row
        for row in trained.episodes()
        if row["source"] == SOURCES[Stream.REPORTING_EPISODES] and row["step"] == trained.step
        and row["task"] == trained.task and row["policy"] == name
        and row["critic_run"] is None and row["replan"] is None and row["delay"] is None
        and all(_same(row[key], value) for key, value in acts.items())  # type: ignore[literal-required]
    ]  # fmt: skip
    if not found:
        return None
    measure = rows.measure(found)
    return Simulated(measure, rows.mean(found, measure) or 0.0, len(found))


def _same(written: Any, value: Any) -> bool:
    if isinstance(value, float | int | jax.Array) and isinstance(written, float | int):
        return math.isclose(float(written), float(value), rel_tol=1e-5, abs_tol=1e-9)
    return bool(written == value)


def _data(trained: Trained) -> Any:
    own = trained.run.config.get("dataset")
    return own.get("fingerprint") if isinstance(own, Mapping) else None


def _check_comparable(first: Trained, other: Trained) -> None:
    names = ("task", "discount", "chunk", *(("horizon",) if first.configuration.chunk else ()))
    for name in names:
        ours, theirs = (getattr(each.configuration, name) for each in (first, other))
        if ours != theirs:
            raise InputError(
                f"{first.run.path} has {name} {ours}, {other.run.path} has {theirs}, so their values cannot be ranked; "
                "judge them apart."
            )
