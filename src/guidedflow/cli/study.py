"""`guidedflow study`: an analysis of the QGF paper, on a toy or on a run, or an experiment that trains runs.

This module does not know how arguments are read, nor what a study computes.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar, Union

import tyro
from rich.console import Console

from guidedflow import studies
from guidedflow.cli.sweep import Local
from guidedflow.data.formats.columns import Columns
from guidedflow.settings import to_plain
from guidedflow.studies import EXPERIMENTS, OF_RUNS, TOYS
from guidedflow.studies.experiment import CarryOut, Setup
from guidedflow.studies.subject import Subject
from guidedflow.sweeps import local
from guidedflow.sweeps.board import Board
from guidedflow.sweeps.driver import Ended, sweep
from guidedflow.sweeps.grid import Planned
from guidedflow.sweeps.left import Judging

console = Console(stderr=True)

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class OfRun(Generic[Settings]):
    """A study of a run that has a flow and a critic."""

    study: Settings
    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""
    dataset: Path | None = None
    """Dataset file, if it is not in the suite's own folder."""
    columns: tuple[str, ...] = ()
    """Which column of your own file is what, as for train, if their names are not kept beside it."""
    policy: str | None = None
    """Policy; by default its flow."""
    step: int | None = None
    """Checkpoint; by default the newest."""


@dataclass(frozen=True)
class OfRuns(Generic[Settings]):
    """A study that trains runs of its own: what is done is not repeated, so the same command goes on."""

    study: Settings
    setup: Setup
    processes: int | None = None
    """Processes that train; by default one a core, or one an accelerator."""


if TYPE_CHECKING:
    AnyStudy = Any
else:  # one subcommand a row of the tables of studies
    AnyStudy = Union[  # noqa: UP007
        tuple(Annotated[cls, tyro.conf.subcommand(name, description=cls.__doc__)] for name, cls in TOYS.items())
        + tuple(
            Annotated[OfRun[cls], tyro.conf.subcommand(name, description=cls.__doc__)] for name, cls in OF_RUNS.items()
        )
        + tuple(
            Annotated[OfRuns[cls], tyro.conf.subcommand(name, description=cls.__doc__)]
            for name, cls in EXPERIMENTS.items()
        )
    ]


@dataclass(frozen=True)
class Study:
    """Repeat an analysis of the QGF paper on a toy or a run, or train an experiment: a table and a picture."""

    study: AnyStudy
    """What is studied, and how."""
    out: Path | None = None
    """The picture, a PNG; by default study-NAME.png in the folder of the run or runs, or in the working folder."""
    json: bool = False
    """Print one JSON object on standard output."""

    def run(self) -> None:
        study, subject = self.study, None
        if isinstance(study, OfRun):
            columns = Columns.parse(study.columns) if study.columns else None
            subject = Subject.open(study.path, study.dataset, study.policy, study.step, columns)
            study = study.study
        if isinstance(study, OfRuns):
            asked, study = study, study.study
            setup = replace(asked.setup, runs=asked.setup.runs / f"{studies.name_of(study)}-{asked.setup.task}")
            finding, picture = studies.conduct_experiment(
                study, setup, _carried_out(setup, asked.processes), self.out, setup.plan.workers
            )
        else:
            finding, picture = studies.conduct(study, subject, self.out)
        if self.json:
            settings = to_plain(study)
            told = {"study": studies.name_of(study), "settings": settings, **finding.plain(), "picture": str(picture)}
            print(json.dumps(told, allow_nan=False))
        else:
            Console().print(finding.table())
            console.print(f"picture: {picture}", markup=False, highlight=False, soft_wrap=True)


def _carried_out(setup: Setup, processes: int | None) -> CarryOut:
    """Carries runs out on this machine, as a sweep does."""
    backend = Local(local.slots(processes), setup.runs / "logs")

    def carry_out(runs: Sequence[Planned], judging: Judging) -> Ended:
        with Board(console) as board:
            return sweep(runs, judging, backend, board.begun, board.report, board.watch)

    return carry_out
