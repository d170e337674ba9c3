"""The columns of a file in their parts: numbers of the right shape, flags that agree, observations that follow.

Each column is read once. What is told are rows of the file, so that they can be found in it. This module does not know
of suites, nor what an episode is worth.
"""

import zipfile
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidedflow.data import recording
from guidedflow.data.arrays import Arrays, ColumnError, Oversized
from guidedflow.data.box import TOLERANCE
from guidedflow.data.columns import NONE, Columns
from guidedflow.data.dataset import first_unfinite_row
from guidedflow.data.validation.problem import Problems
from guidedflow.errors import did_you_mean

MATRICES = ("observations", "actions", "next_observations")
FLAGS = ("terminals", "masks", "ends", "last")


@dataclass(frozen=True)
class Roles:
    """Which column is what, and what the source says about episodes."""

    columns: Columns
    of_d4rl: bool = False
    """Whether ends mark time limits alone, and an observation that does not follow ends an episode too."""
    goes_on: bool = False
    """Whether episodes go on after their task ended, as in OGBench's files and D4RL's mazes."""
    clip: bool = False
    """Whether actions outside [-1, 1] will be clipped."""
    others: tuple[str, ...] = ()
    """Further columns that the source needs."""


def check(file: Arrays, roles: Roles, problems: Problems) -> None:
    """Everything about the rows of a file."""
    columns = {role: name for role, name in roles.columns.told().items() if not _is_number(role, name, file)}
    _check_parts(file, columns, problems)
    read = {role: _read(file, role, name, problems) for role, name in columns.items()}
    for name in roles.others:
        _read(file, "others", name, problems)
    found = {role: column for role, column in read.items() if column is not None}
    _check_lengths(file, columns, found, problems)
    if "observations" in found:
        check_observations(file.path, columns["observations"], found["observations"], problems)
    if "actions" in found:
        last = found.get("last", np.zeros(len(found["actions"]), bool)).astype(bool).reshape(-1)
        counted = ~last if len(last) == len(found["actions"]) else np.ones(len(found["actions"]), bool)
        check_bounds(file.path, columns["actions"], found["actions"], problems, counted, roles.clip)
    flags = {role: _flag(file, columns[role], found[role], problems) for role in FLAGS if role in found}
    agreed = {role: flag for role, flag in flags.items() if flag is not None}
    if len({len(flag) for flag in agreed.values()} | {len(column) for column in found.values()}) == 1:
        _check_flags(file, roles, columns, agreed, found.get("episodes"), problems)
        if {"observations", "next_observations"} <= found.keys():
            _check_following(file, roles, columns, agreed, found, problems)


def read(file: Arrays, name: str, problems: Problems) -> NDArray[Any] | None:
    """A column of numbers, or None where it cannot be one; why is told."""
    if name not in file:
        known = [*file.names, *file.left_out]
        found = f"{file.left_out[name]}, which is not read" if name in file.left_out else "nothing of that name"
        names = ", ".join(file.names[:20]) or "no others"
        problems.add("missing-column", file.path, name, found=found, names=names, close=did_you_mean(name, known))
        return None
    try:
        column = file.read(name)
    except ColumnError as error:
        kind, found = _why(error)
        problems.add(kind, file.path, name, found=found)
        return None
    if column.ndim == 0:
        problems.add("scalar-column", file.path, name, found=f"one number, {column[()]}")
        return None
    if not len(column):
        problems.add("no-rows", file.path, name, found=f"the shape {column.shape}")
        return None
    _check_finite(file, name, column, problems)
    return column


def _why(error: ColumnError) -> tuple[str, str]:
    """Which kind of problem a column is that cannot be read, and what was found."""
    cause = error.__cause__
    match cause:
        case None:
            kind = next((kind for kind, sign in _TYPES.items() if error.found.startswith(sign)), "record-column")
            return kind, f"the type {error.found}"
        case Oversized():
            return "oversized-column", str(cause)
        case zlib.error():
            return "bad-checksum", f"damage ({cause})"
        case zipfile.BadZipFile() if "CRC" in str(cause):
            return "bad-checksum", f"damage ({cause})"
        case OSError() if "filter" in str(cause) or "checksum" in str(cause):
            return "bad-checksum", f"damage ({cause})"
        case ValueError() if "Object arrays" in str(cause):
            return "pickled-column", "pickled objects"
        case ValueError() if "different lengths" in str(cause):
            return "ragged-column", "rows of different lengths"
    return "damaged-column", f"damage ({cause})"


_TYPES = {"text-column": ("<U", ">U", "|S", "object", "StringDType"), "complex-column": ("complex",)}


