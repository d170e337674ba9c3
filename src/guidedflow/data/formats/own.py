"""Data of your own: what an open file recorded, whose columns are named.

This module does not know how names are given or kept, nor which task is learned.
"""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidedflow.data import observations as kinds
from guidedflow.data.formats import recording
from guidedflow.data.formats.arrays import Arrays
from guidedflow.data.formats.columns import NONE, Columns, check_told
from guidedflow.data.formats.episode_files import natural
from guidedflow.data.formats.recording import Recording
from guidedflow.packing import pack, shape_of

_RANGE = re.compile(r"(.*)\{(\d+)\.\.(\d+)\}(.*)")


def record(file: Arrays, columns: Columns) -> Recording:
    """What an open file recorded. Raises `InputError` for names that are missing or do not fit each other."""
    check_told(file, columns)
    observations = seen(file, columns.observations or "")
    rows = len(observations)
    actions = _rows(file, columns.actions or "", matrix(file, columns.actions or ""), rows)
    terminals = np.zeros(rows, bool)
    if columns.terminals not in (None, NONE):
        terminals = flags(file, str(columns.terminals), rows)
    masks = 1 - terminals.astype(np.float32)
    if columns.masks is not None:
        masks = flags(file, columns.masks, rows).astype(np.float32)
    goals = weights = final = None
    if columns.weights is not None:
        weights = vector(file, columns.weights, rows).astype(np.float32, copy=False)
    if columns.goals is not None:
        told = columns.goals == columns.observations
        goals = observations if told else _rows(file, columns.goals, matrix(file, columns.goals), rows)
    if columns.last is not None:
        ends = final = flags(file, columns.last, rows)
        if not ends[-1]:
            raise file.complaint(columns.last, "be 1 in the final row", "0, so the last episode is cut off")
    else:
        ends = _ends(file, columns, terminals)
    following = None
    if columns.next_observations is not None:
        following = _rows(file, columns.next_observations, seen(file, columns.next_observations), rows)
        wanted, found = (shape_of(column.shape, column.dtype) for column in (observations, following))
        if wanted != found:
            raise file.complaint(columns.next_observations, f"have the shape {wanted}", f"{found}")
        ends = np.ones(rows, bool) if columns.transitions else ends | recording.jumps(observations, following)
    rewards = _rewards(file, columns.rewards or "0", rows)
    return Recording(observations, actions, rewards, masks, ends, following, final, weights, goals)


def joined(file: Arrays, name: str) -> list[str]:
    """The columns that a name stands for: itself, those that it joins by + , a range of numbers, or all that match."""
    if name in file:
        return [name]
    return [column for part in name.split("+") for column in _matching(file, part)]


def seen(file: Arrays, name: str) -> NDArray[Any]:
    """The columns of observations: side by side or, where there is an image beside others, each as a part."""
    names = joined(file, name)
    parts = [file.read(part) for part in names]
    return in_parts(file, names, parts) if is_mixed(parts) else matrix(file, name)


def is_mixed(parts: Sequence[NDArray[Any]]) -> bool:
    """Whether there is an image beside other columns."""
    return len(parts) > 1 and any(part.ndim == 4 for part in parts)


