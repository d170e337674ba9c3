"""`guidedflow report`: what many runs did, on one page and as tables.

This module does not know how anything is computed or drawn.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from guidedflow import files, recipes
from guidedflow.errors import InputError
from guidedflow.recipes import BestKnown
from guidedflow.results import html, report, tables
from guidedflow.results.sections import Best, Known, Published
from guidedflow.runs.gather import gather

console = Console(stderr=True)

PAGE = Path("report.html")
"""What is written if nothing else is asked for."""


@dataclass(frozen=True)
class Report:
    """Compare runs beside published scores: one self-contained page, or tables on standard output."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUNS")]
    """Runs, or folders that hold runs at any depth."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """The page, an HTML file; by default report.html, unless a table is printed."""
    markdown: bool = False
    """Print the tables of scores in Markdown on standard output."""
    csv: bool = False
    """Print a CSV row for each method and task on standard output."""
    latex: bool = False
    """Print the tables of scores for LaTeX (package booktabs) on standard output."""
    json: bool = False
    """Print one JSON object on standard output."""

    def run(self) -> None:
        formats = [name for name in ("markdown", "csv", "latex", "json") if getattr(self, name)]
        if not self.runs:
            raise InputError("missing argument RUNS; see 'guidedflow report --help'.")
        if len(formats) > 1:
            raise InputError(f"Only one format is printed at a time, but got --{' and --'.join(formats)}.")
        out = self.out or (None if formats else PAGE)
        if out is not None and out.suffix.lower() not in (".html", ".htm"):
            raise InputError(
                f"The page is an HTML file, but got -o {out}; tables are printed by --markdown and others."
            )
        found = gather(self.runs)
        tasks = {row["task"] for record in found.records for row in record.episodes}
        made = report.make(found.records, known(tasks), found.left_out)
        for sentence in made.left_out:
            console.print(f"left out: {sentence}", markup=False, highlight=False, soft_wrap=True)
        if self.markdown:
            print("\n".join(sheet.markdown() for sheet in made.sheets), end="")
        if self.csv:
            print(tables.as_csv(made.rows()), end="")
        if self.latex:
            print("\n".join(sheet.latex() for sheet in made.sheets), end="")
        if self.json:
            print(json.dumps(made.plain(), allow_nan=False))
        if out is not None:
            with files.folders_above(out):
                files.replace(out, html.page(made).encode())
            console.print(f"report: {out}", markup=False, highlight=False, soft_wrap=True)


def known(tasks: Iterable[str]) -> Known:
    """Published scores of these tasks, of the GFP paper's columns and of our policies, and the best known."""
    listed = [task for name in sorted(tasks) if (task := recipes.find(name)) is not None]
    shown = {
        "IQL": "iql",
        "ReBRAC": "rebrac",
        "FQL": "fql",
        "GFP": "gfp",
        "GFP flow": "gfp-vabc",
        "BC flow": "fql-bc-flow",
    }
    published = {
        task.name: [
            Published(called, score.mean, score.std, score.seeds, score.source)
            for called, method in shown.items()
            if (score := recipes.score(method, task.name)) is not None
        ]
        for task in listed
    }
    best = []
    for environment in dict.fromkeys(task.environment for task in listed):
        found = {each.setting: each for each in recipes.best_known(environment)}
        if found:
            names = frozenset(task.name for task in recipes.tasks() if task.environment == environment)
            scores = [score.mean for name in sorted(names) if (score := recipes.score("gfp", name)) is not None]
            means = {"GFP": sum(scores) / len(scores)} if len(scores) == len(names) else {}
            best.append(Best(environment, names, _cited(found["standard"]), _cited(found["any"]), means))
    return Known(published, {task.name: task.suite for task in listed}, best)


def _cited(best: BestKnown) -> tuple[float, str]:
    return best.mean, f"{best.method}; {best.source}"
