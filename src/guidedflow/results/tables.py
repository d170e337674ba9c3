"""Tables of what runs did, for the terminal and in Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


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
        made.add_column(header, justify="left" if i == 0 else "right")
    for row in rows:
        made.add_row(*row)
    return made


def markdown(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The same table in Markdown."""
    lines = [headers, ["---"] + ["---:"] * (len(headers) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _told(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