def _is_number(role: str, name: str, file: Arrays) -> bool:
    """Whether a role is played by no column: a reward that every step gets, or `none`."""
    if (role, name) == ("terminals", NONE):
        return True
    try:
        return role == "rewards" and name not in file and float(name) is not None
    except ValueError:
        return False


def _check_parts(file: Arrays, columns: dict[str, str], problems: Problems) -> None:
    """No column plays two parts."""
    played: dict[str, str] = {}
    for role, names in columns.items():
        for name in names.split("+"):
            if name in played:
                problems.add("shared-column", file.path, name, found=f"it as {played[name]} and as {role}")
            played[name] = role


def _read(file: Arrays, role: str, names: str, problems: Problems) -> NDArray[Any] | None:
    """A role's column, or its columns side by side."""
    parts = [read(file, name, problems) for name in names.split("+")]
    whole = [part for part in parts if part is not None]
    if len(whole) < len(parts):
        return None
    whole = [part[:, None] if part.ndim == 1 and role in MATRICES else part for part in whole]
    if len(whole) > 1:
        for name, part in zip(names.split("+"), whole, strict=True):
            if part.ndim != 2:
                problems.add("wrong-rank", file.path, name, found=f"{part.shape}", shape="rows, numbers")
                return None
            if len(part) != len(whole[0]):
                first = names.split("+")[0]
                problems.add("wrong-length", file.path, name, found=f"{len(part)}", rows=len(whole[0]), first=first)
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
            problems.add("nan", file.path, name, row, found=f"NaN in {int(np.isnan(rows).any(1).sum())} rows")
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
    """Whether observations are vectors, or images as (height, width, channels)."""
    shape = column.shape[1:]
    if len(shape) == 3 and column.dtype.kind == "f":
        most = float(column.max())
        problems.add("float-images", path, name, found=f"{column.dtype} up to {most:.4g} of shape {shape}")
    elif len(shape) == 3 and shape[0] in (1, 3, 4) and shape[2] > 12:
        problems.add("channels-first", path, name, found=f"(channels, height, width): {shape}")
    elif len(shape) == 2 and column.dtype == np.uint8:
        problems.add("no-channels", path, name, found=f"the shape {shape}")
    elif len(shape) == 3 and not any(shape[2] % channels == 0 for channels in (3, 4)) and shape[2] != 1:
        problems.add("odd-channels", path, name, found=f"{shape[2]} channels")
    elif len(shape) not in (1, 3):
        problems.add("deep-observations", path, name, found=f"the shape {column.shape}")
    elif len(shape) == 1 and column.dtype == np.uint8:
        problems.add("byte-vectors", path, name, found=f"uint8 of shape {shape}")


def check_bounds(
    path: Any,
    name: str,
    actions: NDArray[Any],
    problems: Problems,
    counted: NDArray[np.bool_],
    clip: bool = False,
) -> None:
    """Whether actions lie in [-1, 1] wherever they count, and whether clipping would leave anything."""
    if actions.dtype.kind in "iu" and actions.size:
        problems.add("whole-actions", path, name, found=f"{actions.dtype} from {actions.min()} to {actions.max()}")
    wrong = (np.abs(actions.astype(np.float32, copy=False)) > 1 + TOLERANCE) & counted[:, None]
    if not wrong.any():
        return
    never = np.flatnonzero(wrong.sum(0) == np.count_nonzero(counted))
    if never.size:
        found = f"only numbers outside in dimension {', '.join(map(str, never[:8]))}"
        problems.add("actions-never-inside", path, name, int(np.argmax(wrong.any(1))), found=found)
        return
    if clip:
        return
    share, row = 100 * wrong.sum() / (np.count_nonzero(counted) * actions.shape[1]), int(np.argmax(wrong.any(1)))
    largest = float(np.abs(actions[wrong]).max())
    problems.add("actions-outside", path, name, row, found=f"{share:.2g} % of the numbers outside, up to {largest:.4g}")


def _flag(file: Arrays, name: str, column: NDArray[Any], problems: Problems) -> NDArray[np.bool_] | None:
    flag = column.astype(bool)
    wrong = np.flatnonzero(flag != column)
    if wrong.size:
        problems.add("flag-values", file.path, name, wrong[0], found=f"{column[wrong[0]]}")
        return None
    return flag


