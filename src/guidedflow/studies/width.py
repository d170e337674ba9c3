"""Success and latency against the size of the networks, of runs that differ in their width.

The comparison of Fig. 9 of Q-Guided Flow (arXiv 2606.11087), for runs of any methods: each acts by its main policy, at
the number of updates that all of them have. This module does not know how a run was trained.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from guidedflow.environments.vector import open_simulators
from guidedflow.errors import InputError
from guidedflow.policies.policy import Policy
from guidedflow.results.canvas import COLORS
from guidedflow.results.counts import plural
from guidedflow.results.rows import measure
from guidedflow.runs.trained import Trained
from guidedflow.studies import picture
from guidedflow.studies.clock import milliseconds
from guidedflow.studies.finding import Finding, check
from guidedflow.studies.picture import Figure
from guidedflow.studies.subject import Subject
from guidedflow.types import Action, Observation


@dataclass(frozen=True)
class Width:
    """Success and milliseconds against the width of the networks, over runs of the same number of updates."""

    beside: tuple[str, ...] = ()
    """Runs that are compared with the first: of other widths, or of other methods."""
    episodes: int = 50
    """Reported episodes of each run and training seed."""
    repeats: int = 30
    """Timed calls of each policy, taking turns."""
    seed: int = 0
    """Chooses episodes and states."""
    workers: int | None = None
    """Simulator processes; by default one a core."""

    def measure(self, subject: Subject) -> Finding:
        """Success and return of each run, its numbers of parameters, and the milliseconds of one action.

        Raises `InputError` where no other run is named, and for runs of other tasks or another number of updates.
        """
        check(self, seed=(0, 2**31 - 1), episodes=(1, np.inf), repeats=(1, np.inf))
        first = subject.trained
        runs = [first, *(Trained.open(path) for path in self.beside)]
        for other in runs[1:]:
            if (other.task, other.step) != (first.task, first.step):
                raise InputError(
                    f"{other.run.path} is of {other.task} at step {other.step}, but {first.run.path} of {first.task} "
                    f"at step {first.step}; compare runs of the same task and number of updates."
                )
        observation = jax.tree.map(lambda column: column[0], subject.draw(1, self.seed).observation)
        names = [next(iter(run.policies())) for run in runs]
        policies = [run.policy(name) for run, name in zip(runs, names, strict=True)]
        calls = {str(i): partial(_act, policy, observation, jax.random.key(0)) for i, policy in enumerate(policies)}
        taken, rows = milliseconds(calls, self.repeats), []
        with open_simulators(first.task, self.workers, frame_stack=first.frame_stack) as simulators:
            for i, (run, name, policy) in enumerate(zip(runs, names, policies, strict=True)):
                told = run.evaluate(name, episodes=self.episodes, seed=self.seed, simulators=simulators).summary()
                width = max(run.run.config["algorithm"]["hidden"])
                size = sum(leaf.size for leaf in jax.tree.leaves(policy) if isinstance(leaf, jax.Array))
                found = {"success": told["success_mean"], "return": told["return_mean"], "seeds": told["success"]}
                cost = {"width": width, "parameters": size, "ms": taken[str(i)]}
                method = run.run.config["algorithm"]["name"]
                rows.append({"run": run.run.path.name, "method": method, "policy": name, **cost, **found})
        title = f"{first.task}: {plural(first.step, 'update')}, {plural(self.episodes, 'reporting episode')} a seed"
        notes = {"task": first.task, "step": first.step, "episodes": self.episodes}
        return Finding(title, rows, {**notes, "device": jax.devices()[0].device_kind})

    def draw(self, finding: Finding) -> Figure:
        """Success, or return where success is not reported, and milliseconds against the width, a line a method."""
        figure, (left, right) = picture.panels(2)
        name = measure(finding.rows)
        for place, method in enumerate(finding.column("method")):
            rows = sorted(finding.of(method=method), key=lambda row: row["width"])
            style: dict[str, Any] = {"marker": "o", "color": COLORS[place % len(COLORS)]}
            left.plot([row["width"] for row in rows], [row[name] for row in rows], label=method, **style)
            right.plot([row["width"] for row in rows], [row["ms"] for row in rows], **style)
        left.set(ylabel="success rate" if name == "success" else "mean return", title=finding.notes["task"])
        right.set(ylabel="ms an action", yscale="log")
        for panel in (left, right):
            panel.set(xscale="log", xlabel="width of the networks")
        left.legend(frameon=False, loc="best", fontsize="small")
        return figure


@jax.jit
def _act(policy: Policy, observation: Observation, key: Array) -> Action:
    return policy(observation, key)
