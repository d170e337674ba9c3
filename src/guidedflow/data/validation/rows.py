"""The columns of a file in their parts: numbers, of the right shape and equally long, actions in the box.

Each column is read once. What is told are rows of the file, so that they can be found in it. What the flags say is left
to `flags`. This module does not know of suites, nor what an episode is worth.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidedflow.data import observations
from guidedflow.data.actions import Outside
from guidedflow.data.dataset import TOLERANCE, first_unfinite_row
from guidedflow.data.formats.arrays import Arrays, ColumnError, Fault
from guidedflow.data.formats.columns import INDEPENDENT, NONE, Roles
from guidedflow.data.formats.own import episode_stops, in_parts, is_mixed, joined
from guidedflow.data.validation.flags import Ends, flag_of
from guidedflow.data.validation.problem import Problems
from guidedflow.errors import did_you_mean
from guidedflow.packing import unpacked
from guidedflow.results.counts import plural

MATRICES = ("observations", "actions", "next_observations", "goals")
UNSCALED = 5
"""From this deviation or offset on, networks that start near 1 learn slowly."""

FLAGS = ("terminals", "masks", "ends", "last")


def check(
    file: Arrays, roles: Roles, problems: Problems, outside: Outside = Outside.refused, scanned: bool = False
) -> None:
    """Everything about the rows of a file; `outside` says what will become of actions outside [-1, 1].

    With `scanned`, a dataset has been made of them, so that all numbers are known to be finite.
    """
    columns = {role: name for role, name in roles.columns.told().items() if not _is_number(role, name, file)}
    _check_parts(file, columns, problems)
    stops = columns.pop("episode_ends", None)
    read = {role: _read(file, role, name, problems, scanned) for role, name in columns.items()}
    for name in roles.others:
        _read(file, "others", name, problems, scanned)
    found = {role: column for role, column in read.items() if column is not None}
    _check_lengths(file, columns, found, problems)
    if "observations" in found:
        check_observations(file.path, columns["observations"], found["observations"], problems)
    if "actions" in found:
        last = found.get("last", np.zeros(len(found["actions"]), bool)).astype(bool).reshape(-1)
        counted = ~last if len(last) == len(found["actions"]) else np.ones(len(found["actions"]), bool)
        check_bounds(file.path, columns["actions"], found["actions"], problems, counted, outside)
    flags = {role: flag_of(file.path, columns[role], found[role], problems) for role in FLAGS if role in found}
    agreed = {role: flag for role, flag in flags.items() if flag is not None}
    if len({len(column) for column in found.values()}) != 1:
        return
    rows = len(next(iter(found.values())))
    if stops is not None and (ended := _stops(file, stops, rows, problems)) is not None:
        columns["ends"], agreed["ends"] = columns.get("ends", stops), agreed.get("ends", ended) | ended
    Ends(file.path, roles, columns, agreed, rows, problems).check(found)


def _stops(file: Arrays, name: str, rows: int, problems: Problems) -> NDArray[np.bool_] | None:
    """The last steps that a list of ends says, as flags; None where it is no such list."""
    if name not in file:
        return None if read(file, name, problems) is None else np.zeros(rows, bool)
    try:
        return episode_stops(file, name, rows)
    except ColumnError as error:
        problems.add("episode-ends", file.path, name, found=error.found, rows=rows)
        return None


def read(
    file: Arrays, name: str, problems: Problems, scanned: bool = False, labels: bool = False
) -> NDArray[Any] | None:
    """A column of numbers (or of words, if they are `labels`), or None where it cannot be one; why is told."""
    if name not in file:
        known = [*file.names, *file.left_out]
        left_out = file.left_out.get(name)
        found = "nothing of that name" if left_out is None else f"{left_out.words}, which is not read"
        names = ", ".join(file.names[:20]) or "no others"
        problems.add("missing-column", file.path, name, found=found, names=names, close=did_you_mean(name, known))
        return None
    try:
        column = file.labels(name) if labels else file.read(name)
    except ColumnError as error:
        found = error.found.removesuffix("; get the file again")
        kind = _FAULTS.get(error.fault, "misshapen")
        problems.add(kind, file.path, name, found=found, wanted=error.expected)
        return None
    if column.ndim == 0:
        problems.add("scalar-column", file.path, name, found=f"one number, {column[()]}")
        return None
    if not column.size:
        problems.add("no-rows", file.path, name, found=f"the shape {column.shape}")
        return None
    if not scanned:
        _check_finite(file, name, column, problems)
    return column


_FAULTS: dict[Fault, str] = {
    "pickled": "pickled-column",
    "text": "text-column",
    "complex": "complex-column",
    "record": "record-column",
    "ragged": "ragged-column",
    "checksum": "bad-checksum",
    "filter": "missing-filter",
    "oversized": "oversized-column",
    "damaged": "damaged-column",
    "frames": "frame-differs",
}
"""The kinds of problems that columns are which cannot be read."""


def _is_number(role: str, name: str, file: Arrays) -> bool:
    """Whether a role is played by no column: a reward that every step gets, a size, or a word such as `none`."""
    if role == "resize":
        return True
    if name in file:
        return False
    if role in ("terminals", "transitions"):
        return name in (NONE, INDEPENDENT)
    try:
        return role == "rewards" and float(name) is not None
    except ValueError:
        return False


_TWO_PARTS = ({"rewards", "terminals"}, {"rewards", "ends"}, {"observations", "goals"})


def _check_parts(file: Arrays, columns: dict[str, str], problems: Problems) -> None:
    """No column plays two parts, but for weights, a success that is also a reward, and observations that are goals."""
    played: dict[str, str] = {}
    for role, names in columns.items():
        for name in joined(file, names):
            if name in played and role != "weights" and {role, played[name]} not in _TWO_PARTS:
                problems.add("shared-column", file.path, name, found=f"it as {played[name]} and as {role}")
            played[name] = role


def _read(file: Arrays, role: str, names: str, problems: Problems, scanned: bool) -> NDArray[Any] | None:
    """A role's column, or its columns side by side."""
    called = joined(file, names)
    parts = [read(file, name, problems, scanned, role == "episodes") for name in called]
    whole = [part for part in parts if part is not None]
    if len(whole) < len(parts):
        return None
    whole = [part[:, None] if part.ndim == 1 and role in MATRICES else part for part in whole]
    if role in ("observations", "next_observations") and is_mixed(whole):
        return in_parts(file, called, whole) if len({len(part) for part in whole}) == 1 else whole[0]
    if len(whole) > 1:
        for name, part in zip(called, whole, strict=True):
            if part.ndim != 2:
                problems.add("wrong-rank", file.path, name, found=f"{part.shape}", shape="rows, numbers")
                return None
            if len(part) != len(whole[0]):
                problems.add("wrong-length", file.path, name, found=f"{len(part)}", rows=len(whole[0]), first=called[0])
                return None
        return np.concatenate(whole, axis=1)
    column = whole[0]
    if role == "actions" and column.ndim != 2:
        problems.add("wrong-rank", file.path, names, found=f"{column.shape}", shape="rows, numbers")
        return None
    if role not in (*MATRICES, "others"):
        column = column[:, 0] if column.ndim == 2 and column.shape[1] == 1 else column
        if column.ndim != 1:
            problems.add("wrong-rank", file.path, names, found=f"{column.shape}", shape="rows,")
            return None
    return column


