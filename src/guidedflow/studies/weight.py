"""Success against the weight of guidance, and where the choice from the dataset alone falls on that curve.

The episodes are those of the stream for selection, so that whatever is read off the curve was never chosen on episodes
that results are reported on. This module does not know how success is measured, nor how a weight is chosen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from guidedflow.environments.vector import open_simulators
from guidedflow.errors import InputError, did_you_mean
from guidedflow.evaluation.selection import WEIGHTS, by_dataset, by_episodes
from guidedflow.flows.guidance import GUIDANCE
from guidedflow.results.counts import plural
from guidedflow.results.rows import measure
from guidedflow.studies import picture
from guidedflow.studies.finding import Finding, check
from guidedflow.studies.picture import Figure
from guidedflow.studies.subject import Subject


@dataclass(frozen=True)
class Weight:
    """Success against the weight of guidance, with the choice from the dataset alone marked."""

    guidance: tuple[str, ...] = ("noisy", "denoised", "rollout")
    """Guidances: noisy, denoised, jacobian, rollout."""
    weights: tuple[float, ...] = WEIGHTS
    """Weights of each."""
    normalize: bool = False
    """Follow the gradient's direction alone."""
    episodes: int = 20
    """Episodes at each weight, for each training seed."""
    states: int = 256
    """Transitions of the dataset on which a weight is chosen without a simulator."""
    seed: int = 0
    """Chooses episodes and transitions."""
    workers: int | None = None
    """Simulator processes; by default one a core."""

    def measure(self, subject: Subject) -> Finding:
        """Success, return, claimed value and distance at each weight; where both ways of choosing end up is marked."""
        counts = dict.fromkeys(("episodes", "states"), (1, np.inf))
        check(self, weights=(0, np.inf), seed=(0, 2**31 - 1), **counts)
        check_guidance(self.guidance)
        observations = subject.draw(self.states, self.seed).observation
        rows = []
        with open_simulators(subject.trained.task, self.workers, frame_stack=subject.trained.frame_stack) as simulators:
            played: dict[str, Any] = {"episodes": self.episodes, "seed": self.seed, "simulators": simulators}
            trial = partial(subject.trained.evaluate, subject.policy, **played)
            for name in self.guidance:
                policies = {weight: subject.guided(name, weight, normalize=self.normalize) for weight in self.weights}
                offline = by_dataset(policies, observations, seed=self.seed)
                online = by_episodes(policies, trial)
                measured = zip(self.weights, online.measured, offline.measured, strict=True)
                for weight, found, claimed in measured:
                    told = {"success": found.get("success_mean"), "return": found["return_mean"], **claimed}
                    chosen = {"by_dataset": weight == offline.chosen, "by_episodes": weight == online.chosen}
                    rows.append({"guidance": name, "weight": weight, **told, **chosen})
        trained = subject.trained
        title = (
            f"{trained.task}: {plural(self.episodes, 'selection episode')} a seed, {plural(len(trained.seeds), 'seed')}"
        )
        notes: dict[str, Any] = {"task": trained.task, "policy": subject.policy, "seeds": trained.seeds}
        return Finding(title, rows, {**notes, "episodes": self.episodes, "normalize": self.normalize})

    def draw(self, finding: Finding) -> Figure:
        """Success, or return where success is not reported, against the weight; stars are the dataset's choices."""
        figure, (panel,) = picture.panels(1)
        name = measure(finding.rows)
        for guidance in finding.column("guidance"):
            rows = sorted(finding.of(guidance=guidance), key=lambda row: row["weight"])
            picture.line(panel, [row["weight"] for row in rows], [row[name] for row in rows], guidance)
            for row in rows:
                if row["by_dataset"]:
                    panel.plot(row["weight"], row[name], "*", color=picture.color(guidance), markersize=18, zorder=4)
        panel.plot([], [], "*", color="#333333", markersize=12, lw=0, label="chosen from the dataset alone")
        positive = [weight for weight in finding.column("weight") if weight > 0]
        picture.weights(panel, min(positive, default=1.0))
        panel.set(ylabel="success rate" if name == "success" else "mean return", title=finding.notes["task"])
        if name == "success":
            panel.set_ylim(-0.03, 1.03)
        panel.legend(frameon=False, loc="best", fontsize="small")
        return figure


def check_guidance(names: Sequence[str]) -> None:
    """Raises `InputError` for what is no guidance by a critic's gradient."""
    known = [name for name in GUIDANCE if name != "none"]
    for name in names:
        if name not in known:
            raise InputError(f"--guidance is {name!r}{did_you_mean(name, known)}, expected some of {', '.join(known)}.")
