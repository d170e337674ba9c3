"""What a study found: plain rows, of which the table shows the single numbers and the picture whatever it needs.

A study is a frozen dataclass of settings with `measure`, which computes a `Finding`, and `draw`, which makes a picture
of one. This module does not know what was studied.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from rich.table import Table

from guidedflow.errors import InputError
from guidedflow.results import tables
from guidedflow.settings import check_ranges

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """Rows that share their keys, and what holds for all of them; both are JSON's own types."""

    title: str
    rows: Sequence[Row]
    notes: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """For JSON: title, notes and rows."""
        return {"title": self.title, **self.notes, "rows": [dict(row) for row in self.rows]}

    def table(self) -> Table:
        """A line a row; entries that are lists are left to JSON and to the picture."""
        names = [name for name, value in self.rows[0].items() if not isinstance(value, list)]
        return tables.table(names, [[_told(row[name]) for name in names] for row in self.rows], self.title)

    def of(self, **wanted: Any) -> list[Row]:
        """The rows with these entries."""
        return [row for row in self.rows if wanted.items() <= row.items()]

    def column(self, name: str) -> list[Any]:
        """The different entries of a column, in their order."""
        return list(dict.fromkeys(row[name] for row in self.rows))


def check(study: Any, **ranges: tuple[float, float]) -> None:
    """Raises `InputError` for a setting outside its range, and for a list with nothing in it."""
    for each in fields(study):
        if getattr(study, each.name) == ():
            raise InputError(f"{each.name.replace('_', '-')} must have at least one value.")
    check_ranges(study, **ranges)


def _told(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "<-" if value else ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
