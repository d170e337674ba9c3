"""Sections of a report about how its numbers came about: settings that differ, and each run with its cost."""

from collections.abc import Sequence

from guidedflow.results.counts import plural
from guidedflow.results.methods import frozen, in_text, shown, varying
from guidedflow.results.records import RunRecord
from guidedflow.results.sections import Section
from guidedflow.results.tables import MISSING, Sheet, Shown


def settings(records: Sequence[RunRecord]) -> list[Section]:
    """A table for each algorithm whose runs differ in settings: a row for each combination, with its tasks."""
    sheets = []
    for algorithm in dict.fromkeys(record.algorithm for record in records):
        own = [record for record in records if record.algorithm == algorithm]
        names = varying(frozen(record.settings) for record in own)
        if not names:
            continue
        groups: dict[tuple[str, ...], list[RunRecord]] = {}
        for record in own:
            values = tuple(in_text(record.settings[n]) if n in record.settings else MISSING for n in names)
            groups.setdefault(values, []).append(record)
        rows = []
        for values, members in groups.items():
            tasks = list(dict.fromkeys(record.task for record in members))
            seeds = sorted({seed for record in members for seed in record.seeds})
            plain = [members[0].settings.get(name) for name in names]
            cells = [Shown(text, sort=_number(value)) for text, value in zip(values, plain, strict=True)]
            where = Shown(tasks[0] if len(tasks) == 1 else f"{len(tasks)} tasks", sort=tasks[0])
            rows.append([where, *cells, Shown(" ".join(map(str, seeds))), Shown(str(len(members)), sort=len(members))])
        sheets.append(Sheet(algorithm, ["task", *map(shown, names), "seeds", "runs"], rows))
    told = "Only settings that differ between runs of an algorithm are listed; all else was alike."
    return [Section("Settings that differ", (told,), sheets)] if sheets else []


def runs(records: Sequence[RunRecord]) -> Section:
    """Every run: its updates, wall-clock time, speed, hardware, versions and command."""
    rows = []
    for record in records:
        speed = record.updates / record.seconds if record.updates and record.seconds else None
        rows.append([
            Shown(record.path, sort=record.path),
            Shown(record.task, sort=record.task),
            Shown(record.algorithm, sort=record.algorithm),
            Shown(" ".join(map(str, record.seeds)), sort=record.seeds[0]),
            Shown(MISSING if record.updates is None else f"{record.updates:,}", sort=record.updates),
            Shown(_clock(record.seconds), sort=record.seconds),
            Shown(MISSING if speed is None else f"{speed:.0f}", sort=speed),
            Shown(record.versions.get("device", MISSING), f"{record.versions.get('cores', '?')} cores"),
            Shown(record.versions.get("guidedflow", MISSING), record.commit or ""),
        ])  # fmt: skip
    headers = ["run", "task", "algorithm", "seeds", "updates", "time", "updates/s", "hardware", "version"]
    note = "Time is wall-clock time of training all seeds of a run, with the evaluations in between."
    sheets = [Sheet("Runs", headers, rows, note), _versions(records)]
    commands = [(record.path, record.command) for record in records if record.command]
    return Section("Runs", _unlike(records), sheets, (), commands)


def _unlike(records: Sequence[RunRecord]) -> list[str]:
    """A sentence where runs were made with different versions or devices."""
    names = varying(frozen(record.versions) for record in records)
    if not names:
        return []
    return [f"The runs differ in {', '.join(names)}, so that small differences between them may come from there."]


def _versions(records: Sequence[RunRecord]) -> Sheet:
    """Packages, and how many runs had each version."""
    names = dict.fromkeys(name for record in records for name in record.versions if name not in ("device", "cores"))
    rows = []
    for name in names:
        found = [record.versions.get(name, MISSING) for record in records]
        told = [f"{version} ({plural(found.count(version), 'run')})" for version in dict.fromkeys(found)]
        rows.append([Shown(name, sort=name), Shown(found[0] if len(told) == 1 else ", ".join(told))])
    return Sheet("Versions", ["package", "version"], rows)


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return MISSING
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _number(value: object) -> float | str | None:
    return float(value) if isinstance(value, int | float) else None if value is None else str(value)
