"""Sparse rewards: what happens to GFP's weight g, and whether n-step returns or chunks of actions help.

    as recorded   the rewards of the data
    every k-th    only that of every k-th step of an episode; the others are 0
    at success    1 where the task is solved, and 0 elsewhere

The changed data are written beside the runs, once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from guidedflow.data.convert import convert
from guidedflow.data.dataset import Dataset
from guidedflow.errors import InputError
from guidedflow.studies import picture, probes
from guidedflow.studies.experiment import CarryOut, Cell, Measured, Setup, Trial
from guidedflow.studies.finding import Finding, check
from guidedflow.studies.picture import Figure
from guidedflow.sweeps.grid import Source


@dataclass(frozen=True)
class Sparse:
    """Train GFP on fewer rewards: success and g, with single steps, n-step returns and chunks."""

    simulated: ClassVar[bool] = False

    every: tuple[int, ...] = (10,)
    """Steps of which one keeps its reward."""
    span: int = 5
    """Steps of a return, and actions of a chunk."""
    alpha: float = 1.0
    """Weight of the actor's distance to the flow."""
    temperature: float = 1e-3
    """Sharpness (eta) of the choice between data and actor."""

    def cells(self, setup: Setup, carry_out: CarryOut) -> list[Cell]:
        """A cell for each kind of rewards and each help."""
        check(self, every=(2, np.inf), span=(2, np.inf), alpha=(0, np.inf), temperature=(0, np.inf))
        algorithm = setup.algorithm("gfp", alpha=self.alpha, temperature=self.temperature)
        helps: dict[str, Mapping[str, Any]] = {
            "one step": {},
            f"{self.span}-step returns": {"horizon": self.span},
            f"chunks of {self.span}": {"horizon": self.span, "chunk": True},
        }
        return [
            Cell({"rewards": rewards, "learns": learns}, algorithm, plan, dataset)
            for rewards, dataset in self._data(setup).items()
            for learns, plan in helps.items()
        ]

    def _data(self, setup: Setup) -> dict[str, str | None]:
        """The files of the data by their kind of rewards; None for those of the task."""
        recorded = Source(setup.dataset).open(setup.task)
        if not isinstance(recorded, Dataset) or recorded.goal_conditioned:
            raise InputError(f"study sparse changes rewards in memory, which {setup.task!r} does not have or fit into.")
        changed = {f"every {k}th": thinned(recorded, k) for k in self.every}
        if (recorded.masks[~recorded.last] == 0).any():
            changed["at success"] = (recorded.masks == 0).astype(np.float32)
        found: dict[str, str | None] = {"as recorded": None}
        for kind, rewards in changed.items():
            path = Path(setup.runs) / "data" / f"{kind.replace(' ', '-')}.npz"
            if not path.exists():
                convert(recorded.with_rewards(rewards), path)
            found[kind] = str(path)
        return found

    def measure(self, trial: Trial) -> list[Measured]:
        """Distance, diversity, Q and g of one run, and how far g is from undecided."""
        g = probes.weights_of(trial)
        return [{**probes.of_gfp(trial), "undecided": float(np.mean((g > 0.1) & (g < 0.9)))}]

    def draw(self, finding: Finding) -> Figure:
        """Success and mean g of each kind of rewards, a bar for each help."""
        figure, panels = picture.panels(2)
        kinds, helps = finding.column("rewards"), finding.column("learns")
        shown = "success" if any(row["success"] is not None for row in finding.rows) else "return"
        for panel, name in zip(panels, (shown, "g"), strict=True):
            for index, learns in enumerate(helps):
                rows = finding.of(learns=learns)
                places = [kinds.index(row["rewards"]) + 0.25 * (index - 1) for row in rows]
                heights = [0.0 if row[name] is None else row[name] for row in rows]
                panel.bar(places, heights, 0.23, color=picture.numbered(index), label=learns)
            panel.set_xticks(range(len(kinds)), kinds)
            panel.set_ylabel({"success": "success rate", "return": "mean return", "g": "mean weight g"}[name])
        panels[1].legend(frameon=False, fontsize="small")
        return figure


def thinned(dataset: Dataset, every: int) -> Float[np.ndarray, " rows"]:
    """The rewards of every `every`-th step of each episode, 0 elsewhere."""
    ends = np.flatnonzero(dataset.last)
    begins = np.concatenate([[0], ends[:-1] + 1])
    steps = np.arange(len(dataset.last)) - np.repeat(begins, ends - begins + 1)
    return np.where(steps % every == every - 1, dataset.rewards, 0).astype(np.float32)
