"""Do weights transfer? The best weight of guidance on the toy, when all values are multiplied by a number.

The plain gradient is proportional to the values, so its best weight is inversely proportional to them; of the
normalised gradient only the direction counts. This module does not know of networks, datasets or runs.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from guidedflow.flows.guidance import DenoisedGradient
from guidedflow.flows.sampling import Sampler
from guidedflow.studies import picture
from guidedflow.studies.finding import Finding, check
from guidedflow.studies.picture import Figure
from guidedflow.studies.toy import CRITICS, best_share, noises, sample, true_value

PER_DECADE = 6
WEIGHTS = tuple(float(f"{10 ** (k / PER_DECADE):.6g}") for k in range(-3 * PER_DECADE, 2 * PER_DECADE + 1))
"""Tried of each gradient at each scale: 0.001 to 100."""
COLORS = {"plain": picture.color("noisy"), "normalised": picture.color("denoised")}


@dataclass(frozen=True)
class Scale:
    """Whether the best weight of QGF survives another scale of rewards, with and without normalised gradients."""

    scales: tuple[float, ...] = (1.0, 10.0)
    """What the toy's values are multiplied by."""
    critic: Literal["fitted", "exact"] = "fitted"
    """As in the study of the toy."""
    samples: int = 2000
    """Samples at each weight."""
    flow_steps: int = 10
    """Euler steps from noise to action."""
    seed: int = 0
    """Chooses the noise that samples start from."""

    def measure(self) -> Finding:
        """The weight of largest true value for each gradient and scale, and how far it moves between the scales."""
        check(self, scales=(1e-6, 1e6), samples=(1, np.inf), flow_steps=(1, np.inf), seed=(0, 2**31 - 1))
        noise = noises(self.samples, self.seed)
        rows: list[dict[str, Any]] = []
        for gradient in ("plain", "normalised"):
            for scale in self.scales:
                value = CRITICS[self.critic](scale)
                samplers = [
                    Sampler(self.flow_steps, DenoisedGradient(weight, gradient == "normalised")) for weight in WEIGHTS
                ]
                actions = [np.asarray(sample(sampler, value, noise)) for sampler in samplers]
                curve = [true_value(each) for each in actions]
                best = int(np.argmax(curve))  # the smallest of equally good ones
                found = {"best_weight": WEIGHTS[best], "value": curve[best], "best_mode": best_share(actions[best])}
                rows.append({"gradient": gradient, "scale": scale, **found, "weights": list(WEIGHTS), "values": curve})
        moved = {}
        for gradient in ("plain", "normalised"):
            chosen = [row["best_weight"] for row in rows if row["gradient"] == gradient]
            moved[gradient] = max(chosen) / min(chosen)
        title = f"best weight of QGF on the toy, values scaled, {self.critic} critic"
        return Finding(title, rows, {"critic": self.critic, "moved_by_factor": moved})

    def draw(self, finding: Finding) -> Figure:
        """True value against the weight, a line for each gradient and scale, its best weight marked."""
        figure, axes = picture.panels(2)
        styles = ("-", "--", ":", "-.")
        for panel, gradient in zip(axes, ("plain", "normalised"), strict=True):
            for i, row in enumerate(finding.of(gradient=gradient)):
                style: dict[str, Any] = {"color": COLORS[gradient], "lw": 2, "ls": styles[i % len(styles)]}
                panel.plot(row["weights"], row["values"], label=f"values times {row['scale']:g}", **style)
                panel.plot(row["best_weight"], row["value"], "o", color=COLORS[gradient], markersize=8)
            factor = finding.notes["moved_by_factor"][gradient]
            panel.set(xscale="log", xlabel="weight of guidance", ylabel="mean true value")
            panel.set_title(f"{gradient} gradient: the best weight moves by {factor:.3g}")
            panel.legend(frameon=False, loc="best")
        return figure