def in_parts(file: Arrays, names: Sequence[str], columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Columns as the parts of one observation, each under the last word of its name where that tells it apart.

    Raises `InputError` for columns that no network takes, or of other lengths.
    """
    short = [name.rpartition("/")[2] for name in names]
    called = short if len(set(short)) == len(short) else list(names)
    found = {}
    for name, part, column in zip(names, called, columns, strict=True):
        column = column[:, None] if column.ndim == 1 else column
        if len(column) != len(columns[0]) or not column.size:
            raise file.complaint(name, f"have {len(columns[0])} rows as {names[0]!r} has", f"{column.shape}")
        if kinds.fault(column.shape[1:], column.dtype) is not None:
            wanted = "be numbers, (rows, numbers), or images in bytes, uint8 of (rows, height, width, channels)"
            raise file.complaint(name, wanted, f"{column.dtype} of {column.shape}")
        found[part] = column
    return pack(found)


def matrix(file: Arrays, name: str) -> NDArray[Any]:
    """One column or several side by side, as (rows, numbers), images as they are."""
    names = joined(file, name)
    parts = [file.read(part) for part in names]
    parts = [part[:, None] if part.ndim == 1 else part for part in parts]
    for part, called in zip(parts, names, strict=True):
        if part.ndim < 2 or len(part) != len(parts[0]) or not part.size or (len(parts) > 1 and part.ndim != 2):
            raise file.complaint(called, f"have the shape ({len(parts[0]) or 'rows'}, numbers)", f"{part.shape}")
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def vector(file: Arrays, name: str, rows: int) -> NDArray[Any]:
    """A number a row."""
    column = file.read(name)
    if column.ndim == 2 and column.shape[1] == 1:
        column = column[:, 0]
    if column.ndim != 1:
        raise file.complaint(name, "have one number a row", f"the shape {column.shape}")
    return _rows(file, name, column, rows)


def flags(file: Arrays, name: str, rows: int) -> NDArray[np.bool_]:
    """A column of 0 and 1."""
    column = vector(file, name, rows)
    found = column.astype(bool)
    if (wrong := np.flatnonzero(found != column)).size:
        raise file.complaint(name, "be 0 or 1", f"{column[wrong[0]]} in row {wrong[0]}")
    return found


def episode_stops(file: Arrays, name: str, rows: int) -> NDArray[np.bool_]:
    """The last step of each episode, of a column that counts the rows up to there."""
    stops, ends = file.read(name), np.zeros(rows, bool)
    whole = stops.ndim == 1 and stops.dtype.kind in "iu" and bool(len(stops))
    if not whole or stops[0] < 1 or (np.diff(stops.astype(np.int64)) <= 0).any() or stops[-1] != rows:
        found = f"{stops.dtype}{list(stops.shape)}{f' up to {stops.max()}' if stops.size else ''}"
        raise file.complaint(name, f"be whole numbers that ascend to {rows}, the rows", found)
    ends[stops.astype(np.int64) - 1] = True
    return ends


def _matching(file: Arrays, name: str) -> list[str]:
    """The columns that one part of a name stands for; the part itself, if there is none."""
    if name in file:
        return [name]
    if found := _RANGE.fullmatch(name):
        before, first, last, after = found.groups()
        width = len(first) if first.startswith("0") and len(first) == len(last) else 0
        return [f"{before}{number:0{width}d}{after}" for number in range(int(first), int(last) + 1)]
    if not set("*?[") & set(name):
        return [name]
    return sorted((each for each in file.names if fnmatchcase(each, name)), key=natural) or [name]


def _ends(file: Arrays, columns: Columns, terminals: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The last step of each episode, as flags, numbers, words or a list of ends say."""
    rows, ends = len(terminals), terminals.copy()
    ends[-1] = True
    if columns.ends is not None:
        ends |= flags(file, columns.ends, rows)
    if columns.episodes is not None:
        label = _rows(file, columns.episodes, file.labels(columns.episodes).reshape(-1), rows)
        ends[:-1] |= label[1:] != label[:-1]
    if columns.episode_ends is not None:
        ends |= episode_stops(file, columns.episode_ends, rows)
    return ends


def _rows(file: Arrays, name: str, column: NDArray[Any], rows: int) -> NDArray[Any]:
    if len(column) != rows:
        raise file.complaint(name, f"have {rows} rows as the observations have", str(len(column)))
    return column


def _rewards(file: Arrays, name: str, rows: int) -> NDArray[Any]:
    if name not in file:
        try:
            return np.full(rows, float(name), np.float32)
        except ValueError:
            pass  # not a number, so that it is the name of a column that is missing
    return vector(file, name, rows).astype(np.float32, copy=False)
