"""What each part of GFP is worth (arXiv 2512.03973): the same training without it, or with another form of it."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from guidedflow.algorithms.gfp import Reference, Target, Weight
from guidedflow.studies import picture, probes
from guidedflow.studies.experiment import CarryOut, Cell, Measured, Setup, Trial
from guidedflow.studies.finding import Finding, check
from guidedflow.studies.picture import Figure


@dataclass(frozen=True)
class Components:
    """Train GFP without each of its parts, and with other forms of them: success with intervals."""

    simulated: ClassVar[bool] = False

    alpha: float = 1.0
    """Weight of the actor's distance to the flow."""
    temperature: float = 1e-3
    """Sharpness (eta) of the choice between data and actor."""
    awr_temperature: float = 1.0
    """Temperature of the exponential weight (AWR), whose logarithm is the advantage divided by it."""

    def cells(self, setup: Setup, carry_out: CarryOut) -> list[Cell]:
        """A cell for each form; the flow alone is a policy of the full run."""
        check(self, **dict.fromkeys(("alpha", "temperature", "awr_temperature"), (0, np.inf)))
        full = {"alpha": self.alpha, "temperature": self.temperature}
        forms: dict[str, dict[str, Any]] = {
            "GFP": {},
            "g = 1": {"temperature": 0.0},
            "target: mean": {"target": Target.mean},
            "target: mean, as published": {"target": Target.published_mean},
            "reference: min": {"reference": Reference.min},
            "AWR": {"weight": Weight.advantage, "temperature": self.awr_temperature},
            "AWR, clipped": {"weight": Weight.clipped_advantage, "temperature": self.awr_temperature},
        }
        cells = [Cell({"form": form}, setup.algorithm("gfp", **{**full, **changes})) for form, changes in forms.items()]
        alone = Cell({"form": "without distillation"}, cells[0].algorithm, policy="flow", run=cells[0].folder)
        return [cells[0], alone, *cells[1:]]

    def measure(self, trial: Trial) -> list[Measured]:
        """Distance, diversity, Q and mean g of one run."""
        return [probes.of_gfp(trial)]

    def draw(self, finding: Finding) -> Figure:
        """A bar for each form, with its interval; the return where success is not reported."""
        figure, (panel,) = picture.panels(1)
        picture.bars(panel, finding.rows, "form")
        panel.set_title(finding.notes["task"], fontsize="small")
        return figure
