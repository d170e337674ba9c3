"""Sections of a report about scores: tables of suites, and of each task with its pictures."""

import itertools
from collections.abc import Sequence

from guidedflow.results import aggregates, pictures, statistics
from guidedflow.results.cells import NOTE, Names, averaged, head, interval_text, mean_text, measured, printed, rank
from guidedflow.results.comparison import Column, Comparison, Entry, columns, fewer
from guidedflow.results.confidence import FEWEST_SEEDS
from guidedflow.results.counts import plural
from guidedflow.results.methods import labels
from guidedflow.results.plots import CALLED
from guidedflow.results.records import RunRecord
from guidedflow.results.sections import Best, Known, Published, Section
from guidedflow.results.tables import MISSING, Sheet, Shown

CHOSEN = (
    "Where several settings of a method stand in one table, the best of them was chosen on the very episodes that it "
    "is shown with, so its number is too high."
)


def suites(comparison: Comparison, names: Names, known: Known) -> list[Section]:
    """A table for each suite with two tasks or more, tasks by methods, beside published scores and the best known."""
    sections = []
    by_suite: dict[str, list[str]] = {}
    for task in comparison.tasks:
        by_suite.setdefault(known.suites.get(task, "other tasks"), []).append(task)
    for suite, tasks in by_suite.items():
        entries = [entry for entry in comparison.entries if entry.task in tasks]
        found = sorted(columns(entries), key=rank)
        sheets = [_suite(suite, tasks, entries, found, names, known)] if len(tasks) > 1 else []
        best = [each for each in known.best if each.tasks & set(tasks)]
        if best:
            sheets.append(_best(best, found, names))
        if sheets:
            sections.append(Section(f"Suite {suite}" if suite in known.suites.values() else "All tasks", (), sheets))
    return sections


def tasks(records: Sequence[RunRecord], comparison: Comparison, known: Known) -> list[Section]:
    """A section for each task: its methods beside published scores, differences on the same episodes, pictures."""
    sections, drawn = [], pictures.by_task(records)
    for task in comparison.tasks:
        entries = comparison.of(task)
        names = labels(entry.method for entry in entries)
        published = known.published.get(task, ())
        sheets = [_task(task, entries, names, published)]
        differences = _differences(entries, names)
        sheets += [differences] if differences.rows else []
        sections.append(Section(task, (_finding(entries, names),), sheets, pictures.of_task(drawn[task], task)))
    return sections


def _suite(
    suite: str, tasks: list[str], entries: list[Entry], found: list[Column], names: Names, known: Known
) -> Sheet:
    published = {each.method: each for task in tasks for each in known.published.get(task, ())}
    wide = [column for column in found if len(column.by_task) > 1]
    narrow = [column for column in found if len(column.by_task) == 1]
    headers = ["task", *(head(column, names) for column in wide), *(f"{name}, published" for name in published)]
    headers += [head(column, names) for column in narrow]
    rows = []
    for task in tasks:
        neighbours = [entry for entry in entries if entry.task == task]
        cells = [measured(column.by_task.get(task), entries) for column in wide]
        scores = {each.method: each for each in known.published.get(task, ())}
        cells += [printed(scores.get(name)) for name in published]
        cells += [measured(column.by_task.get(task), entries) for column in narrow]
        unit = "" if neighbours[0].measure == "success" else f"({CALLED[neighbours[0].measure]})"
        rows.append([Shown(task, unit, task), *cells])
    varies = " Columns marked * have other training settings on each task." if any(c.varies for c in found) else ""
    return Sheet(f"Tasks of {suite}", headers, rows, NOTE + varies)


def _best(best: Sequence[Best], found: Sequence[Column], names: Names) -> Sheet:
    """Means over the tasks of an environment: those of runs that have all of them, beside the best published."""
    whole = [column for column in found if any(each.tasks <= set(column.by_task) for each in best)]
    published = dict.fromkeys(name for each in best for name in each.published)
    headers = [
        "environment",
        *(head(column, names) for column in whole),
        *(f"{name}, published" for name in published),
    ]
    rows = []
    for each in best:
        cells = [_environment(column, each.tasks) for column in whole]
        means = [each.published.get(name) for name in published]
        cells += [Shown(MISSING) if mean is None else Shown(f"{mean:.1f}", sort=mean) for mean in means]
        cells += [Shown(f"{mean:.1f}", source, mean) for mean, source in (each.standard, each.any)]
        rows.append([Shown(each.environment, sort=each.environment), *cells])
    headers += ["best known, standard setting", "best known, any setting"]
    note = (
        "Means over all tasks of an environment, in points. Best known as of November 2026: of 1M updates on the "
        "default rewards and data, and of any setting. They were chosen among papers, by what is compared here."
    )
    return Sheet("Beside the best known", headers, rows, note)


