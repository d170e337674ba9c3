"""Pictures of what runs did, from the raw rows that they wrote.

    learning_curves    a measure against updates        weight_curves   against the weight of guidance
    performance        share of runs above a score      tuning_budget   against the episodes spent on tuning
    heat_map           a grid of two settings               methods         side by side, with intervals

Each returns a figure, which `canvas.save` writes as PNG, SVG or PDF. Bands are 95 % intervals over seeds and episodes;
fewer than three seeds have no band, and each is a thin line or a dot. This module does not know how rows came about.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from guidedflow.errors import InputError
from guidedflow.results import aggregates, canvas, statistics
from guidedflow.results.aggregates import Scores
from guidedflow.results.budget import budget_curve
from guidedflow.results.confidence import FEWEST_SEEDS
from guidedflow.results.counts import plural
from guidedflow.results.rows import Episode, Measure, measure

Rows = Mapping[str, Sequence[Episode]]
"""Name of a method -> its rows, of all training seeds."""

SCALE: Mapping[Measure, float] = {"success": 100.0, "score": 1.0, "return": 1.0}
"""What a measure is multiplied by where it is drawn: success in points, from 0 to 100."""

CALLED: Mapping[Measure, str] = {"success": "success (%)", "score": "normalised score", "return": "return"}


def learning_curves(methods: Rows, title: str = "", smoothing: int = 1) -> Any:
    """A measure against updates, from the evaluations that training made; a line for each method.

    `smoothing` is the number of consecutive evaluations that a point is the mean of: itself and those before it.
    Raises `InputError` without such evaluations.
    """
    if smoothing < 1:
        raise InputError(f"smoothing must be at least 1 evaluation, but is {smoothing}.")
    trained = {name: [row for row in rows if row["source"] == "training"] for name, rows in methods.items()}
    trained = {name: rows for name, rows in trained.items() if rows}
    if not trained:
        raise InputError(
            "None of these runs was evaluated while it trained; train with --eval-interval to get a curve."
        )
    shown = measure(row for rows in trained.values() for row in rows)
    told = "updates" if smoothing == 1 else f"updates (each point: mean of {smoothing} consecutive evaluations)"
    figure, axes = _measured(told, title, shown)
    for index, (name, rows) in enumerate(trained.items()):
        steps: dict[float, list[Episode]] = {}
        for row in rows:
            steps.setdefault(row["step"] or 0, []).append(row)
        order = sorted(steps)
        windows = [order[max(0, i + 1 - smoothing) : i + 1] for i in range(len(order))]
        cells = [_cell([row for step in window for row in steps[step]], shown) for window in windows]
        _band(axes, order, cells, shown, name, index)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    canvas.legend(axes)
    return figure


def weight_curves(methods: Rows, title: str = "") -> Any:
    """A measure against the weight of guidance, or of a condition; weights stand evenly apart.

    Raises `InputError` without rows that have a weight.
    """
    weighted = {name: [row for row in rows if row["weight"] is not None] for name, rows in methods.items()}
    weighted = {name: rows for name, rows in weighted.items() if rows}
    if not weighted:
        raise InputError("None of these runs was evaluated with guidance; give evaluate --guidance and --weight.")
    shown = measure(row for rows in weighted.values() for row in rows)
    weights = sorted({row["weight"] or 0.0 for rows in weighted.values() for row in rows})
    figure, axes = _measured("weight of guidance", title, shown)
    for index, (name, rows) in enumerate(weighted.items()):
        each = {w: [row for row in rows if row["weight"] == w] for w in weights}
        cells = {weights.index(w): _cell(found, shown) for w, found in each.items() if found}
        _band(axes, list(cells), list(cells.values()), shown, name, index)
    axes.set_xticks(range(len(weights)), [f"{weight:g}" for weight in weights])
    canvas.legend(axes)
    return figure


def methods(found: Rows, title: str = "") -> Any:
    """Methods side by side, the best on top: mean, 95 % interval (from three seeds on), and a dot for each seed."""
    shown = measure(row for rows in found.values() for row in rows)
    cells = sorted(((_cell(rows, shown), name) for name, rows in found.items()), key=lambda pair: pair[0].mean)
    figure, axes = canvas.axes(CALLED[shown], "", title, (6.4, 1.1 + 0.36 * len(cells)))
    for place, (cell, _) in enumerate(cells):
        color, scale = canvas.COLORS[0], SCALE[shown]
        if cell.interval is not None:
            axes.plot(
                [scale * cell.interval.low, scale * cell.interval.high], [place, place], color=color, lw=5, alpha=0.25
            )
        axes.plot([scale * mean for mean in cell.by_seed.values()], [place] * cell.seeds, "o", color=color, ms=3)
        axes.plot([scale * cell.mean], [place], "|", color="black", ms=13, mew=2)
    axes.set_yticks(range(len(cells)), [canvas.as_is(name) for _, name in cells])
    if shown == "success":
        axes.set_xlim(0, 100)
    return figure


def performance(methods: Mapping[str, Scores], title: str = "", thresholds: int = 41) -> Any:
    """Performance profiles: for each score from 0 to 1, the share of runs above it; tasks weigh alike."""
    figure, axes = canvas.axes("score (points)", "share of runs above it", title)
    places = np.linspace(0.0, 1.0, thresholds)
    for index, (name, scores) in enumerate(methods.items()):
        found = aggregates.performance_profile(scores, places.tolist()).shares
        style = canvas.style(index)
        if all(share.interval is not None for share in found):
            low, high = ([getattr(share.interval, end) for share in found] for end in ("low", "high"))
            axes.fill_between(100 * places, low, high, color=style["color"], alpha=0.15, lw=0, step="post")
        axes.step(100 * places, [share.value for share in found], where="post", label=canvas.as_is(name), **style)
    axes.set_ylim(-0.03, 1.03)
    canvas.legend(axes)
    return figure


def tuning_budget(methods: Mapping[str, Mapping[str, Sequence[Episode]]], title: str = "", pulls: int = 200) -> Any:
    """Tuning-budget curves: for each method its trained policies (settings x seeds) by name, with their rows.

    Every method has as many arms: 8, or as many policies as the method with the fewest has.
    Raises `InputError` where a method has fewer than two policies.
    """
    rows = [row for policies in methods.values() for found in policies.values() for row in found]
    shown, arms = measure(rows), min([8, *(len(policies) for policies in methods.values())])
    if arms < 2:
        raise InputError("A tuning-budget curve needs at least two trained policies of each method.")
    every = [float(row[shown]) for row in rows]  # type: ignore[arg-type]
    scale = {"success": 1.0, "score": 100.0}.get(shown, max(every) - min(every)) or 1.0
    figure, axes = _measured(f"episodes spent on tuning ({plural(arms, 'policy')} in each draw)", title, shown)
    for index, (name, policies) in enumerate(methods.items()):
        outcomes = {policy: [float(row[shown]) for row in found] for policy, found in policies.items()}  # type: ignore[arg-type]
        curve = budget_curve(outcomes, arms=arms, pulls=pulls, scale=scale)
        places, style = np.arange(1, pulls + 1), canvas.style(index)
        low, high = (SCALE[shown] * np.array([getattr(i, end) for i in curve.intervals]) for end in ("low", "high"))
        axes.fill_between(places, low, high, color=style["color"], alpha=0.15, lw=0)
        label = canvas.as_is(f"{name} ({plural(curve.policies, 'policy')})")
        axes.plot(places, SCALE[shown] * np.array(curve.values), label=label, lw=2, **style)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    canvas.legend(axes)
    return figure


def heat_map(cells: Mapping[tuple[float, float], Sequence[Episode]], names: tuple[str, str], title: str = "") -> Any:
    """The mean over seeds and episodes at each pair of values; `names` are those of the rows' and columns' setting.

    Each cell states its mean, seeds x episodes, and its updates where they differ. A pair without rows stays white.
    """
    shown = measure(row for rows in cells.values() for row in rows)
    firsts, seconds = (sorted({pair[i] for pair in cells}) for i in (0, 1))
    found = {pair: _cell(rows, shown) for pair, rows in cells.items() if rows}
    size = (2.0 + 0.95 * len(seconds), 1.6 + 0.65 * len(firsts))
    figure, axes = canvas.axes(names[1], names[0], title, (max(size[0], 4.5), max(size[1], 2.4)))
    table = np.full((len(firsts), len(seconds)), np.nan)
    for (first, second), cell in found.items():
        table[firsts.index(first), seconds.index(second)] = SCALE[shown] * cell.mean
    limits = (0.0, 100.0) if shown == "success" else (np.nanmin(table), np.nanmax(table))
    picture = axes.imshow(table, cmap="Blues", vmin=limits[0], vmax=limits[1], aspect="auto", origin="lower")
    middle = (limits[0] + limits[1]) / 2
    steps = {pair: max(row["step"] or 0 for row in rows) for pair, rows in cells.items() if rows}
    for (first, second), cell in found.items():
        mean = SCALE[shown] * cell.mean
        told = f"{mean:.1f}\n{cell.seeds} × {cell.episodes}"
        told += f"\nat {steps[first, second]:,}" if len(set(steps.values())) > 1 else ""
        place = seconds.index(second), firsts.index(first)
        axes.text(*place, told, ha="center", va="center", fontsize=8, color="white" if mean > middle else "black")
    axes.set_xticks(range(len(seconds)), [f"{value:g}" for value in seconds])
    axes.set_yticks(range(len(firsts)), [f"{value:g}" for value in firsts])
    axes.grid(False)
    figure.colorbar(picture, ax=axes, label=CALLED[shown])
    return figure


def learning_curve(runs: Mapping[str, Sequence[Episode]], out: Path, title: str) -> Path:
    """Write the learning curves of named runs, a line for each policy; returns, where a run has no success.

    Raises `InputError` without evaluations that were made while training.
    """
    policies: dict[str, list[Episode]] = {}
    for name, rows in runs.items():
        for row in rows:
            if row["source"] == "training":
                label = str(row["policy"]) if len(runs) == 1 else f"{name} {row['policy']}"
                policies.setdefault(label, []).append(row)
    if not policies:
        first = next(iter(runs))
        raise InputError(f"{first} was not evaluated while it trained; train with --eval-interval to get a curve.")
    return canvas.save(learning_curves(policies, title), out)


def _measured(xlabel: str, title: str, shown: Measure) -> tuple[Any, Any]:
    figure, axes = canvas.axes(xlabel, CALLED[shown], title)
    if shown == "success":
        axes.set_ylim(-3, 103)
    return figure, axes


def _cell(rows: Iterable[Episode], shown: Measure) -> statistics.Cell:
    """The rows of one point: the episodes of each seed in order, as many as the seed with the fewest has."""
    seeds: dict[int, list[tuple[tuple[int, ...], float]]] = {}
    for row in rows:
        place = (row["step"] or 0, row["task_id"] or 0, row["episode"], row["episode_seed"])
        seeds.setdefault(row["seed"], []).append((place, float(row[shown])))  # type: ignore[arg-type]
    least = min(map(len, seeds.values()))
    outcomes = {seed: [value for _, value in sorted(found)[:least]] for seed, found in sorted(seeds.items())}
    return (statistics.success if shown == "success" else statistics.score)(outcomes)


def _band(
    axes: Any, places: Sequence[float], cells: Sequence[statistics.Cell], shown: Measure, name: str, index: int
) -> None:
    """A line of means; its intervals behind it, or its seeds where there are too few."""
    scale, style = SCALE[shown], canvas.style(index)
    fewest = min(cell.seeds for cell in cells)
    label = f"{name} ({plural(fewest, 'seed')} × {plural(min(cell.episodes for cell in cells), 'episode')})"
    if all(cell.interval is not None for cell in cells):
        low, high = (scale * np.array([getattr(cell.interval, end) for cell in cells]) for end in ("low", "high"))
        axes.fill_between(places, low, high, color=style["color"], alpha=0.15, lw=0)
    elif fewest < FEWEST_SEEDS:
        for seed in sorted({seed for cell in cells for seed in cell.by_seed}) if fewest > 1 else []:
            each = [scale * cell.by_seed.get(seed, np.nan) for cell in cells]
            axes.plot(places, each, color=style["color"], lw=0.7, alpha=0.5)
    means = [scale * cell.mean for cell in cells]
    axes.plot(places, means, label=canvas.as_is(label), marker="o", markersize=3.5, lw=2, **style)
