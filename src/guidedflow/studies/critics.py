"""One flow under the critics of several runs, each at the weight that other episodes chose.

The comparison of Fig. 10 of Q-Guided Flow (arXiv 2606.11087): is the gradient of a value as good for guidance where it
was learned by another method? A critic with several members can be asked for its mean minus some of their standard
deviations besides. This module does not know how a critic was learned, nor how success is measured.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from guidedflow.environments.vector import open_simulators
from guidedflow.errors import InputError
from guidedflow.evaluation.selection import by_episodes
from guidedflow.networks import LowerBound
from guidedflow.policies.kinds import FlowPolicy
from guidedflow.results.counts import plural
from guidedflow.results.rows import measure
from guidedflow.runs.trained import Trained
from guidedflow.studies import picture
from guidedflow.studies.finding import Finding, check
from guidedflow.studies.picture import Figure
from guidedflow.studies.subject import Subject
from guidedflow.studies.weight import check_guidance


@dataclass(frozen=True)
class Critics:
    """Success of a run's flow, guided by its own critic and by those of other runs."""

    critic_from: tuple[str, ...] = ()
    """Runs whose critics guide the flow, beside its own."""
    guidance: str = "denoised"
    """Guidance: noisy, denoised, jacobian, rollout."""
    weights: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0)
    """Weights of guidance to choose from, for each critic apart."""
    normalize: bool = False
    """Follow the gradient's direction alone, so that weights do not depend on a critic's scale."""
    rho: float | None = None
    """Ask critics of several members also for their mean minus so many standard deviations."""
    select_episodes: int = 20
    """Episodes of each weight and training seed, of which none is reported."""
    episodes: int = 50
    """Reported episodes of each critic and training seed."""
    seed: int = 0
    """Chooses episodes."""
    workers: int | None = None
    """Simulator processes; by default one a core."""

    def measure(self, subject: Subject) -> Finding:
        """Success and return of the unguided flow, and of the flow under each critic at its chosen weight.

        Raises `InputError` where no other run is named, for a run without a critic, and for a critic of other sizes.
        """
        counts = dict.fromkeys(("select_episodes", "episodes"), (1, np.inf))
        check(self, weights=(0, np.inf), seed=(0, 2**31 - 1), **counts)
        check_guidance([self.guidance])
        if self.rho is not None and self.rho < 0:
            raise InputError(f"rho must be at least 0, but is {self.rho}.")
        trained, rows = subject.trained, []
        flows = dict(self._flows(subject))
        with open_simulators(trained.task, self.workers, frame_stack=trained.frame_stack) as simulators:
            played: dict[str, Any] = {"simulators": simulators, "seed": self.seed}
            for (run, method, aggregate), flow in flows.items():
                guided = replace(subject, base=flow)
                weight, using = None, flow
                if run is not None:
                    policies = {w: guided.guided(self.guidance, w, normalize=self.normalize) for w in self.weights}
                    trial = partial(
                        trained.evaluate, subject.policy, episodes=self.select_episodes, critic_run=run, **played
                    )
                    weight = by_episodes(policies, trial).chosen
                    using = policies[weight]
                told = trained.evaluate(
                    subject.policy, using=using, episodes=self.episodes, critic_run=run, **played
                ).summary()
                found = {"success": told["success_mean"], "return": told["return_mean"], "seeds": told["success"]}
                rows.append({"critic": run, "method": method, "aggregate": aggregate, "weight": weight, **found})
        title = (
            f"{trained.task}: {plural(self.episodes, 'reporting episode')} a seed, {plural(len(trained.seeds), 'seed')}"
        )
        notes: dict[str, Any] = {"task": trained.task, "policy": subject.policy, "training_seeds": trained.seeds}
        notes |= {"guidance": self.guidance, "normalize": self.normalize}
        return Finding(title, rows, {**notes, "episodes": self.episodes, "select_episodes": self.select_episodes})

    def _flows(self, subject: Subject) -> Iterator[tuple[tuple[str | None, str | None, str | None], FlowPolicy]]:
        """The flow under each critic: of which run and method, and how its members become one value."""
        yield (None, None, None), subject.base
        for critic in (subject.trained, *map(Trained.open, self.critic_from)):
            flow = subject.base
            if critic is not subject.trained:
                steered = subject.trained.steered(subject.policy, critic_from=critic)
                assert isinstance(steered, FlowPolicy)
                flow = replace(steered, sampler=subject.base.sampler)
            method = str(critic.run.config["algorithm"]["name"])
            yield (str(critic.run.path), method, "own"), flow
            if self.rho is not None and len(getattr(flow.critic, "members", ())) > 1:
                bound = replace(flow, aggregate=LowerBound(self.rho))
                yield (str(critic.run.path), method, f"mean - {self.rho:g} std"), bound

    def draw(self, finding: Finding) -> Figure:
        """A bar for each critic, with a dot for each training seed, where success is told; else of returns."""
        figure, (panel,) = picture.panels(1)
        name = measure(finding.rows)
        rows = list(reversed(finding.rows))
        labels = [_label(row) for row in rows]
        panel.barh(range(len(rows)), [row[name] for row in rows], color="#4477AA", alpha=0.6)
        panel.set_yticks(range(len(rows)), labels)
        if name == "success":
            for place, row in enumerate(rows):
                panel.plot(row["seeds"], [place] * len(row["seeds"]), ".", color="#222222", zorder=3)
            panel.set_xlim(0, 1.03)
        panel.set(xlabel="success rate" if name == "success" else "mean return", title=finding.notes["task"])
        panel.grid(visible=False, axis="y")
        return figure


def _label(row: Any) -> str:
    """What a bar is called."""
    if row["critic"] is None:
        return "unguided"
    name = f"{Path(row['critic']).name} ({row['method']})"
    return name if row["aggregate"] == "own" else f"{name}, {row['aggregate']}"
