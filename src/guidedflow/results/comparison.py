"""Rows of many runs into cells: a method on a task, with its seeds, episodes, interval and number of settings tried.

Only rows of the source `evaluate` are reported. Of a run that was evaluated at several checkpoints the newest counts.
What cannot be counted is left out, and a sentence says so.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guidedflow.errors import InputError
from guidedflow.results import statistics
from guidedflow.results.counts import plural
from guidedflow.results.methods import Method, Settings, acting_of, frozen, in_text, varying
from guidedflow.results.records import RunRecord, Tuning
from guidedflow.results.rows import Episode, Measure, measure

Key = tuple[int, int, int]
"""An evaluation episode: task number (0 if there is none), seed of the environment, repetition."""


ADDED = ("plan.updates", "trained-on", "dataset")
"""What tells methods apart beside the settings of their runs: the checkpoint, and data that differ on one task."""


@dataclass(frozen=True)
class Entry:
    """A method on a task. `outcomes` are in the unit of `measure`, of each training seed on the same episodes."""

    task: str
    method: Method
    measure: Measure
    outcomes: Mapping[int, Sequence[float]]
    cell: statistics.Cell
    tried: int
    """Number of settings among which this one may have been chosen."""
    tuning: Tuning | None
    runs: tuple[str, ...]

    @property
    def scale(self) -> float:
        """What a number is multiplied by to be in points: success counts from 0 to 100."""
        return 100.0 if self.measure == "success" else 1.0

    @property
    def by_seed(self) -> list[float]:
        """The mean of each seed: success in [0, 1], or score in hundreds of points; returns as they are."""
        scale = 0.01 if self.measure == "score" else 1.0
        return [scale * mean for mean in self.cell.by_seed.values()]


@dataclass(frozen=True)
class Comparison:
    """Cells in the order in which tasks and methods first appear, and what was left out of them."""

    entries: tuple[Entry, ...]
    left_out: tuple[str, ...]

    @property
    def tasks(self) -> list[str]:
        """Tasks that have at least one cell."""
        return list(dict.fromkeys(entry.task for entry in self.entries))

    def of(self, task: str) -> list[Entry]:
        """The cells of a task, the best mean first."""
        return sorted((e for e in self.entries if e.task == task), key=lambda e: -e.cell.mean)


def compare(records: Iterable[RunRecord], source: str = "evaluate") -> Comparison:
    """Group the rows of runs by task and method. Runs of the same method on the same task may differ in seeds alone.

    A training seed that two runs of a method have counts once, from the first of them.
    """
    records = list(records)
    left_out: list[str] = []
    gathered = grouped(records, source, left_out)
    measures = {task: measure(row for (t, _), runs in gathered.items() if t == task for _, row in _rows(runs))
                for task in dict.fromkeys(task for task, _ in gathered)}  # fmt: skip
    trained: dict[tuple[str, str], set[Settings]] = defaultdict(set)
    for record in records:
        trained[record.task, record.algorithm].add(frozen(record.settings))
    entries = []
    for (task, method), runs in gathered.items():
        outcomes = _aligned(task, runs, measures[task], left_out)
        cell = (statistics.success if measures[task] == "success" else statistics.score)(outcomes)
        tuning = next((record.tuning for record, _ in runs.values() if record.tuning is not None), None)
        count = _tried(task, method, gathered, trained[task, method.algorithm])
        paths = tuple(dict.fromkeys(record.path for record, _ in runs.values()))
        tried = max(count, tuning.tried if tuning else 0)
        entries.append(Entry(task, method, measures[task], outcomes, cell, tried, tuning, paths))
    left_out += _unreported(records, source)
    return Comparison(tuple(entries), tuple(left_out))


Groups = dict[tuple[str, Method], dict[int, tuple[RunRecord, list[Episode]]]]
"""(task, method) -> training seed -> its run and rows."""


def grouped(records: Sequence[RunRecord], source: str, left_out: list[str], every_step: bool = False) -> Groups:
    """The rows of one source by task, method and training seed; of the newest checkpoint, unless `every_step`.

    Only reported methods differ by the number of updates: tuning stops the worse of them early.
    """
    several, critics = _datasets(records), {os.path.abspath(record.path): record for record in records}
    groups: Groups = defaultdict(dict)
    for record in records:
        for (task, policy, acting), rows in _of_run(record, source).items():
            newest = max(row["step"] or 0 for row in rows)
            kept = rows if every_step else [row for row in rows if (row["step"] or 0) == newest]
            settings = dict(record.settings)
            if source == "evaluate":
                settings["plan.updates"] = newest
            if record.task != rows[0]["task"]:
                settings["trained-on"] = record.task
            if len(several[record.task]) > 1:
                settings["dataset"] = record.fingerprint[:12]
            method = Method(record.algorithm, policy, frozen(settings), _critic(acting, critics))
            seeds = groups[task, method]
            for seed, episodes in _by_seed(kept).items():
                if seed in seeds:
                    left_out.append(
                        f"{record.path}: seed {seed} of {record.algorithm} {policy} on {task} is left out, because "
                        f"{seeds[seed][0].path} has the same seed and settings."
                    )
                else:
                    seeds[seed] = record, episodes
    return dict(groups)


def task_of(row: Episode) -> str:
    """The task that a row is of; the same name in an environment that no suite has is another task."""
    return row["task"] if row["environment"] is None else f"{row['task']} in {row['environment']}"


def fewer(entry: Entry, neighbours: Iterable[Entry]) -> str:
    """Why a cell has less evidence than its neighbours, in words; empty if it has not."""
    seeds = max(other.cell.seeds for other in neighbours)
    episodes = max(other.cell.episodes for other in neighbours)
    told = [f"{plural(entry.cell.seeds, 'seed')} where another has {seeds}"] if entry.cell.seeds < seeds else []
    if entry.cell.episodes < episodes:
        told.append(f"{plural(entry.cell.episodes, 'episode')} a seed where another has {episodes}")
    return ", ".join(told)


@dataclass(frozen=True)
class Column:
    """What stands under one head of a table of tasks: a method, or one whose training settings differ by task."""

    method: Method
    """The first of its methods."""
    by_task: Mapping[str, Entry]

    @property
    def varies(self) -> bool:
        """Whether its settings differ from task to task."""
        return len({entry.method for entry in self.by_task.values()}) > 1


def columns(entries: Sequence[Entry]) -> list[Column]:
    """Columns of a table of tasks. Methods that never meet on a task, but for their settings alike, share one."""
    families: dict[Any, list[Entry]] = {}
    for entry in entries:
        families.setdefault(entry.method.family, []).append(entry)
    found = []
    for members in families.values():
        alone = len({entry.task for entry in members}) == len(members)
        parts: dict[Any, list[Entry]] = {}
        for entry in members:
            parts.setdefault(None if alone else entry.method, []).append(entry)
        found += [Column(part[0].method, {entry.task: entry for entry in part}) for part in parts.values()]
    return found


def _datasets(records: Sequence[RunRecord]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for record in records:
        found[record.task].add(record.fingerprint)
    return found


def _of_run(record: RunRecord, source: str) -> dict[tuple[str, str, Settings], list[Episode]]:
    """The rows of a run by task, policy and way of acting; of an episode that was rolled out twice, the last row."""
    groups: dict[tuple[str, str, Settings], dict[Any, Episode]] = defaultdict(dict)
    for row in record.episodes:
        if row["source"] == source:
            key = task_of(row), row["policy"] or "policy", acting_of(row)
            groups[key][row["step"], row["seed"], row["task_id"], row["episode_seed"], row["episode"]] = row
    return {key: list(rows.values()) for key, rows in groups.items()}


def _critic(acting: Settings, records: Mapping[str, RunRecord]) -> Settings:
    """A way of acting with the critic's run replaced by what was trained in it, where that run is among the given."""
    told = dict(acting)
    if told["critic_run"] is not None and (critic := records.get(os.path.abspath(told["critic_run"]))) is not None:
        peers = [record for record in records.values() if record.algorithm == critic.algorithm]
        names = [name for name in varying(frozen(peer.settings) for peer in peers) if name in critic.settings]
        told["critic_run"] = " ".join([critic.algorithm, *(f"{n} {in_text(critic.settings[n])}" for n in names)])
    return tuple(told.items())


