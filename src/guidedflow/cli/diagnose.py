"""`guidedflow diagnose`: what the figures of a run say is wrong with it, and what to change.

This module does not know what the rules are.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from guidedflow.errors import InputError
from guidedflow.results import canvas, intervals
from guidedflow.results.diagnosis import diagnose
from guidedflow.runs import deaths
from guidedflow.runs.run import Run

console = Console(stderr=True)


@dataclass(frozen=True)
class Diagnose:
    """Tell what the figures of a run say is wrong with it, and which setting to move."""

    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's folder."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """The picture of the figures over time, a .png, .svg or .pdf file; by default diagnosis.png in the run's folder."""
    json: bool = False
    """Print one JSON object on standard output."""

    def run(self) -> None:
        run = Run.open(Run.locate(self.path.expanduser())[0])
        out = canvas.check_format(self.out or run.path / "diagnosis.png")
        rows = intervals.read(run.metrics)
        if not rows:
            raise InputError(f"{run.path} has no rows of metrics yet; diagnose it after its first log interval.")
        dead = deaths.read(run.path)
        found = diagnose(rows, rows[-1].seeds)
        if self.json:
            print(json.dumps(found.plain() | {"dead": [each.plain() for each in dead]}))
        else:
            for each in dead:
                print(f"seed {each.seed} is dead: {each.sentence}.\n")
            print(found.text())
        picture = found.picture(str(run.path.name))
        if picture is None:
            console.print("no picture: the run has none of the figures", markup=False, highlight=False, soft_wrap=True)
        else:
            canvas.save(picture.draw(), out)
            console.print(f"picture: {out}. {picture.caption}", markup=False, highlight=False, soft_wrap=True)