def _check_flags(
    file: Arrays,
    roles: Roles,
    columns: dict[str, str],
    flags: dict[str, NDArray[np.bool_]],
    episodes: NDArray[Any] | None,
    problems: Problems,
) -> None:
    """Whether what says where tasks and episodes end is said at all, and agrees."""

    def tell(kind: str, role: str, rows: NDArray[np.intp], found: str, **facts: object) -> None:
        if rows.size:
            problems.add(kind, file.path, columns[role], rows[0], found=found, **facts)

    path, none = file.path, np.zeros(len(next(iter(flags.values()), [])), bool)
    ends, last = flags.get("ends"), flags.get("last")
    terminals = flags.get("terminals", none)
    for role, flag in flags.items():
        share = float(flag.mean())
        if role == "last":
            if share == 0:
                problems.add("never-ends", path, columns[role], found=f"0 in all {len(flag)} rows")
            elif not flag[-1]:
                problems.add("cut-off-episode", path, columns[role], len(flag) - 1, found="0")
        elif share == 0 and role == "masks":
            problems.add("always-set", path, columns[role], found="0 in all rows: nothing is bootstrapped")
        elif share == 0 and not (role == "ends" and terminals.any()) and role != "masks":
            problems.add("never-set", path, columns[role], found=f"0 in all {len(flag)} rows")
        elif share == 1 and role != "masks":
            problems.add("always-set", path, columns[role], found="1 in all rows")
        elif role == "masks" and share < 0.5:
            problems.add("masks-inverted", path, columns[role], found=f"0 in {100 * (1 - share):.0f} % of the rows")
        elif role == "terminals" and share > 0.5 and not roles.goes_on:
            problems.add("inverted", path, columns[role], found=f"1 in {100 * share:.0f} % of the rows")
        elif role != "masks" and not roles.goes_on:
            tell("double-end", role, np.flatnonzero(flag[1:] & flag[:-1]), "1 in the row after it too")
    ended = flags["masks"] == 0 if "masks" in flags else terminals
    if ends is not None:
        told = columns.get("terminals", "")
        if not roles.goes_on and not roles.of_d4rl:
            tell("terminal-without-end", "ends", np.flatnonzero(terminals & ~ends), "0", terminals=told)
        if roles.of_d4rl:
            tell("both-ends", "ends", np.flatnonzero(terminals & ends), "1 in both", terminals=told)
        if not (ends | terminals)[-1]:
            problems.add("unfinished", path, columns["ends"], len(ends) - 1, found="0")
        if "masks" in flags and not roles.goes_on:
            tell("mask-without-end", "masks", np.flatnonzero(ended[:-1] & ~ends[:-1]), "0 where no episode ends")
    if last is not None and not roles.goes_on:
        inner = np.flatnonzero(ended[:-1] & ~last[:-1] & ~last[1:])
        tell("mask-without-end", "masks", inner, "0 where no episode ends")
    if episodes is not None:
        change = episodes[1:] != episodes[:-1]
        if len(np.unique(episodes)) != 1 + np.count_nonzero(change):
            begins = np.flatnonzero(change) + 1
            seen, row = {episodes[0]}, 0
            for row in begins.tolist():
                if episodes[row] in seen:
                    break
                seen.add(episodes[row])
            problems.add("number-returns", path, columns["episodes"], row, found=f"{episodes[row]} again")
        if ends is not None:
            differ = np.flatnonzero(change != ends[:-1])
            tell("end-inside", "ends", differ, "another end", episodes=columns["episodes"])


def _check_following(
    file: Arrays,
    roles: Roles,
    columns: dict[str, str],
    flags: dict[str, NDArray[np.bool_]],
    found: dict[str, NDArray[Any]],
    problems: Problems,
) -> None:
    """Whether the observation after a step is that of the following row."""
    name, path, observations = columns["next_observations"], file.path, found["observations"]
    following, named = found["next_observations"], columns["observations"]
    if following.shape != observations.shape:
        problems.add("next-shape", path, name, found=f"{following.shape}", observations=named)
        return
    if np.array_equal(following, observations) and not np.array_equal(observations[1:], observations[:-1]):
        problems.add("next-repeats", path, name, found="the same in all rows", observations=named)
        return
    ended = np.zeros(len(observations), bool)
    for role in ("terminals", "ends"):
        ended |= flags.get(role, False)
    if "episodes" in found:
        ended[:-1] |= found["episodes"][1:] != found["episodes"][:-1]
    ended[-1] = True
    with np.errstate(all="ignore"):  # NaN and infinity are told elsewhere
        jumps = np.flatnonzero(recording.jumps(observations, following) & ~ended)
    if not jumps.size:
        return
    told = f"another one in {jumps.size} rows"
    if roles.of_d4rl:
        role = "ends" if "ends" in columns else "terminals"
        problems.add("unmarked-jump", path, columns[role], jumps[0], found=f"0 in {jumps.size} such rows")
    else:
        problems.add("next-differs", path, name, jumps[0], found=told, observations=named)
