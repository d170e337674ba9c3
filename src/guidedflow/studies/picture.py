"""Pictures of studies: panels side by side in the style of the reports, written whole or not at all.

This module does not know what is drawn.
"""

import io
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
