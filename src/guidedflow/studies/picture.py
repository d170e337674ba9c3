"""Pictures of studies: panels side by side in the style of the reports, written whole or not at all.

This module does not know what is drawn.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guidedflow import files
from guidedflow.errors import InputError
from guidedflow.results.canvas import COLORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
    from matplotlib.figure import Figure as Figure
else:  # imported where a picture is made, so that no other command waits for it
    Axes = Figure = Any

NAMES = {
    "none": "flow (BC)",
    "noisy": "noisy (QFQL)",
    "denoised": "denoised (QGF)",
    "jacobian": "Jacobian",
    "rollout": "rollout (BPTT)",
    "chain": "chain",
    "distilled": "distilled",
    "distilled_jacobian": "distilled, its Jacobian",
    "smoothed": "Jacobian, smoothed",
    "orthogonalised": "Jacobian, orthogonalised",
    "regularised": "Jacobian, regularised",
}
"""What the methods are called in a legend."""

_ORDER = ("denoised", "noisy", "jacobian", "rollout", "best of N", "denoised + best of N", "none")


def color(method: str) -> str:
    """The color of a method, the same in every picture."""
    return COLORS[_ORDER.index(method)] if method in _ORDER else "#333333"


def panels(count: int) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels in a row."""
    from matplotlib import figure as drawing

    figure = drawing.Figure(figsize=(2 + 4.2 * count, 4.2), dpi=150, layout="constrained")
    axes = list(figure.subplots(1, count, squeeze=False)[0])
    for panel in axes:
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    return figure, axes


def line(panel: Axes, x: list[float], y: list[float | None], method: str, **style: Any) -> None:
    """A method's line; what is None is a gap."""
    numbers = [float("nan") if value is None else value for value in y]
    shown: dict[str, Any] = {"color": color(method), "marker": "o", "markersize": 4, "lw": 2}
    panel.plot(x, numbers, **{**shown, "label": NAMES.get(method, method), **style})


def weights(panel: Axes, smallest: float) -> None:
    """An axis of weights: logarithmic, with room for 0 below the smallest positive one."""
    panel.set_xscale("symlog", linthresh=smallest, linscale=0.5)
    panel.set_xlim(left=0)
    panel.set_xlabel("weight of guidance")


def check(path: Path) -> None:
    """Raises `InputError` for a place where no picture can be put, before anything is computed."""
    if path.suffix.lower() != ".png":
        raise InputError(f"A study's picture is a PNG, but --out is {path}; let its name end in .png.")
    if not path.parent.is_dir():
        raise InputError(f"The picture is to be {path}, but there is no folder {path.parent}; make it first.")


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    files.replace(path, buffer.getvalue())


def numbered(index: int) -> str:
    """The color of the line with this number."""
    return COLORS[index % len(COLORS)]


def curve(
    panel: Axes, rows: Sequence[Mapping[str, Any]], x: str, y: str, label: str | None = None, index: int = 0
) -> None:
    """One column of rows against another, with the interval of success as a band; what is None is a gap."""
    numbers = [float("nan") if row[y] is None else row[y] for row in rows]
    places, color = [row[x] for row in rows], numbered(index)
    panel.plot(places, numbers, marker="o", markersize=4, lw=2, color=color, label=label)
    if y == "success" and any(row["low"] is not None for row in rows):
        low, high = ([float("nan") if row[name] is None else row[name] for row in rows] for name in ("low", "high"))
        panel.fill_between(places, low, high, color=color, alpha=0.15, lw=0)
        panel.set_ylim(-0.03, 1.03)


def log_axis(panel: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis of x, with room for 0 below the smallest positive value."""
    positive = [value for value in values if value > 0]
    if len(positive) < len(values):
        panel.set_xscale("symlog", linthresh=min(positive, default=1.0), linscale=0.5)
    else:
        panel.set_xscale("log")


def bars(panel: Axes, rows: Sequence[Mapping[str, Any]], label: str) -> None:
    """A bar for each row, its success with an interval, or its return where no row has a success."""
    name = "success" if any(row["success"] is not None for row in rows) else "return"
    for place, row in enumerate(reversed(rows)):
        value = row[name]
        if value is None:
            panel.text(0.02, place, "diverged" if row["failed"] else "not rolled out", va="center", fontsize=8)
            continue
        panel.barh(place, value, color=numbered(0), alpha=0.6)
        if row["low"] is not None:
            panel.plot([row["low"], row["high"]], [place, place], color="#222222", lw=1.5, zorder=3)
    panel.set_yticks(range(len(rows)), [str(row[label]) for row in reversed(rows)])
    panel.grid(visible=False, axis="y")
    panel.set_xlabel("success rate" if name == "success" else "mean return")
    if name == "success":
        panel.set_xlim(0, 1.03)
