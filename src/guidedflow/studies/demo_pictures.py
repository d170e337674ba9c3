"""The pictures of the demo: success against updates beside what is reported, and against the weight of guidance."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from guidedflow.results.canvas import COLORS


def draw(
    curves: Mapping[str, Mapping[int, Sequence[float]]],
    out: Path,
    title: str,
    shown: str = "success",
    reported: Mapping[str, Sequence[float]] | None = None,
) -> Path:
    """A measure against updates: lines of means over seeds, with the range of the seeds behind them.

    What is `reported` of a policy in the end, on more episodes than the points of its curve, stands behind the last.
    """
    figure, axes = _axes("updates", title, shown)
    end = max((step for points in curves.values() for step in points), default=1)
    for color, (label, points) in zip(COLORS * len(curves), curves.items(), strict=False):
        _line(axes, list(points), points.values(), label, color, alpha=0.5 if reported else 1.0)
    if reported:
        colors = dict(zip(curves, COLORS * len(curves), strict=False))
        means = {label: float(np.mean(seeds)) for label, seeds in reported.items() if label in curves}
        _reported(axes, 1.05 * end, means, colors)
        axes.axvspan(1.02 * end, 1.12 * end, color="black", alpha=0.04, lw=0)
        axes.text(1.07 * end, 1.01, "reported", ha="center", va="bottom", fontsize=8)
        axes.set_xlim(right=1.12 * end)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    return _saved(figure, axes, out)


def draw_weights(
    curves: Mapping[str, Mapping[float, Sequence[float]]], chosen: float | None, out: Path, title: str
) -> Path:
    """Success against the weight of guidance, weights evenly apart; a mark at the chosen one."""
    figure, axes = _axes("weight of guidance", title)
    weights = sorted({weight for points in curves.values() for weight in points})
    for color, (label, points) in zip(COLORS * len(curves), curves.items(), strict=False):
        _line(axes, [weights.index(weight) for weight in points], points.values(), label, color)
    if chosen is not None:
        axes.axvline(weights.index(chosen), color="black", lw=1, ls=":", label="chosen")
    axes.set_xticks(range(len(weights)), [f"{weight:g}" for weight in weights])
    return _saved(figure, axes, out)


def _axes(xlabel: str, title: str, shown: str = "success") -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=xlabel, ylabel="success rate" if shown == "success" else shown, title=title)
    if shown == "success":
        axes.set_ylim(-0.03, 1.03)
    return figure, axes


def _line(
    axes: Any, places: Sequence[float], seeds: Iterable[Sequence[float]], label: str, color: str, alpha: float = 1.0
) -> None:
    seeds, style = list(seeds), {"color": color, "marker": "o", "markersize": 4, "lw": 2, "alpha": alpha}
    axes.fill_between(places, [min(s) for s in seeds], [max(s) for s in seeds], color=color, alpha=0.15, lw=0)
    axes.plot(places, [np.mean(s) for s in seeds], label=label, **style)


def _reported(axes: Any, place: float, means: Mapping[str, float], colors: Mapping[str, str]) -> None:
    """Diamonds with their numbers, which are moved apart where they would overlap."""
    for label, mean in means.items():
        axes.plot(place, mean, color=colors[label], marker="D", markersize=7, clip_on=False)
    bottom, top = axes.get_ylim()
    order = sorted(means.values())
    for mean, height in zip(order, apart(order, 0.037 * (top - bottom)), strict=True):
        axes.annotate(f"{mean:.2f}", (place, height), (7, 0), textcoords="offset points", va="center", fontsize=8)


def apart(places: Sequence[float], gap: float) -> list[float]:
    """Ascending places, moved as little as makes neighbours `gap` apart: those that touch stand around their mean."""
    groups: list[list[float]] = []
    for place in places:
        groups.append([place])
        while len(groups) > 1 and _ends(groups[-1], gap)[0] - _ends(groups[-2], gap)[1] < gap:
            last = groups.pop()
            groups[-1] += last
    return [_ends(group, gap)[0] + i * gap for group in groups for i in range(len(group))]


def _ends(group: Sequence[float], gap: float) -> tuple[float, float]:
    """The first and the last place of a group around its mean."""
    middle, half = float(np.mean(group)), gap * (len(group) - 1) / 2
    return middle - half, middle + half


def _saved(figure: Any, axes: Any, out: Path) -> Path:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="best")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)
    return out