def _by_seed(rows: Iterable[Episode]) -> dict[int, list[Episode]]:
    found: dict[int, list[Episode]] = defaultdict(list)
    for row in rows:
        found[row["seed"]].append(row)
    return dict(sorted(found.items()))


def _rows(runs: Mapping[int, tuple[RunRecord, list[Episode]]]) -> Iterable[tuple[int, Episode]]:
    return ((seed, row) for seed, (_, rows) in runs.items() for row in rows)


def _aligned(
    task: str, runs: Mapping[int, tuple[RunRecord, list[Episode]]], shown: Measure, left_out: list[str]
) -> dict[int, list[float]]:
    """The outcomes of each seed on the episodes that all of its neighbours played too, in the same order.

    Where seeds share no episode, as many of each are taken as the seed with the fewest has.
    """
    by_key: dict[int, dict[Key, float]] = {
        seed: {(row["task_id"] or 0, row["episode_seed"], row["episode"]): float(row[shown]) for row in rows}  # type: ignore[arg-type]
        for seed, (_, rows) in runs.items()
    }
    common = set.intersection(*(set(found) for found in by_key.values()))
    if common:
        aligned = {seed: [found[key] for key in sorted(common)] for seed, found in by_key.items()}
    else:
        least = min(len(found) for found in by_key.values())
        aligned = {seed: [found[key] for key in sorted(found)][:least] for seed, found in by_key.items()}
    lost = sum(len(found) for found in by_key.values()) - sum(len(found) for found in aligned.values())
    if lost:
        record = next(iter(runs.values()))[0]
        left_out.append(
            f"{task}, {record.algorithm}: {plural(lost, 'episode')} left out that only some of the seeds have."
        )
    return aligned


def _tried(task: str, method: Method, groups: Groups, trained: set[Settings]) -> int:
    """Distinct settings of an algorithm's policy on a task, `trained` without reported rows among them."""
    found = [other for t, other in groups if t == task and other.family[:2] == method.family[:2]]
    seen = {tuple(pair for pair in other.settings if pair[0] not in ADDED) for other in found}
    return len(found) + len(trained - seen)


def _unreported(records: Sequence[RunRecord], source: str) -> list[str]:
    """A sentence for the runs without reported episodes, and another one for those of tuning."""
    lacking = [record for record in records if not any(row["source"] == source for row in record.episodes)]
    tuned = [r.path for r in lacking if any(row["source"] == "selection" for row in r.episodes)]
    other = [r.path for r in lacking if r.path not in tuned]
    told = []
    if tuned:
        told.append(f"{_named(tuned)}: episodes of tuning alone, which no table of scores counts.")
    if other:
        told.append(f"{_named(other)}: no reported episodes; run guidedflow evaluate {other[0]}.")
    return told


def _named(paths: Sequence[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{paths[0]} and {plural(len(paths) - 1, 'other run')}"


def check_reported(comparison: Comparison) -> None:
    """Raise `InputError` unless there is a cell."""
    if not comparison.entries:
        raise InputError(
            "None of these runs has reported episodes; run guidedflow evaluate RUN first, or compare runs without a "
            "simulator by evaluate RUN --off-policy."
        )