def _environment(column: Column, tasks: frozenset[str]) -> Shown:
    """The mean of a method over all tasks of an environment, if it has all of them."""
    entries = [column.by_task[task] for task in sorted(tasks) if task in column.by_task]
    if len(entries) < len(tasks):
        return Shown(MISSING, f"{len(entries)} of {plural(len(tasks), 'task')}" if entries else "")
    found = aggregates.mean({entry.task: entry.by_seed for entry in entries}, bounds=(0, 1))
    shown = averaged(found)
    episodes = min(entry.cell.episodes for entry in entries)
    return Shown(shown.text, f"{shown.small}, {found.seeds} × {episodes} a task", shown.sort)


def _task(task: str, entries: Sequence[Entry], names: Names, published: Sequence[Published]) -> Sheet:
    shown = entries[0].measure
    headers = ["method", CALLED[shown], "95 % interval", "seeds", "episodes", "settings tried", "each seed", "source"]
    rows = [_method(entry, entries, names) for entry in entries]
    for each in published:
        text = f"{each.mean:.1f}" + ("" if each.deviation is None else f" ± {each.deviation:.1f}")
        seeds = Shown(MISSING) if each.seeds is None else Shown(str(each.seeds), sort=each.seeds)
        missing = Shown(MISSING)
        rows.append([
            Shown(f"{each.method}, published", sort=each.method), Shown(text, sort=each.mean), missing, seeds, missing,
            missing, missing, Shown(each.source, sort=each.source),
        ])  # fmt: skip
    several = len({entry.method.family[:2] for entry in entries}) < len(entries)
    note = (
        "Mean ± population deviation over seeds. Below 3 seeds there is no interval. † marks fewer seeds or episodes "
        f"than a neighbour has; – means not measured or not published.{' ' + CHOSEN if several else ''}"
    )
    return Sheet(task, headers, rows, note, frozenset(range(len(entries), len(rows))))


def _method(entry: Entry, neighbours: Sequence[Entry], names: Names) -> list[Shown]:
    cell, name, mark = entry.cell, names[entry.method], fewer(entry, neighbours)
    runs = entry.runs[0] if len(entry.runs) == 1 else f"{entry.runs[0]} and {len(entry.runs) - 1} more"
    low = None if cell.interval is None else entry.scale * cell.interval.low
    tuning = entry.tuning
    spent = [plural(tuning.updates, "update")] if tuning and tuning.updates is not None else []
    spent += [plural(tuning.episodes, "episode")] if tuning and tuning.episodes is not None else []
    return [
        Shown(name, sort=name),
        Shown(mean_text(entry), sort=entry.scale * cell.mean, mark=mark),
        Shown(interval_text(cell.interval, entry.scale), sort=low),
        Shown(str(cell.seeds), sort=cell.seeds),
        Shown(str(cell.episodes), sort=cell.episodes),
        Shown(str(entry.tried), ", ".join(spent), entry.tried),
        Shown(" ".join(f"{entry.scale * mean:.1f}" for mean in cell.by_seed.values())),
        Shown(runs, sort=runs),
    ]


def _differences(entries: Sequence[Entry], names: Names) -> Sheet:
    """The best method minus each other one that has the same seeds and as many episodes; none for a single method."""
    rows = []
    for first, second in itertools.islice(itertools.product(entries[:1], entries[1:]), 12):
        same = set(first.outcomes) == set(second.outcomes) and first.cell.episodes == second.cell.episodes
        if not same or first.cell.seeds < FEWEST_SEEDS:
            continue
        found = statistics.paired(first.outcomes, second.outcomes)
        p = MISSING if found.p_value is None else f"{found.p_value:.2g}"
        difference = first.scale * found.difference
        rows.append([
            Shown(f"{names[first.method]} minus {names[second.method]}"),
            Shown(f"{difference:+.1f}", sort=difference),
            Shown(interval_text(found.interval, first.scale)),
            Shown(p, sort=found.p_value),
            Shown(f"{found.better} of {found.seeds}", sort=found.better),
            Shown(str(found.seeds), sort=found.seeds),
            Shown(str(found.episodes), sort=found.episodes),
        ])  # fmt: skip
    headers = ["difference", "mean", "95 % interval", "p", "seeds where better", "seeds", "episodes"]
    note = "Episode by episode, on the same seeds and episodes. p is two-sided and not corrected for many pairs."
    return Sheet("Best method against the others", headers, rows, note)


def _finding(entries: Sequence[Entry], names: Names) -> str:
    """What stands first in the table, in a sentence, and whether the next one is apart from it."""
    first = entries[0]
    told = f"The highest mean is {mean_text(first)} by {names[first.method]}"
    if len(entries) == 1:
        return f"{told}; no other method was run."
    second = entries[1]
    told += f", then {mean_text(second)} by {names[second.method]}"
    both = first.cell.interval, second.cell.interval
    if both[0] is None or both[1] is None:
        return f"{told}; there are too few seeds for an interval of each."
    apart = both[0].low > both[1].high
    return f"{told}; their 95 % intervals {'do not overlap' if apart else 'overlap'}."
