"""Runs below folders, as plain records for comparisons and reports.

A broken run or row is left out, and a sentence says so. This module does not know what is compared.
"""

import functools
import json
import math
import os
import shlex
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from guidedflow import files
from guidedflow.algorithms import ALGORITHMS
from guidedflow.errors import InputError
from guidedflow.results import intervals, rows
from guidedflow.results.records import RunRecord, Tuning
from guidedflow.results.rows import Episode
from guidedflow.runs import deaths
from guidedflow.runs.changes import MAY_CHANGE, NOT_COMPARED
from guidedflow.runs.mark import CONFIG, MARK
from guidedflow.runs.run import Run
from guidedflow.settings import defaults_of

TUNING = "tuning.json"
"""What tuning spent, in the folder of a run or in the one above: {"tried": 12, "updates": 240000, "episodes": 960}."""

SCALES = frozenset({"action_scale", "observation_scale"})
"""Entries whose numbers come from the data; that they are there is a setting."""

INSIDE = frozenset({"checkpoints", "tensorboard", "wandb"})
"""Folders of a run that hold no other run."""

NOT_SETTINGS = MAY_CHANGE | NOT_COMPARED | SCALES | {"algorithm", "task", "seed", "seeds", "dataset", "transition"}
"""Entries of the configuration that are no training settings."""

SINCE = {"rewards": "data"}
"""Entries that runs of earlier versions lack, and what they had."""


@dataclass(frozen=True)
class Gathered:
    """Runs in the order of their paths, and a sentence for each thing that was left out."""

    records: tuple[RunRecord, ...]
    left_out: tuple[str, ...]


def gather(paths: Sequence[Path]) -> Gathered:
    """Every run at or below each path. Raises `InputError` for a path without runs, or if no run can be read."""
    found = dict.fromkeys(folder for path in paths for folder in folders(Path(path)))
    records, left_out = [], []
    for folder in found:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                record, lost = read(folder)
            except (InputError, RecursionError) as error:
                left_out.append(_text(f"{folder} is left out: {error}"))
                continue
        records.append(record)
        left_out += map(_text, [str(warning.message) for warning in told] + lost)
    if not records:
        raise InputError(f"No run could be read: {left_out[0]}")
    return Gathered(tuple(records), tuple(left_out))


def read(folder: Path) -> tuple[RunRecord, list[str]]:
    """The run in a folder, and what was left out of it. Raises `InputError` if its configuration cannot be used."""
    run = Run.open(folder)
    config = run.config
    algorithm, dataset = config.get("algorithm"), config.get("dataset")
    first, seeds, task = config.get("seed", 0), config.get("seeds", 1), config.get("task")
    if not isinstance(algorithm, Mapping) or not isinstance(name := algorithm.get("name"), str):
        raise InputError(f"its {CONFIG} must say the algorithm's name and settings.")
    if not isinstance(task, str) or type(first) is not int or type(seeds) is not int or not 1 <= seeds <= 10_000:
        raise InputError(f"its {CONFIG} must say its task, its first seed and the number of its seeds.")
    kept, lost = _finite(rows.read(run.evaluations), run.evaluations)
    words = config.get("command")
    record = RunRecord(
        path=_text(str(folder)),
        task=_text(task),
        algorithm=_text(name),
        settings=_settings(config, name, algorithm),
        fingerprint=_text(str(dataset.get("fingerprint"))) if isinstance(dataset, Mapping) else "",
        seeds=tuple(range(first, first + seeds)),
        episodes=kept,
        intervals=[interval for interval in intervals.read(run.metrics) if math.isfinite(interval.seconds)],
        command=_text(shlex.join(map(str, words))) if isinstance(words, list) else "",
        versions={_text(str(k)): _text(str(v)) for k, v in _mapping(config.get("versions")).items()},
        commit=_text(str(config["commit"])) if config.get("commit") else None,
        tuning=_tuning(folder, lost),
    )
    lost += [f"{_text(str(folder))}: seed {each.seed} is dead: {each.sentence}." for each in deaths.read(folder)]
    return record, lost


def folders(path: Path) -> Iterator[Path]:
    """The folders of runs at or below a path, sorted. Raises `InputError` for a path without runs."""
    if not path.is_dir():
        Run.open(path)  # says what is there instead
    if (path / CONFIG).exists():
        yield path
        return
    found = []
    for folder, inner, names in os.walk(path):
        inner[:] = [name for name in inner if name not in INSIDE]
        if CONFIG in names and MARK.encode() in _bytes(Path(folder, CONFIG)):
            found.append(Path(folder))
    if not found:
        raise InputError(f"There is no run in {path}; expected a folder with {CONFIG}, or one that holds such folders.")
    yield from sorted(found)


def _bytes(config: Path) -> bytes:
    try:
        return config.read_bytes()
    except OSError:
        return b""


def _settings(config: Mapping[str, Any], name: str, algorithm: Mapping[str, Any]) -> dict[str, Any]:
    """Training settings by dotted names; a setting that came with a later version is at its default."""
    plain = {key: value for key, value in algorithm.items() if key != "name"}
    if name in ALGORITHMS:
        plain = defaults_of(ALGORITHMS[name]) | plain
    found = dict(_flat(plain))
    found |= _flat({key: value for key, value in (SINCE | dict(config)).items() if key not in NOT_SETTINGS}, "plan.")
    return found | {f"plan.{name}": True for name in sorted(SCALES) if config.get(name) is not None}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield _text(f"{prefix}{key}"), _value(value)


def _value(value: Any) -> Any:
    """A setting as it is; numbers beyond what can be drawn become text."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int | float) and not abs(value) < 2**63:
        return str(value)
    return [_value(item) for item in value] if isinstance(value, list) else value


@functools.cache
def _text(text: str) -> str:
    """Text that can be written; what is no character, such as a name that is no UTF-8, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def _finite(found: Iterable[Episode], path: Path) -> tuple[list[Episode], list[str]]:
    """Rows whose outcomes can be averaged."""
    kept, bad = [], 0
    for row in found:
        numbers = [row["return"], *(row[name] or 0.0 for name in ("success", "score", "weight", "condition"))]
        fine = all(map(math.isfinite, numbers)) and 0 <= (row["success"] or 0.0) <= 1
        bad += not fine
        if fine:
            texts = {name: _text(value) for name, value in row.items() if isinstance(value, str)}
            kept.append(cast(Episode, {**row, **texts}))
    sentence = f"{path}: {bad} of {bad + len(kept)} rows are left out, whose outcomes are not finite or no success."
    return kept, [sentence] if bad else []


def _tuning(folder: Path, lost: list[str]) -> Tuning | None:
    """What was spent on tuning, if it was recorded."""
    path = next((place / TUNING for place in (folder, folder.parent) if (place / TUNING).is_file()), None)
    if path is None:
        return None
    try:
        plain = json.loads(path.read_bytes())
        counts = {name: plain.get(name) for name in ("tried", "updates", "episodes")}
        if any(type(n) is not int or n < 0 for name, n in counts.items() if n is not None or name == "tried"):
            raise ValueError
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        reason = files.reason(error) if isinstance(error, OSError) else 'it must hold whole numbers, {"tried": 12}'
        lost.append(f"{path} is left out: {reason}.")
        return None
    return Tuning(**counts)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