def _check_finite(file: Arrays, name: str, column: NDArray[Any], problems: Problems) -> None:
    """NaN, infinity, and numbers that float32 cannot hold."""
    if column.dtype.kind != "f":
        return
    if (row := first_unfinite_row(column)) is not None:
        rows = column.reshape(len(column), -1)
        if np.isnan(rows[row]).any():
            count = int(np.isnan(rows).any(1).sum())
            problems.add("nan", file.path, name, row, found=f"NaN in {plural(count, 'row')}")
        else:
            problems.add("infinite", file.path, name, row, found=f"{rows[row][np.isinf(rows[row])][0]}")
    elif column.dtype.itemsize > 4:
        limit = np.finfo(np.float32).max
        if column.size and (column.max() > limit or column.min() < -limit):
            row = int(np.argmax((np.abs(column) > limit).reshape(len(column), -1).any(1)))
            problems.add("overflow", file.path, name, row, found=f"{np.abs(column[row]).max():.4g}")


def _check_lengths(file: Arrays, columns: dict[str, str], found: dict[str, NDArray[Any]], problems: Problems) -> None:
    first = next((role for role in ("observations", *found) if role in found), None)
    for role, column in found.items():
        if len(column) != len(found[str(first)]):
            rows, name = len(found[str(first)]), columns[str(first)]
            problems.add("wrong-length", file.path, columns[role], found=f"{len(column)}", rows=rows, first=name)


