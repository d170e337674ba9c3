"""Every way of acting that one run allows, side by side, each at the weight that other episodes chose.

The comparison of Q-Guided Flow (arXiv 2606.11087, section 5): best of N, the gradient at the noisy action (QFQL), QGF,
its Jacobian, the whole rollout (BPTT), steps after the flow (GradStep), the critic of noisy actions (RobustQ) where the
run trained one, and the condition (CFGRL) where the flow has one. With `variants` also the other Jacobians of Fig. 15,
weights that follow the flow's time or its velocity, and two controls: the critic negated and with shuffled weights,
both at the weight that was chosen for normalised QGF under the critic itself, since their own choice would be 0. QGF
appears once more with the weight that the
dataset alone chose. This module does not know how a weight is chosen, nor how success is measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from guidedflow.environments.vector import open_simulators
from guidedflow.evaluation.selection import by_dataset, by_episodes
from guidedflow.flows.guidance import NoisyGradient
from guidedflow.flows.sampling import GradientAscent, Sampler
from guidedflow.flows.schedules import WeightSchedule
from guidedflow.networks import Extrapolation
from guidedflow.policies.controls import ValueName, under_value
from guidedflow.policies.kinds import FlowPolicy
from guidedflow.policies.policy import Policy
from guidedflow.results.counts import plural
from guidedflow.results.rows import measure
from guidedflow.studies import picture
from guidedflow.studies.finding import Finding, check
from guidedflow.studies.picture import NAMES, Figure
from guidedflow.studies.subject import Subject

ROBUST = "RobustQ"
NORMALISED = "denoised, normalised"

Weighted = Mapping[float | None, Policy]
"""The policies of a method under each weight; under None where there is nothing to weigh."""


@dataclass(frozen=True)
class Methods:
    """Success of every test-time method of a run, each at the weight that other episodes chose."""

    weights: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0)
    """Weights of guidance to choose from."""
    refine_sizes: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1)
    """Lengths of a step of GradStep to choose from, in action per value, or in action where it goes by the sign."""
    refine_steps: int = 3
    """Steps of GradStep."""
    conditions: tuple[float, ...] = (1.0, 2.0, 3.0, 5.0)
    """Weights of a flow's condition to choose from."""
    candidates: tuple[int, ...] = (4, 16)
    """Proposals of best of N; the first also of QGF with best of N."""
    select_episodes: int = 20
    """Episodes of each weight and training seed, of which none is reported."""
    episodes: int = 50
    """Reported episodes of each method and training seed."""
    variants: bool = False
    """Also the variants of the gradient, the schedules of the weight and the controls."""
    states: int = 256
    """Transitions of the dataset on which a weight is chosen without a simulator."""
    seed: int = 0
    """Chooses episodes and transitions."""
    workers: int | None = None
    """Simulator processes; by default one a core."""

    def measure(self, subject: Subject) -> Finding:
        """Success and return of each method, and the weight that it acted with."""
        counts = dict.fromkeys(("candidates", "refine_steps", "select_episodes", "episodes", "states"), (1, np.inf))
        amounts = dict.fromkeys(("weights", "refine_sizes", "conditions"), (0, np.inf))
        check(self, seed=(0, 2**31 - 1), **counts, **amounts)
        rows = []
        trained = subject.trained
        with open_simulators(trained.task, self.workers, frame_stack=trained.frame_stack) as simulators:
            played: dict[str, Any] = {"simulators": simulators, "seed": self.seed}
            for method, policies in self._ways(subject).items():
                weighed = {weight: policy for weight, policy in policies.items() if weight is not None}
                chosen: dict[str, float | None] = {method: None}
                policy = "robust" if method == ROBUST else subject.policy  # as the rows of its episodes name it
                if weighed:
                    trial = partial(trained.evaluate, policy, episodes=self.select_episodes, **played)
                    tried = by_episodes(weighed, trial)
                    chosen = {method: tried.chosen}
                if method == NAMES["denoised"]:
                    observations = subject.draw(self.states, self.seed).observation
                    chosen[f"{method}, weight from the data"] = by_dataset(weighed, observations, seed=self.seed).chosen
                acting = {name: (weight, policies[weight]) for name, weight in chosen.items()}
                if method == NORMALISED and self.variants:
                    acting |= self._controls(subject, chosen[method])
                for name, (weight, using) in acting.items():
                    told = trained.evaluate(policy, using=using, episodes=self.episodes, **played).summary()
                    found = {"success": told["success_mean"], "return": told["return_mean"], "seeds": told["success"]}
                    rows.append({"method": name, "weight": weight, **found})
        title = (
            f"{trained.task}: {plural(self.episodes, 'reporting episode')} a seed, {plural(len(trained.seeds), 'seed')}"
        )
        notes: dict[str, Any] = {"task": trained.task, "policy": subject.policy, "training_seeds": trained.seeds}
        return Finding(title, rows, {**notes, "episodes": self.episodes, "select_episodes": self.select_episodes})

    def _ways(self, subject: Subject) -> dict[str, Weighted]:
        """The methods by name, each with its policies."""
        base = subject.base
        if isinstance(base.flow, Extrapolation):
            return {"condition (CFGRL)": {weight: base.conditioned(weight) for weight in self.conditions}}
        first = self.candidates[0]
        ways: dict[str, Weighted] = {NAMES["none"]: {None: base}}
        ways |= {f"best of {n} (BFN)": {None: subject.guided("none", 0.0, candidates=n)} for n in self.candidates}
        ways |= {NAMES[name]: self._guided(subject, name) for name in ("noisy", "rollout", "jacobian", "denoised")}
        ways[NORMALISED] = self._guided(subject, "denoised", normalize=True)
        ways |= self._variants(subject) if self.variants else {}
        ways[f"{NAMES['denoised']} + best of {first}"] = self._guided(subject, "denoised", candidates=first)
        ways["GradStep"] = self._refined(base, sign=False)
        ways["GradStep by sign"] = self._refined(base, sign=True)
        robust = subject.trained.policies().get("robust")
        if robust is not None:
            steps = base.sampler.steps
            ways[ROBUST] = {
                weight: robust.with_sampler(Sampler(steps, NoisyGradient(weight))) for weight in self.weights
            }
        return ways

    def _variants(self, subject: Subject) -> dict[str, Weighted]:
        """Other gradients, and weights that follow the flow; distilled ones where the flow has a one-step map."""
        names = ["chain", "smoothed", "orthogonalised", "regularised"]
        names += ["distilled", "distilled_jacobian"] if subject.base.jump is not None else []
        ways = {NAMES[name]: self._guided(subject, name) for name in names}
        ways["denoised, matched (QPILOTS)"] = self._guided(subject, "denoised", match=True)
        for schedule, factor in ((WeightSchedule.falling, "1 - t"), (WeightSchedule.ratio, "(1 - t) / t")):
            for name in ("denoised", "jacobian"):
                ways[f"{NAMES[name]}, weight {factor}"] = self._guided(subject, name, schedule=schedule)
        return ways

    def _controls(self, subject: Subject, weight: float | None) -> dict[str, tuple[float | None, Policy]]:
        """Normalised QGF at the weight chosen for it, under the negated critic and under one that knows nothing."""
        guided = subject.guided("denoised", weight or 0.0, normalize=True)
        kinds: tuple[ValueName, ...] = ("negated", "random")
        return {f"{NORMALISED}, {kind} critic": (weight, under_value(guided, kind, self.seed)) for kind in kinds}

    def _guided(self, subject: Subject, guidance: str, **how: Any) -> Weighted:
        return {weight: subject.guided(guidance, weight, **how) for weight in self.weights}

    def _refined(self, base: FlowPolicy, sign: bool) -> Weighted:
        def refined(size: float) -> FlowPolicy:
            refinement = GradientAscent(size, self.refine_steps, sign)
            return replace(base, sampler=replace(base.sampler, refinement=refinement))

        return {size: refined(size) for size in self.refine_sizes}

    def draw(self, finding: Finding) -> Figure:
        """A bar for each method, with a dot for each training seed, where success is told; else of returns."""
        figure, (panel,) = picture.panels(1)
        name = measure(finding.rows)
        rows = list(reversed(finding.rows))
        panel.barh([row["method"] for row in rows], [row[name] for row in rows], color="#4477AA", alpha=0.6)
        if name == "success":
            for place, row in enumerate(rows):
                panel.plot(row["seeds"], [place] * len(row["seeds"]), ".", color="#222222", zorder=3)
            panel.set_xlim(0, 1.03)
        panel.set(xlabel="success rate" if name == "success" else "mean return", title=finding.notes["task"])
        panel.grid(visible=False, axis="y")
        return figure
