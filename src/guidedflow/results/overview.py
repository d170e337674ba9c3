"""The section of a report about methods over tasks: means, profiles, probabilities of improvement."""

from collections.abc import Mapping, Sequence
from functools import partial

from guidedflow.results import aggregates, plots
from guidedflow.results.cells import Names, averaged, head, interval_text, rank
from guidedflow.results.comparison import Column, Comparison, columns
from guidedflow.results.counts import plural
from guidedflow.results.sections import Picture, Section
from guidedflow.results.tables import MISSING, Sheet, Shown

POINTS = ("success", "score")
"""Measures that are points, so that tasks can be averaged."""


def aggregated(comparison: Comparison, names: Names) -> list[Section]:
    """Means over tasks, performance profiles and probabilities of improvement; nothing for fewer than two tasks."""
    entries = [entry for entry in comparison.entries if entry.measure in POINTS]
    tasks = list(dict.fromkeys(entry.task for entry in entries))
    if len(tasks) < 2:
        return []
    found = sorted((column for column in columns(entries) if len(column.by_task) > 1), key=rank)
    if not found:
        return []
    shared = [task for task in tasks if all(task in column.by_task for column in found)]
    told = f"All methods are compared on {plural(len(shared), 'task')} that all of them have."
    if len(shared) < 2:
        shared, told = [], "The methods share fewer than two tasks: each is averaged over its own, and not comparable."
    scores = {
        head(column, names): {t: e.by_seed for t, e in column.by_task.items() if not shared or t in shared}
        for column in found
    }
    sheets = [_aggregates(scores, found)]
    pictured = []
    if shared:
        if len(scores) > 1:
            sheets.append(_improvement(scores))
        profile = partial(plots.performance, scores, "Performance profile")
        caption = (
            f"Share of runs above each score, {plural(len(shared), 'task')} weighing alike. Bands: pointwise 95 % "
            "intervals; none for a method with fewer than 3 seeds on a task."
        )
        pictured.append(Picture(profile, caption))
    return [Section("Over tasks", (told,), sheets, pictured)]


def _aggregates(scores: Mapping[str, aggregates.Scores], found: Sequence[Column]) -> Sheet:
    rows = []
    for (name, mapping), column in zip(scores.items(), found, strict=True):
        episodes = sorted({entry.cell.episodes for task, entry in column.by_task.items() if task in mapping})
        tried = max(entry.tried for task, entry in column.by_task.items() if task in mapping)
        values = (
            aggregates.mean(mapping), aggregates.interquartile_mean(mapping), aggregates.optimality_gap(mapping)
        )  # fmt: skip
        rows.append([
            Shown(name, sort=name), *map(averaged, values), Shown(str(values[0].tasks), sort=values[0].tasks),
            Shown(str(values[0].seeds), sort=values[0].seeds),
            Shown(" to ".join(map(str, dict.fromkeys((episodes[0], episodes[-1])))), sort=episodes[0]),
            Shown(str(tried), sort=tried),
        ])  # fmt: skip
    headers = ["method", "mean", "interquartile mean", "optimality gap", "tasks", "seeds", "episodes", "settings tried"]
    note = (
        "In points, with 95 % intervals stratified by task. Optimality gap: how far runs fall short of 100, lower is "
        "better. Seeds: of the task with the fewest; below 3 there is no interval."
    )
    return Sheet("Aggregates", headers, rows, note)


def _improvement(scores: Mapping[str, aggregates.Scores]) -> Sheet:
    rows = []
    for name, mapping in scores.items():
        cells = []
        for other, theirs in scores.items():
            if other == name:
                cells.append(Shown(MISSING))
                continue
            found = aggregates.probability_of_improvement(mapping, theirs)
            interval = "no interval" if found.interval is None else interval_text(found.interval, 1.0, 2)
            cells.append(Shown(f"{found.value:.2f}", interval, found.value))
        rows.append([Shown(name, sort=name), *cells])
    tasks = len(next(iter(scores.values())))
    note = (
        f"Chance that a run of the row's method scores higher than one of the column's, mean over "
        f"{plural(tasks, 'task')}; ties count half. 0.5 is no difference."
    )
    return Sheet("Probability of improvement", ["method", *(f"over {name}" for name in scores)], rows, note)