def check_observations(path: Any, name: str, column: NDArray[Any], problems: Problems) -> None:
    """Whether observations are vectors, or images as (height, width, channels); also each of several parts."""
    if column.dtype.names is not None:
        for part, own in unpacked(column).items():
            check_observations(path, part, own, problems)
        return
    shape, found = column.shape[1:], observations.fault(column.shape[1:], column.dtype)
    match found:
        case "float-images":
            most = float(column.max())
            problems.add(found, path, name, found=f"{column.dtype} up to {most:.4g} of shape {shape}")
        case "channels-first":
            problems.add(found, path, name, found=f"(channels, height, width): {shape}")
        case "no-channels":
            problems.add(found, path, name, found=f"the shape {shape}")
        case "deep-observations":
            problems.add(found, path, name, found=f"the shape {column.shape}")
        case "byte-vectors":
            problems.add(found, path, name, found=f"uint8 of shape {shape}")
        case None if len(shape) == 3 and shape[2] != 1 and all(shape[2] % channels for channels in (3, 4)):
            problems.add("odd-channels", path, name, found=f"{shape[2]} channels")


def check_scale(file: Arrays, names: str, problems: Problems) -> None:
    """Whether numbers of observations are of the size that networks start with."""
    far = []
    for name in joined(file, names):
        column = file.read(name)
        if column.dtype == np.uint8 or column.ndim > 2:
            continue
        wide = column.reshape(len(column), -1).astype(np.float64)
        large = (np.abs(wide.mean(0)) >= UNSCALED) | (wide.std(0) >= UNSCALED)
        far += [f"{name}[{index}]" if wide.shape[1] > 1 else name for index in np.flatnonzero(large)]
    if far:
        found = f"more in {', '.join(far[:8])}{f' and {len(far) - 8} others' if len(far) > 8 else ''}"
        problems.add("unscaled-observation", file.path, names, found=found, limit=UNSCALED)


def check_bounds(
    path: Any,
    name: str,
    actions: NDArray[Any],
    problems: Problems,
    counted: NDArray[np.bool_],
    outside: Outside = Outside.refused,
) -> None:
    """Whether actions lie in [-1, 1] wherever they count, and whether clipping would leave anything."""
    if actions.dtype.kind in "iu" and actions.size:
        problems.add("whole-actions", path, name, found=f"{actions.dtype} from {actions.min()} to {actions.max()}")
    wrong = (np.abs(actions.astype(np.float32, copy=False)) > 1 + TOLERANCE) & counted[:, None]
    if not wrong.any() or outside is Outside.rescaled:
        return
    never = np.flatnonzero(wrong.sum(0) == np.count_nonzero(counted))
    if never.size:
        found = f"only numbers outside in dimension {', '.join(map(str, never[:8]))}"
        problems.add("actions-never-inside", path, name, int(np.argmax(wrong.any(1))), found=found)
        return
    if outside is Outside.clipped:
        return
    share, row = 100 * wrong.sum() / (np.count_nonzero(counted) * actions.shape[1]), int(np.argmax(wrong.any(1)))
    largest = float(np.abs(actions[wrong]).max())
    problems.add("actions-outside", path, name, row, found=f"{share:.2g} % of the numbers outside, up to {largest:.4g}")
