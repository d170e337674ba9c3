"""Quality of data: success of each method against the share of random actions, each tuned alike.

The data of each share are collected once, beside the runs, unless files are given. Every method has the same number of
values for one setting, which are compared on tuning seeds and episodes of selection, at the same updates. The winner is
trained anew on reported seeds. A clone has nothing to tune.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from guidedflow import environments
from guidedflow.data.obtain.collect import collect
from guidedflow.errors import InputError, did_you_mean
from guidedflow.recipes import in_words
from guidedflow.recipes.protocols import Protocol
from guidedflow.settings import from_plain, to_plain
from guidedflow.studies import picture
from guidedflow.studies.experiment import CarryOut, Cell, Measured, Setup, Trial
from guidedflow.studies.finding import Finding, check
from guidedflow.studies.picture import Figure
from guidedflow.sweeps.grid import Planned, Source
from guidedflow.sweeps.tuning import Halving, Study, check_seeds, tune

TUNED: Mapping[str, tuple[str, tuple[Any, ...]] | None] = {
    "gfp": ("alpha", ("auto", 0.3, 3.0)),
    "fql": ("alpha", ("auto", 10.0, 100.0)),
    "bc": None,
    "iql": ("alpha", (0.3, 3.0, 10.0)),
    "ifql": ("expectile", (0.7, 0.8, 0.9)),
    "qgf": ("weight", (0.1, 0.3, 1.0)),
}
"""The setting of each method that is tuned, and its values."""

FIXED: Mapping[str, Mapping[str, Any]] = {"gfp": {"temperature": "auto"}}
"""Settings that all values of a method share, where they are not the defaults."""


@dataclass(frozen=True)
class Quality:
    """Train every method on data of each quality, tuned alike: success against the share of random actions."""

    simulated: ClassVar[bool] = True

    shares: tuple[float, ...] = (0.1, 0.5, 0.9)
    """Probabilities that an action of the data is random."""
    noise: float | None = None
    """Deviation of the noise on the oracle's actions; by default as published."""
    data: tuple[str, ...] | None = None
    """Dataset files of the shares, in their order; by default they are collected."""
    collect_episodes: int = 100
    """Episodes to collect of each share."""
    methods: tuple[str, ...] = tuple(TUNED)
    """Methods that are compared."""
    tuning_seeds: int = 1
    """Training seeds of each value, from 100 on."""
    tuning_episodes: int = 20
    """Episodes of each value and seed."""

    def cells(self, setup: Setup, carry_out: CarryOut) -> list[Cell]:
        """A cell for each share and method, with the setting that was best on tuning seeds."""
        check(self, shares=(0, 1), noise=(0, 1), collect_episodes=(1, np.inf))
        check(self, tuning_seeds=(1, np.inf), tuning_episodes=(1, np.inf))
        for name in self.methods:
            if name not in TUNED:
                raise InputError(f"--methods has {name!r}{did_you_mean(name, TUNED)}; it takes {', '.join(TUNED)}.")
        halving = Halving(1, self.tuning_seeds, episodes=self.tuning_episodes)
        check_seeds(setup.plan, halving)
        keys = [(share, path, name) for share, path in self._files(setup).items() for name in self.methods]
        studies = [self._study(setup, share, path, name) for share, path, name in keys]
        tune([study for study in studies if study.protocol.stages], halving, carry_out)
        return [
            Cell(
                {"share": share, "method": name, "chosen": _words(study.chosen)},
                from_plain(type(study.base.algorithm), {**to_plain(study.base.algorithm), **study.chosen}),
                dataset=path,
                run=f"random={share:g}-{name}",
            )
            for (share, path, name), study in zip(keys, studies, strict=True)
        ]

    def _files(self, setup: Setup) -> dict[float, str]:
        """A dataset file for each share."""
        if self.data:
            if len(self.data) != len(self.shares):
                raise InputError(
                    f"--data takes a file for each share, but has {len(self.data)} for {len(self.shares)}."
                )
            return dict(zip(self.shares, self.data, strict=True))
        name, found = environments.parse(setup.task).dataset, {}
        for share in self.shares:
            path = setup.runs / f"data-{share:g}-{self.collect_episodes}" / f"{name}.npz"
            if not path.exists():
                collect(name, self.collect_episodes, out=path, random_actions=share, noise=self.noise, overwrite=True)
            found[share] = str(path)
        return found

    def _study(self, setup: Setup, share: float, path: str, name: str) -> Study:
        algorithm = setup.algorithm(name, **FIXED.get(name, {}))
        base = Planned(
            setup.task,
            algorithm,
            replace(setup.plan, eval_interval=0),
            setup.runs / "tuning" / f"random={share:g}-{name}",
            Source(path),
        )
        stage = TUNED[name]
        return Study(base, Protocol(() if stage is None else (stage,)))

    def measure(self, trial: Trial) -> list[Measured]:
        """Nothing beside success."""
        return [{}]

    def draw(self, finding: Finding) -> Figure:
        """Success, or return, against the share of random actions, a line a method."""
        figure, (panel,) = picture.panels(1)
        name = "success" if any(row["success"] is not None for row in finding.rows) else "return"
        for index, method in enumerate(finding.column("method")):
            picture.curve(panel, finding.of(method=method), "share", name, method.upper(), index)
        panel.set(xlabel="share of random actions in the data")
        panel.set_ylabel("success rate" if name == "success" else "mean return")
        panel.set_title(finding.notes["task"], fontsize="small")
        panel.legend(frameon=False, fontsize="small")
        return figure


def _words(chosen: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={in_words(value)}" for name, value in chosen.items()) or "-"
