"""Success against what an action costs: best of N, the guided flow, and both.

Operations are the compiler's count, milliseconds are measured on this machine, success is of reporting episodes. The
weight of guidance is the one that is given, or the one that the dataset alone chooses; it is never chosen here on the
episodes that are shown (arXiv 2606.11087, Figs. 6 and 7). This module does not know how a cost is measured.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from guidedflow.environments.vector import open_simulators
from guidedflow.evaluation.selection import WEIGHTS, by_dataset
from guidedflow.policies.kinds import FlowPolicy
from guidedflow.results.counts import plural
from guidedflow.results.rows import measure
from guidedflow.studies import picture
from guidedflow.studies.clock import act, milliseconds, operations
from guidedflow.studies.finding import Finding, check
from guidedflow.studies.picture import Figure
from guidedflow.studies.subject import Subject, first_seed

BATCHES = (1, 256)
LABELS = {"best of N": "best of N (BFN)", "denoised": "QGF", "denoised + best of N": "QGF + BFN"}


@dataclass(frozen=True)
class Compute:
    """Success against the operations and the milliseconds of an action: best of N, QGF, and both."""

    candidates: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """Proposals of best of N; 1 is the flow itself."""
    weight: float | None = None
    """Weight of QGF; by default chosen from the dataset alone."""
    together: tuple[int, ...] = (4,)
    """Proposals of QGF with best of N."""
    episodes: int = 50
    """Reporting episodes of each, for each training seed."""
    repeats: int = 20
    """Timed calls of each batch size."""
    states: int = 256
    """Transitions of the dataset on which the weight is chosen."""
    seed: int = 0
    """Chooses episodes and transitions."""
    workers: int | None = None
    """Simulator processes; by default one a core."""

    def measure(self, subject: Subject) -> Finding:
        """Operations, milliseconds of a batch, and success of every way of acting."""
        counts = dict.fromkeys(("candidates", "together", "episodes", "repeats", "states"), (1, np.inf))
        check(self, weight=(0, np.inf), seed=(0, 2**31 - 1), **counts)
        weight = self._weight(subject) if self.weight is None else self.weight
        ways = {("best of N", n): subject.guided("none", 0.0, candidates=n) for n in self.candidates}
        ways["denoised", 1] = subject.guided("denoised", weight)
        ways |= {("denoised + best of N", n): subject.guided("denoised", weight, candidates=n) for n in self.together}
        costs = self._costs(subject, list(ways.values()))
        rows = []
        trained = subject.trained
        with open_simulators(trained.task, self.workers, frame_stack=trained.frame_stack) as simulators:
            for ((method, number), policy), cost in zip(ways.items(), costs, strict=True):
                told = trained.evaluate(
                    subject.policy, using=policy, episodes=self.episodes, seed=self.seed, simulators=simulators
                ).summary()
                found = {"success": told["success_mean"], "return": told["return_mean"]}
                rows.append({"method": method, "candidates": number, **cost, **found})
        title = (
            f"{trained.task}: {plural(self.episodes, 'reporting episode')} a seed, {plural(len(trained.seeds), 'seed')}"
        )
        how = "dataset" if self.weight is None else "given"
        notes: dict[str, Any] = {"task": trained.task, "policy": subject.policy, "seeds": trained.seeds}
        notes |= {"weight": weight, "weight_from": how, "episodes": self.episodes}
        return Finding(title, rows, {**notes, "device": jax.devices()[0].device_kind})

    def _weight(self, subject: Subject) -> float:
        policies = {weight: subject.guided("denoised", weight) for weight in WEIGHTS}
        return by_dataset(policies, subject.draw(self.states, self.seed).observation, seed=self.seed).chosen

    def _costs(self, subject: Subject, policies: list[FlowPolicy]) -> list[dict[str, float | None]]:
        """What each policy of one training seed costs, the timed calls taking turns."""
        mine = [first_seed(policy) for policy in policies]
        observations = subject.draw(max(BATCHES), self.seed).observation
        flops = [operations(policy, jax.tree.map(lambda part: part[0], observations)) for policy in mine]
        costs: list[dict[str, float | None]] = [{"gflop": None if n is None else n / 1e9} for n in flops]
        for batch in BATCHES:
            calls = {
                str(i): partial(
                    act, policy, jax.tree.map(lambda part, n=batch: part[:n], observations), jax.random.key(0)
                )
                for i, policy in enumerate(mine)
            }
            for i, taken in milliseconds(calls, self.repeats).items():
                costs[int(i)][f"ms_batch_{batch}"] = taken
        return costs

    def draw(self, finding: Finding) -> Figure:
        """Success, or return where success is not reported, against each cost."""
        name = measure(finding.rows)
        labels = {"gflop": "GFLOP an action", **{f"ms_batch_{n}": f"ms for a batch of {n}" for n in BATCHES}}
        shown = [cost for cost in labels if all(row[cost] is not None for row in finding.rows)]
        figure, axes = picture.panels(len(shown))
        for panel, cost in zip(axes, shown, strict=True):
            for method in finding.column("method"):
                rows = finding.of(method=method)
                style: dict[str, Any] = {"label": LABELS[method], "marker": "o" if method == "best of N" else "D"}
                picture.line(panel, [row[cost] for row in rows], [row[name] for row in rows], method, **style)
                for row in rows:
                    at = (row[cost], row[name])
                    panel.annotate(str(row["candidates"]), at, xytext=(4, 4), textcoords="offset points", fontsize=8)
            panel.set(xscale="log", xlabel=labels[cost], ylabel="success rate" if name == "success" else "mean return")
            if name == "success":
                panel.set_ylim(-0.03, 1.08)
        axes[0].legend(frameon=False, loc="best", fontsize="small")
        return figure
