"""Tables of what runs did, for the terminal and in Markdown."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from guidedflow.results.intervals import safe_cell

MISSING = "–"
"""What stands where nothing was measured."""


@dataclass(frozen=True)
class Shown:
    """A cell of a table: its text, a second line, what it is sorted by, and why it is marked, if it is."""

    text: str
    small: str = ""
    sort: float | str | None = None
    mark: str = ""

    def __str__(self) -> str:
        return self.text + ("†" if self.mark else "") + (f" {self.small}" if self.small else "")


@dataclass(frozen=True)
class Sheet:
    """A table as plain data. The first column is text; `published` are the numbers of rows that were not run here."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Shown]]
    note: str = ""
    published: frozenset[int] = frozenset()

    def markdown(self) -> str:
        """In Markdown, with its title and note."""
        told = markdown(_one_line(self.headers), [_one_line(map(str, row)) for row in self.rows])
        return f"## {_one_line([self.title])[0]}\n\n{told}" + (f"\n{self.note}\n" if self.note else "")

    def latex(self) -> str:
        """A `tabular` of the package booktabs, in a table with its title as the caption."""
        lines = [" & ".join(map(_tex, self.headers)), *(" & ".join(_tex(str(c)) for c in row) for row in self.rows)]
        head, *body = [f"    {line} \\\\" for line in lines]
        columns = "l" + "r" * (len(self.headers) - 1)
        return "\n".join(
            [
                "\\begin{table}",
                f"  \\caption{{{_tex(self.title)}. {_tex(self.note)}}}",
                f"  \\begin{{tabular}}{{{columns}}}",
                *("    \\toprule", head, "    \\midrule", *body, "    \\bottomrule"),
                *("  \\end{tabular}", "\\end{table}", ""),
            ]
        )


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for each row under the names of the first; None is empty, and no spreadsheet takes text for a formula."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines.writerow(map(safe_cell, names))
    lines.writerows([safe_cell("" if row.get(name) is None else row[name]) for name in names] for row in rows)
    return text.getvalue()


def print_summary(summary: Mapping[str, Any], console: Console) -> None:
    """An evaluation's summary, a line for each entry that says something."""
    for name, value in summary.items():
        items = value if isinstance(value, list) else [value]
        if any(item is not None for item in items):
            told = "  ".join(_told(item) for item in items)
            console.print(f"{name:>15}  {told}", markup=False, highlight=False, soft_wrap=True)


def selection_table(selection: Mapping[str, Any], by: str) -> Table:
    """What was measured at each weight, the chosen one marked; `by` is episodes or dataset."""
    names = [name for name in selection["curve"][0] if name != "weight"]
    rows = [
        [
            f"{row['weight']:g}",
            *(_told(row[name]) for name in names),
            "<-" if row["weight"] == selection["chosen"] else "",
        ]
        for row in selection["curve"]
    ]
    return table(
        ["weight", *names, ""],
        rows,
        "chosen on episodes of their own" if by == "episodes" else "chosen from the dataset alone",
    )


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], title: str) -> Table:
    """A table for the terminal; the first column is text, the others are numbers."""
    made = Table(title=title, title_justify="left")
    for i, header in enumerate(headers):
        made.add_column(header, justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def markdown(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The same table in Markdown."""
    lines = [headers, ["---"] + ["---:"] * (len(headers) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _told(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _one_line(cells: Iterable[str]) -> list[str]:
    """Cells on one line each, in which Markdown sees no markup, no link and no end of the cell."""
    escaped = (re.sub(r"([\\\\|`*_]|(?<=\])\()", r"\\\1", cell).replace("<", "&lt;") for cell in cells)
    return [" ".join(cell.split()) for cell in escaped]


_TEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{
        "[": "{[}",
        "]": "{]}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
        "±": r"$\pm$",
    },
    **{"×": r"$\times$", "–": "--", "†": r"$^\dagger$", "−": "$-$", "<": r"\textless{}", ">": r"\textgreater{}"},
}


def _tex(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in " ".join(text.split()))
