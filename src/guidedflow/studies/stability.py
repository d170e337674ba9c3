"""Where GFP's training holds: the map of alpha and temperature, with success and the signature of each failure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from guidedflow.studies import picture, probes
from guidedflow.studies.experiment import CarryOut, Cell, Measured, Setup, Trial
from guidedflow.studies.finding import Finding, check
from guidedflow.studies.picture import Figure


@dataclass(frozen=True)
class Stability:
    """Train GFP on a map of alpha and temperature: success and failure signature of each cell."""

    simulated: ClassVar[bool] = False

    alphas: tuple[float, ...] = (0.01, 1.0, 100.0)
    """Weights of the actor's distance to the flow."""
    temperatures: tuple[float, ...] = (1e-5, 1e-3, 1e-1)
    """Sharpness (eta) of the choice between data and actor."""

    def cells(self, setup: Setup, carry_out: CarryOut) -> list[Cell]:
        """A cell for each pair."""
        check(self, alphas=(0, np.inf), temperatures=(0, np.inf))
        return [
            Cell({"alpha": alpha, "temperature": eta}, setup.algorithm("gfp", alpha=alpha, temperature=eta))
            for alpha in self.alphas
            for eta in self.temperatures
        ]

    def measure(self, trial: Trial) -> list[Measured]:
        """Distance, diversity, Q and mean g of one run, and how far Q lies outside what rewards can add up to."""
        return [probes.of_gfp(trial)]

    def draw(self, finding: Finding) -> Figure:
        """Success of each pair as a color, or the return, with its signature."""
        figure, (panel,) = picture.panels(1)
        columns, lines = finding.column("temperature"), finding.column("alpha")
        name = "success" if any(row["success"] is not None for row in finding.rows) else "return"
        values = np.full((len(lines), len(columns)), np.nan)
        for row in finding.rows:
            place = lines.index(row["alpha"]), columns.index(row["temperature"])
            values[place] = np.nan if row[name] is None else row[name]
            panel.text(place[1], place[0], _cell(row, name), ha="center", va="center", fontsize=8)
        limits: dict[str, Any] = {"vmin": 0, "vmax": 1} if name == "success" else {}
        drawn = panel.imshow(
            np.ma.masked_invalid(values), cmap="YlGn", aspect="auto", origin="lower", alpha=0.8, **limits
        )
        if np.isfinite(values).any():
            figure.colorbar(drawn, ax=panel, label=name)
        panel.set_xticks(range(len(columns)), [f"{value:g}" for value in columns])
        panel.set_yticks(range(len(lines)), [f"{value:g}" for value in lines])
        panel.grid(visible=False)
        panel.set(xlabel="temperature", ylabel="alpha")
        panel.set_title(finding.notes["task"], fontsize="small")
        return figure


def _cell(row: Mapping[str, Any], name: str) -> str:
    told = "" if row[name] is None else f"{row[name]:.2f}"
    return "\n".join(part for part in (told, row["signature"]) if part)
