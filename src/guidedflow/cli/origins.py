"""Settings with where each came from: its default, a recipe, the run that goes on, or what was typed.

This module does not know which settings there are.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from guidedflow.recipes import in_words
from guidedflow.settings import to_plain


@dataclass(frozen=True)
class Origins:
    """Where the settings of a command came from, beside their defaults."""

    typed: Collection[str] = ()
    """Names of the settings that were typed, now or when a run that goes on was begun."""
    others: Mapping[str, str] | None = None
    """Names of settings that something else gave, and what."""
    now: Collection[str] = ()
    """Names of the settings that were typed now."""

    def of(self, name: str) -> str:
        """Where a setting came from, in words."""
        if name in self.now:
            return "typed"
        return (self.others or {}).get(name, "default")


def listing(groups: Mapping[str, Mapping[str, Any]], origins: Origins) -> str:
    """A line for each setting: its flag, its value and where that came from, under the name of its group."""
    rows = {group: [(flag(name), told(value), origins.of(name)) for name, value in flat(values)]
            for group, values in groups.items()}  # fmt: skip
    every = [row for group in rows.values() for row in group]
    widths = [max(len(row[column]) for row in every) for column in (0, 1)]
    lines = []
    for group, found in rows.items():
        lines.append(f"{group}:")
        lines += [f"  {name:<{widths[0]}}  {value:<{widths[1]}}  {origin}" for name, value, origin in found]
    return "\n".join(lines)


def names(*settings: Any) -> list[str]:
    """Names of settings, those that are grouped beside the others."""
    return [name for each in settings for name, _ in flat(to_plain(each))]


def flat(plain: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Settings by the names of their flags; those that are grouped stand beside the others."""
    for name, value in plain.items():
        yield from flat(value) if isinstance(value, dict) else [(name, value)]


def flag(name: str) -> str:
    """The flag of a setting."""
    return f"--{name.replace('_', '-')}"


def told(value: Any) -> str:
    """A value as it is typed; what is not set is a dash."""
    if value is None or value in ([], ()):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return in_words(list(value) if isinstance(value, tuple) else value)
