"""A report of many runs as plain data: sections of sentences, tables and pictures, from their records.

What is published comes from the caller. This module does not know how a page is written, nor where runs lie.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from guidedflow.results import account, chapters, diagnosis, overview
from guidedflow.results.comparison import Comparison, Entry, check_reported, compare
from guidedflow.results.counts import plural
from guidedflow.results.methods import Method, labels
from guidedflow.results.records import RunRecord
from guidedflow.results.sections import Known, Section
from guidedflow.results.tables import Sheet


@dataclass(frozen=True)
class Report:
    """Everything that a page, a table or a JSON object is written from."""

    title: str
    summary: str
    comparison: Comparison
    names: Mapping[Method, str]
    scores: Sequence[Section]
    """Sections about scores."""
    background: Sequence[Section]
    """Sections about settings and runs."""
    left_out: Sequence[str]
    known: Known = field(default_factory=Known)

    @property
    def sheets(self) -> list[Sheet]:
        """All tables of scores, in their order."""
        return [sheet for section in self.scores for sheet in section.sheets]

    def rows(self) -> list[dict[str, Any]]:
        """A row for each cell, of numbers and text: success from 0 to 1, other measures in their own unit."""
        names = dict.fromkeys(name for entry in self.comparison.entries for name, _ in entry.method.settings)
        return [_row(entry, self.names[entry.method], list(names)) for entry in self.comparison.entries]

    def plain(self) -> dict[str, Any]:
        """JSON's own types: the rows with the mean of each seed, published scores in points, and what was left out."""
        seeds = [{str(seed): mean for seed, mean in e.cell.by_seed.items()} for e in self.comparison.entries]
        runs = [list(entry.runs) for entry in self.comparison.entries]
        cells = [
            row | {"by_seed": by_seed, "runs": paths}
            for row, by_seed, paths in zip(self.rows(), seeds, runs, strict=True)
        ]
        published = {task: [asdict(score) for score in scores] for task, scores in self.known.published.items()}
        return {"cells": cells, "published": published, "left_out": list(self.left_out)}


def make(records: Sequence[RunRecord], known: Known | None = None, left_out: Iterable[str] = ()) -> Report:
    """The report of these runs. Raises `InputError` if none of them has reported episodes."""
    known, comparison = known or Known(), compare(records)
    check_reported(comparison)
    names = labels(entry.method for entry in comparison.entries)
    scores = [
        *chapters.suites(comparison, names, known),
        *overview.aggregated(comparison, names),
        *chapters.tasks(records, comparison, known),
    ]
    episodes = sum(entry.cell.seeds * entry.cell.episodes for entry in comparison.entries)
    summary = (
        f"{plural(len(records), 'run')}, {plural(len(comparison.tasks), 'task')}, {plural(len(names), 'method')}, "
        f"{episodes:,} reported episodes."
    )
    background = [*diagnosis.section(records), *account.settings(records), account.runs(records)]
    told = tuple(dict.fromkeys([*left_out, *comparison.left_out]))
    return Report("Comparison of runs", summary, comparison, names, scores, background, told, known)


def _row(entry: Entry, name: str, settings: Sequence[str]) -> dict[str, Any]:
    cell, method = entry.cell, entry.method
    interval = cell.interval
    acting = {f"acting.{key}": value for key, value in method.acting}
    chosen = {key: _plain(dict(method.settings).get(key)) for key in settings}
    return {
        "task": entry.task,
        "method": name,
        "algorithm": method.algorithm,
        "policy": method.policy,
        "measure": entry.measure,
        "mean": cell.mean,
        "deviation": cell.deviation,
        "low": None if interval is None else interval.low,
        "high": None if interval is None else interval.high,
        "level": None if interval is None else interval.level,
        "interval": None if interval is None else interval.method,
        "seeds": cell.seeds,
        "episodes": cell.episodes,
        "tried": entry.tried,
        "tuning_updates": None if entry.tuning is None else entry.tuning.updates,
        "tuning_episodes": None if entry.tuning is None else entry.tuning.episodes,
        **acting,
        **chosen,
    }


def _plain(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, tuple) else value
