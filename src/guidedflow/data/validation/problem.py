"""What is wrong with a dataset, and where: one sentence each.

A problem is of a kind; the table of kinds says how bad it is, what is expected and what to do. Of a kind only the first
problem of each column is told, with the number of those that follow. This module does not know how a problem is found.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from guidedflow.data.validation.kinds import KINDS, Severity
from guidedflow.results.counts import plural


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: of which kind, where, what was expected and found, and what to do."""

    severity: Severity
    kind: str
    file: str
    column: str | None
    row: int | None
    expected: str
    found: str
    hint: str
    more: int = 0
    """How many others of the kind there are in the column."""

    def __str__(self) -> str:
        where = self.file if self.column is None else f"{self.file}: {self.column!r}"
        row = "" if self.row is None else f", first in row {self.row}"
        more = f", and {self.more} more like it" if self.more else ""
        return f"{where} must {self.expected}, found {self.found}{row}{more}; {self.hint}"

    def plain(self) -> dict[str, Any]:
        """As JSON's own types, with the sentence."""
        return {**asdict(self), "sentence": str(self)}


class Problems:
    """The problems that were found in a dataset, in the order in which they were found."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str | None], Problem] = {}

    def add(
        self,
        kind: str,
        file: Path | str,
        column: str | None = None,
        row: int | np.integer[Any] | None = None,
        *,
        found: str,
        **facts: object,
    ) -> None:
        """One of the table's kinds; `facts` fill in what its sentence leaves open."""
        told = KINDS[kind]
        key = (kind, str(file), column)
        if key in self._found:
            self._found[key] = replace(self._found[key], more=self._found[key].more + 1)
            return
        words = (told.expected.format(**facts), found, told.hint.format(**facts))
        expected, found, hint = (" ".join(word.split()) for word in words)  # a library's words may have several lines
        place = None if row is None else int(row)
        self._found[key] = Problem(told.severity, kind, str(file), column, place, expected, found, hint)

    def __str__(self) -> str:
        """How many there are."""
        return f"{plural(len(self.errors), 'error')}, {plural(len(self.warnings), 'warning')}"

    @property
    def errors(self) -> list[Problem]:
        """What no policy should be trained with."""
        return [problem for problem in self._found.values() if problem.severity == "error"]

    @property
    def warnings(self) -> list[Problem]:
        """What a policy can be trained with, but hardly as meant."""
        return [problem for problem in self._found.values() if problem.severity == "warning"]

    def plain(self, path: str) -> dict[str, Any]:
        """As JSON's own types."""
        return {
            "path": path,
            "errors": [problem.plain() for problem in self.errors],
            "warnings": [problem.plain() for problem in self.warnings],
        }
