"""The pictures of the demo: success against updates beside what is reported, and against the weight of guidance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from guidedflow.results.canvas import COLORS
from guidedflow.results.confidence import Interval


@dataclass(frozen=True)
class Rate:
    """A success rate and its interval."""

    mean: float
    interval: Interval

    def __str__(self) -> str:
        return f"{self.mean:.2f} ({self.interval.low:.2f} to {self.interval.high:.2f})"


def draw(
    curves: Mapping[str, Mapping[int, Rate]], out: Path, title: str, reported: Mapping[str, Rate] | None = None
) -> Path:
    """Success against updates: a line for each method, with its intervals as bars.

    What is `reported` of a policy in the end, on other episodes than the points of its curve, stands behind the last.
    """
    figure, axes = _axes("updates", title)
    end = max((step for points in curves.values() for step in points), default=1)
    for number, (label, points) in enumerate(curves.items()):
        aside = (
            0.008 * end * (number - (len(curves) - 1) / 2)
        )  # so that bars of several methods do not cover each other
        color = COLORS[number % len(COLORS)]
        _line(axes, [step + aside for step in points], list(points.values()), label, color, 0.6 if reported else 1.0)
    if reported:
        colors = dict(zip(curves, COLORS * len(curves), strict=False))
        _reported(axes, 1.05 * end, {label: rate for label, rate in reported.items() if label in curves}, colors)
        axes.axvspan(1.02 * end, 1.15 * end, color="black", alpha=0.04, lw=0)
        axes.text(1.085 * end, 1.04, "reported", ha="center", va="bottom", fontsize=8)
        axes.set_xlim(right=1.15 * end)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    return _saved(figure, axes, out)


def draw_weights(curves: Mapping[str, Mapping[float, Rate]], chosen: float | None, out: Path, title: str) -> Path:
    """Success against the weight of guidance, weights evenly apart; a mark at the chosen one."""
    figure, axes = _axes("weight of guidance", title)
    weights = sorted({weight for points in curves.values() for weight in points})
    for color, (label, points) in zip(COLORS * len(curves), curves.items(), strict=False):
        _line(axes, [weights.index(weight) for weight in points], list(points.values()), label, color)
    if chosen is not None:
        axes.axvline(weights.index(chosen), color="black", lw=1, ls=":", label="chosen")
    axes.set_xticks(range(len(weights)), [f"{weight:g}" for weight in weights])
    return _saved(figure, axes, out)


def _axes(xlabel: str, title: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=xlabel, ylabel="success rate, 95 % interval", title=title, ylim=(-0.03, 1.03))
    return figure, axes


def _line(
    axes: Any, places: Sequence[float], rates: Sequence[Rate], label: str, color: str, alpha: float = 1.0
) -> None:
    """A line through the means, with the interval of each as a bar."""
    style = {"color": color, "marker": "o", "markersize": 4, "lw": 2, "elinewidth": 1, "capsize": 2, "alpha": alpha}
    means = [rate.mean for rate in rates]
    axes.errorbar(places, means, yerr=_bars(rates), label=label, **style)


def _bars(rates: Sequence[Rate]) -> np.ndarray:
    """How far each interval reaches below and above its mean."""
    reach = [(rate.mean - rate.interval.low, rate.interval.high - rate.mean) for rate in rates]
    return np.maximum(np.array(reach).reshape(-1, 2).T, 0)


def _reported(axes: Any, place: float, rates: Mapping[str, Rate], colors: Mapping[str, str]) -> None:
    """Diamonds with their intervals and numbers, which are moved apart where they would overlap."""
    for label, rate in rates.items():
        axes.errorbar(place, rate.mean, _bars([rate]), color=colors[label], marker="D", markersize=7, elinewidth=1)
    bottom, top = axes.get_ylim()
    order = sorted(rate.mean for rate in rates.values())
    for mean, height in zip(order, apart(order, 0.037 * (top - bottom)), strict=True):
        axes.annotate(
            f"{mean:.2f}",
            (place, height),
            (9, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            annotation_clip=False,
        )


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
