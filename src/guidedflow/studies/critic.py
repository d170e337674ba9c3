"""How good must the critic be? Critics of graded accuracy, against what QGF and GFP gain over the clone.

    full      trained on all data for all updates
    early     stopped after a part of the updates
    small     narrower networks
    few       trained on a part of the episodes
    noise     the full one, with a fixed smooth function of state and action added to its values when acting

QGF steers the flow of the full run by each critic, so only the critic differs. GFP trains with its critic, so a grade
is a run of its own, with the grade's updates, networks and data; noise at test does not concern its actor.
Accuracy is the rank correlation with the full critic over the data's states and actions, which is not the truth either.
The clone is the unguided flow of the full run.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from guidedflow.data.cleaning import split
from guidedflow.data.convert import convert
from guidedflow.data.dataset import Dataset
from guidedflow.errors import InputError
from guidedflow.flows.guidance import DenoisedGradient
from guidedflow.policies.policy import Policy
from guidedflow.studies import picture, probes
from guidedflow.studies.disturbed import disturbed
from guidedflow.studies.experiment import CarryOut, Cell, Measured, Setup, Trial, with_seeds, without_seeds
from guidedflow.studies.finding import Finding, check
from guidedflow.studies.picture import Figure
from guidedflow.sweeps.grid import Source

FULL = "full"


@dataclass(frozen=True)
class Critic:
    """Train QGF and GFP with worse and worse critics: their accuracy, and what is gained over the clone."""

    simulated: ClassVar[bool] = True

    early: tuple[float, ...] = (0.1, 0.3)
    """Shares of the updates after which critics are stopped."""
    small: tuple[int, ...] = (16,)
    """Widths of narrow networks."""
    few: tuple[float, ...] = (0.1,)
    """Shares of the episodes."""
    noise: tuple[float, ...] = (0.3, 1.0, 3.0)
    """Deviations of the noise on Q at test, in deviations of Q over the data."""
    weight: float = 0.3
    """Weight of guidance, with the gradient normalised, so that it means the same for every critic."""
    alpha: float = 1.0
    """Weight of the distance of GFP's actor to its flow."""
    temperature: float = 1e-3
    """Sharpness (eta) of GFP's choice between data and actor."""

    def cells(self, setup: Setup, carry_out: CarryOut) -> list[Cell]:
        """Two cells for each grade, of QGF and of GFP; noise has QGF's alone, and trains nothing."""
        check(self, early=(0, 1), few=(0, 1), small=(1, np.inf), **dict.fromkeys(("noise", "weight"), (0, np.inf)))
        check(self, alpha=(0, np.inf), temperature=(0, np.inf))
        grades: dict[str, tuple[dict[str, Any], dict[str, Any], str | None]] = {FULL: ({}, {}, None)}
        for share in self.early:
            steps = max(round(share * setup.plan.steps), 1)
            grades[f"early {share:g}"] = (
                {},
                {"steps": steps, "log_interval": min(setup.plan.log_interval, steps)},
                None,
            )
        for width in self.small:
            grades[f"small {width}"] = ({"hidden": (width,) * len(setup.hidden)}, {}, None)
        for share in self.few:
            grades[f"few {share:g}"] = ({}, {}, _part(setup, share))
        methods: dict[str, Any] = {
            "qgf": setup.algorithm("qgf"),
            "gfp": setup.algorithm("gfp", alpha=self.alpha, temperature=self.temperature),
        }
        cells = [
            Cell(
                {"critic": grade, "noise": 0.0, "method": name},
                replace(algorithm, **changes),
                plan,
                data,
                run=f"{name}-{grade}",
            )
            for name, algorithm in methods.items()
            for grade, (changes, plan, data) in grades.items()
        ]
        full = f"qgf-{FULL}"
        noisy = [
            Cell({"critic": f"noise {size:g}", "noise": size, "method": "qgf"}, methods["qgf"], run=full)
            for size in self.noise
        ]
        return [*cells, *noisy]

    def measure(self, trial: Trial) -> list[Measured]:
        """Accuracy of the critic, success with it, and the gain over the clone."""
        full = trial.sibling(f"qgf-{FULL}")
        clone = without_seeds(full.policies()["flow"])
        graded = trial.policy("flow")
        assert graded.critic is not None
        noise = trial.cell.labels["noise"]
        if noise:
            graded = disturbed(graded, trial.batch, noise)
        claimed, expected = (probes.values(policy, trial.batch, trial.batch.action) for policy in (graded, clone))
        if trial.cell.labels["method"] == "gfp":
            acting: Policy = trial.policy("actor")
        else:
            sampler = replace(clone.sampler, guidance=DenoisedGradient(self.weight, True))
            assert graded.critic is not None
            acting = clone.with_critic(graded.critic, graded.aggregate).with_sampler(sampler)
        reached, base = trial.success(with_seeds(acting)), trial.success(with_seeds(clone))
        gain = None if reached is None or base is None else reached - base
        return [{"accuracy": _rank_correlation(claimed, expected), "reached": reached, "clone": base, "gain": gain}]

    def draw(self, finding: Finding) -> Figure:
        """The gain over the clone against the accuracy of the critic."""
        figure, (panel,) = picture.panels(1)
        for index, method in enumerate(finding.column("method")):
            rows = [row for row in finding.of(method=method) if None not in (row["gain"], row["accuracy"])]
            places, gains = [row["accuracy"] for row in rows], [row["gain"] for row in rows]
            panel.scatter(places, gains, s=40, color=picture.numbered(index), label=method, zorder=3)
            for row in rows:
                panel.annotate(
                    row["critic"], (row["accuracy"], row["gain"]), fontsize=7, xytext=(4, 4), textcoords="offset points"
                )
        panel.axhline(0, color="#333333", lw=1, ls=":", zorder=0)
        panel.set(xlabel="rank correlation with the full critic", ylabel="success gained over the clone")
        panel.legend(frameon=False, loc="best")
        return figure


def _part(setup: Setup, share: float) -> str:
    """A file with so many of the episodes, written once beside the runs."""
    path = Path(setup.runs) / "data" / f"few-{share:g}.npz"
    if not path.exists():
        recorded = Source(setup.dataset).open(setup.task)
        if not isinstance(recorded, Dataset):
            raise InputError(f"the data of {setup.task!r} may exceed memory; study critic needs them in memory.")
        convert(split(recorded, share, 0)[1], path)
    return str(path)


def _rank_correlation(one: Any, other: Any) -> float | None:
    """Spearman's; None where one of the two is constant."""
    ranks = [np.argsort(np.argsort(np.asarray(values))).astype(float) for values in (one, other)]
    if any(np.ptp(np.asarray(values)) == 0 for values in (one, other)):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
