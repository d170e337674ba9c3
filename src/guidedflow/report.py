"""What runs did, as tables and pictures, from the raw rows that they wrote.

This module does not know how the rows came about.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from guidedflow import files
from guidedflow.errors import InputError
from guidedflow.run import Run

Row = Mapping[str, Any]
COLORS = ("#4477AA", "#EE6677", "#228833", "#AA3377", "#CCBB44", "#66CCEE", "#BBBBBB")


def print_summary(summary: Mapping[str, Any], console: Console) -> None:
    """An evaluation's summary, one line an entry."""
    for name, value in summary.items():
        if isinstance(value, list):
            value = "  ".join(_told(item) for item in value)
        console.print(f"{name:>15}  {_told(value)}", markup=False, highlight=False, soft_wrap=True)


def learning_curve(runs: Sequence[Path], out: Path) -> Path:
    """Draw success against updates, a line for each policy of each run; raises `InputError` without evaluations."""
    curves = {}
    for path in runs:
        rows = [row for row in files.read_rows(Run.open(path).evaluations) if row["source"] == "training"]
        policies = dict.fromkeys(row["policy"] for row in rows)
        for policy in policies:
            label = policy if len(runs) == 1 else f"{path.name} {policy}"
            curves[label] = curve([row for row in rows if row["policy"] == policy])
    if not curves:
        raise InputError(f"{runs[0]} was not evaluated while it trained; train with --eval-interval to get a curve.")
    return draw(curves, out, title=Run.open(runs[0]).config["task"])


def curve(rows: Iterable[Row]) -> dict[int, list[float]]:
    """Success of each training seed, by step."""
    episodes: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        episodes[row["step"]][row["seed"]].append(row["success"])
    return {step: [float(np.mean(found)) for found in seeds.values()] for step, seeds in sorted(episodes.items())}


def draw(curves: Mapping[str, Mapping[int, Sequence[float]]], out: Path, title: str) -> Path:
    """Lines of means over seeds, with the range of the seeds behind them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    for color, (label, points) in zip(COLORS * len(curves), curves.items(), strict=False):
        steps = list(points)
        seeds = [points[step] for step in steps]
        axes.fill_between(steps, [min(s) for s in seeds], [max(s) for s in seeds], color=color, alpha=0.15, lw=0)
        axes.plot(steps, [np.mean(s) for s in seeds], color=color, marker="o", markersize=4, lw=2, label=label)
    axes.set(xlabel="updates", ylabel="success rate", ylim=(-0.03, 1.03), title=title)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="best")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)
    return out


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], title: str) -> Table:
    """A table for the terminal; the first column is text, the others are numbers."""
    made = Table(title=title, title_justify="left")
    for i, header in enumerate(headers):
        made.add_column(header, justify="left" if i == 0 else "right")
    for row in rows:
        made.add_row(*row)
    return made


def markdown(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The same table in Markdown."""
    lines = [headers, ["---"] + ["---:"] * (len(headers) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _told(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
