"""Success, distance of the actor to the flow, and Q, against the weight of distillation alpha (arXiv 2512.03973)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from guidedflow.studies import picture, probes
from guidedflow.studies.experiment import CarryOut, Cell, Measured, Setup, Trial
from guidedflow.studies.finding import Finding, check
from guidedflow.studies.picture import Figure


@dataclass(frozen=True)
class Alpha:
    """Train GFP at each alpha: success, distance of the actor to the flow, and Q."""

    simulated: ClassVar[bool] = False

    alphas: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0, 100.0)
    """Weights of the actor's distance to the flow."""
    temperature: float = 1e-3
    """Sharpness (eta) of the choice between data and actor."""

    def cells(self, setup: Setup, carry_out: CarryOut) -> list[Cell]:
        """A cell for each alpha."""
        check(self, alphas=(0, np.inf), temperature=(0, np.inf))
        return [
            Cell({"alpha": alpha}, setup.algorithm("gfp", alpha=alpha, temperature=self.temperature))
            for alpha in self.alphas
        ]

    def measure(self, trial: Trial) -> list[Measured]:
        """Distance, diversity and Q of one run, and the mean weight g."""
        return [probes.of_gfp(trial)]

    def draw(self, finding: Finding) -> Figure:
        """Success, distance and Q against alpha."""
        figure, panels = picture.panels(3)
        names = (("success", "success rate"), ("distance", "distance of actor and flow"), ("q", "Q of the actor"))
        for panel, (name, label) in zip(panels, names, strict=True):
            picture.curve(panel, finding.rows, "alpha", name)
            picture.log_axis(panel, finding.column("alpha"))
            panel.set(xlabel="alpha", ylabel=label)
        return figure
