"""What the temperature of GFP's weight does: share of data that are cloned, diversity of the flow, success.

The share of transitions with g above delta is that of Fig. 4 of arXiv 2512.03973.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from guidedflow.studies import picture, probes
from guidedflow.studies.experiment import CarryOut, Cell, Measured, Setup, Trial
from guidedflow.studies.finding import Finding, check
from guidedflow.studies.picture import Figure


@dataclass(frozen=True)
class Temperature:
    """Train GFP at each temperature: share of g above delta, diversity of the flow, success."""

    simulated: ClassVar[bool] = False

    temperatures: tuple[float, ...] = (1e-5, 1e-3, 1e-1)
    """Sharpness (eta) of the choice between data and actor; 0 clones everything."""
    alpha: float = 1.0
    """Weight of the actor's distance to the flow."""
    deltas: tuple[float, ...] = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
    """Thresholds of g."""

    def cells(self, setup: Setup, carry_out: CarryOut) -> list[Cell]:
        """A cell for each temperature."""
        check(self, temperatures=(0, np.inf), alpha=(0, np.inf), deltas=(0, 1))
        return [
            Cell({"temperature": eta}, setup.algorithm("gfp", alpha=self.alpha, temperature=eta))
            for eta in self.temperatures
        ]

    def measure(self, trial: Trial) -> list[Measured]:
        """Share of g above each delta, distance, diversity and Q."""
        g = probes.weights_of(trial)
        shares: Measured = {f"g>{delta:g}": float(np.mean(g > delta)) for delta in self.deltas}
        return [{**probes.of_gfp(trial), **shares}]

    def draw(self, finding: Finding) -> Figure:
        """Share above delta of each temperature; diversity and success against the temperature."""
        figure, (shares, diversity, success) = picture.panels(3)
        for number, row in enumerate(row for row in finding.rows if not row["failed"]):
            values = [row[f"g>{delta:g}"] for delta in self.deltas]
            label = f"temperature {row['temperature']:g}"
            shares.plot(
                self.deltas, values, marker="o", markersize=4, lw=2, color=picture.numbered(number), label=label
            )
        shares.set(xlabel="delta", ylabel="share of transitions with g > delta", ylim=(-0.03, 1.03))
        shares.legend(frameon=False, fontsize="small")
        for panel, name, label in (
            (diversity, "diversity", "standard deviation of the flow's actions"),
            (success, "success", "success rate"),
        ):
            picture.curve(panel, finding.rows, "temperature", name)
            picture.log_axis(panel, finding.column("temperature"))
            panel.set(xlabel="temperature", ylabel=label)
        return figure
