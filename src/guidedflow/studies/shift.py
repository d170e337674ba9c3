"""How far GFP's actor leaves the data while it trains, and how much its critic overestimates where it does.

At each checkpoint the actor is rolled out. At the states that it visits, Q of its action is compared with the
discounted return from there on (`returns`), in three parts of equal size: actions near the data's, further away, and
furthest. The distance to the data is that of `exploitation`: to the nearest action at similar observations.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import numpy as np

from guidedflow.errors import InputError
from guidedflow.results.counts import plural
from guidedflow.studies import picture, probes, returns
from guidedflow.studies.experiment import CarryOut, Cell, Measured, Setup, Trial
from guidedflow.studies.exploitation import nearest
from guidedflow.studies.finding import Finding, check
from guidedflow.studies.picture import Figure

PARTS = 3
"""Parts of the visited states, by the distance of their actions to the data's."""


@dataclass(frozen=True)
class Shift:
    """Train GFP: distance of the actor to the flow and to the data, and overestimation of Q, over training."""

    simulated: ClassVar[bool] = True

    alpha: float = 1.0
    """Weight of the actor's distance to the flow."""
    temperature: float = 1e-3
    """Sharpness (eta) of the choice between data and actor."""
    points: int = 5
    """Checkpoints that are measured."""
    neighbours: int = 64
    """Nearest observations whose actions count as the data's at a state."""

    def cells(self, setup: Setup, carry_out: CarryOut) -> list[Cell]:
        """One cell, whose checkpoints are kept."""
        check(self, alpha=(0, np.inf), temperature=(0, np.inf), neighbours=(1, np.inf), points=(1, setup.plan.steps))
        if setup.plan.chunk:
            raise InputError("study shift compares Q with the return after one action; leave --chunk out.")
        algorithm = setup.algorithm("gfp", alpha=self.alpha, temperature=self.temperature)
        every = setup.plan.steps // self.points
        plan = {"checkpoint_interval": every, "log_interval": every, "keep_checkpoints": 0}
        return [Cell({"method": "gfp"}, algorithm, plan)]

    def measure(self, trial: Trial) -> list[Measured]:
        """Rows of each checkpoint, one a part of the visited states."""
        every = trial.setup.plan.steps // self.points
        return [row for point in range(1, self.points + 1) for row in self._checkpoint(trial.at(every * point))]

    def _checkpoint(self, trial: Trial) -> list[Measured]:
        plan, actor = trial.setup.plan, trial.policy("actor")
        if not isinstance(trial.batch.observation, jax.Array) or trial.batch.observation.ndim != 2:
            raise InputError(f"{trial.setup.task} has images, among which no distance tells similar states.")
        found = returns.visited(actor.act, trial.setup.task, plan.eval_episodes, plan.discount, plan.frame_stack)
        chosen = np.linspace(0, len(found.returns) - 1, min(trial.setup.states, len(found.returns))).astype(int)
        seen, acted, earned = (column[chosen] for column in found)
        every = trial.transitions.every()
        near = nearest(np.asarray(every.observation), seen, self.neighbours)
        apart = np.sqrt(np.mean((np.asarray(every.action)[near] - acted[:, None]) ** 2, axis=-1)).min(axis=1)
        claimed = np.asarray(probes.values_at(actor, seen, acted))
        pair: dict[str, Any] = {"step": trial.trained.step, **probes.of_pair(trial)}
        rows = []
        for part, states in enumerate(np.array_split(np.argsort(apart, kind="stable"), PARTS)):
            if len(states):
                told = {"to_data": apart[states], "claimed": claimed[states], "earned": earned[states]}
                numbers = {name: float(np.mean(values)) for name, values in told.items()}
                numbers["overestimation"] = numbers["claimed"] - numbers["earned"]
                rows.append({**pair, "part": part + 1, **numbers})
        return rows

    def draw(self, finding: Finding) -> Figure:
        """Distance to the flow over training; overestimation over training, and against the distance to the data."""
        figure, (distance, over, edge) = picture.panels(3)
        first = [row for row in finding.rows if row["part"] == 1]
        picture.curve(distance, first, "step", "distance")
        distance.set(xlabel="updates", ylabel="distance of actor and flow")
        names = ("actions near the data", "further away", "furthest")
        for part, name in enumerate(names):
            rows = [row for row in finding.rows if row["part"] == part + 1]
            picture.curve(over, rows, "step", "overestimation", name, part)
        over.axhline(0, color="#333333", lw=1, ls=":", zorder=0)
        over.set(xlabel="updates", ylabel="Q - return")
        over.legend(frameon=False, fontsize="small")
        for index, step in enumerate(finding.column("step")):
            picture.curve(
                edge, finding.of(step=step), "to_data", "overestimation", f"{plural(int(step), 'update')}", index
            )
        edge.axhline(0, color="#333333", lw=1, ls=":", zorder=0)
        edge.set(xlabel="distance to the data's actions", ylabel="Q - return")
        edge.legend(frameon=False, fontsize="small")
        return figure
