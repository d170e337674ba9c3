"""OGBench's second file, and its large sets in slices: of one dataset, none of them twice.

Two files are compared by the headers and checksums in their directories, so that nothing is read for it. This module
does not know what is in a column.
"""

import re
from pathlib import Path
from typing import Any

from guidedflow.data.formats.npz import NpzArrays
from guidedflow.data.validation import container
from guidedflow.data.validation.problem import Problems
from guidedflow.errors import InputError

_SLICE = re.compile(r".+-(\d{3})\.npz")


def slices(folder: Path) -> list[Path]:
    """The training files of a dataset in slices, NAME-000.npz and so on."""
    found = sorted(folder.glob("*-[0-9][0-9][0-9].npz")) if folder.is_dir() else []
    return [path for path in found if _SLICE.fullmatch(path.name)]


def check_slices(paths: list[Path], problems: Problems) -> None:
    """Whether slices are of one dataset, none of them twice and none missing."""
    numbers = [int(path.stem.rpartition("-")[2]) for path in paths]
    if gaps := sorted(set(range(numbers[-1] + 1)) - set(numbers)):
        problems.add("slice-missing", paths[0].parent, found=f"{len(gaps)} gaps, the first at number {gaps[0]:03d}")
    first, seen = None, dict[object, Path]()
    for path in paths:
        if not container.look(path, problems) or (found := _directory(path)) is None:
            continue
        headers, contents = found
        first = headers if first is None else first
        if headers != first:
            problems.add("slice-differs", path, found=_difference(first, headers))
        if contents in seen:
            problems.add("slice-repeats", path, found=f"the same checksums as in {seen[contents].name}")
        seen.setdefault(contents, path)


def check_validation(path: Path, problems: Problems) -> None:
    """Whether OGBench's validation file stands beside its training file, and is another of the same dataset."""
    if path.stem.endswith("-val"):
        return
    other = path.with_name(f"{path.stem}-val.npz")
    if not other.exists():
        problems.add("no-validation", path, found=f"no {other.name}")
        return
    train, validation = _directory(path), _directory(other) if container.look(other, problems) else None
    if train is None or validation is None:
        return
    if train[0] != validation[0]:
        problems.add("validation-differs", other, found=_difference(train[0], validation[0]))
    elif train[1] == validation[1]:
        problems.add("validation-repeats", other, found="the same checksums")


def _directory(path: Path) -> tuple[dict[str, Any], object] | None:
    """Types and shapes of rows, and checksums, of the arrays of an npz file; None where it is damaged."""
    try:
        with NpzArrays(path) as archive:
            headers = {name: archive.header(name) for name in archive.names}
            return {name: (shape[1:], dtype.str) for name, (shape, dtype) in headers.items()}, archive.checksums
    except InputError:
        return None


def _difference(first: dict[str, Any], second: dict[str, Any]) -> str:
    """The first column in which two files are not of one kind."""
    for name in sorted(first.keys() | second.keys()):
        if first.get(name) != second.get(name):
            here, there = (f"{name} {found.get(name, 'missing')}" for found in (second, first))
            return f"{here}, there {there}"
    return "the same"
