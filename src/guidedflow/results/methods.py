"""Methods: which runs differ in their seeds alone, and what a method is called beside others.

Two runs are the same method if algorithm, training settings, policy and the way of acting agree. Names of runs and
folders play no part.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guidedflow.results.rows import ACTING, Episode, in_words

Settings = tuple[tuple[str, Any], ...]
"""Names and values, in the order of names; lists are tuples, so that settings can be compared and hashed."""


@dataclass(frozen=True)
class Method:
    """Algorithm, policy, training settings, and how the policy acted."""

    algorithm: str
    policy: str
    settings: Settings
    acting: Settings

    @property
    def family(self) -> tuple[str, str, Settings]:
        """The method without its training settings."""
        return self.algorithm, self.policy, self.acting


def frozen(settings: Mapping[str, Any]) -> Settings:
    """Settings in a form that can be compared and hashed."""
    return tuple((name, _hashable(value)) for name, value in sorted(settings.items()))


def acting_of(row: Episode) -> Settings:
    """How the policy of a row acted."""
    return tuple((name, row[name]) for name in ACTING)  # type: ignore[literal-required]


def varying(methods: Iterable[Settings]) -> list[str]:
    """Names of the settings that differ between some of these."""
    every = [dict(settings) for settings in methods]
    names = dict.fromkeys(name for settings in every for name in settings)
    return [name for name in names if len({settings.get(name, _MISSING) for settings in every}) > 1]


def labels(methods: Iterable[Method]) -> dict[Method, str]:
    """A short name for each method: algorithm, policy, and the settings that tell it from its neighbours."""
    families: dict[tuple[str, str], list[Method]] = {}
    for method in dict.fromkeys(methods):
        families.setdefault((method.algorithm, method.policy), []).append(method)
    found = {}
    for (algorithm, policy), members in families.items():
        names = varying(member.settings for member in members)
        acted = len({member.acting for member in members}) > 1
        for method in members:
            values = dict(method.settings)
            told = [f"{shown(name)} {in_text(values[name])}" for name in names if name in values]
            told += [in_words(dict(method.acting))] if acted else []
            found[method] = f"{algorithm} {policy}" + (f", {', '.join(told)}" if told else "")
    return found


def shown(name: str) -> str:
    """The name of a setting as people write it."""
    return name.removeprefix("plan.").replace("_", "-")


def in_text(value: Any) -> str:
    """The value of a setting: `0.001`, `256 256`, `on`."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple | list):
        return " ".join(map(in_text, value))
    if isinstance(value, int) and abs(value) >= 10_000:
        return f"{value:,}"
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def grid(methods: Sequence[Method]) -> tuple[str, str] | None:
    """The names of the two settings in which these methods differ, if numbers vary along exactly two of them."""
    names = varying(method.settings for method in methods)
    values = {name: {dict(method.settings).get(name) for method in methods} for name in names}
    if len(names) != 2 or not all(_is_number(value) for each in values.values() for value in each):
        return None
    first, second = sorted(names)
    return first, second


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_MISSING = object()


def _hashable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return frozen(value)
    if isinstance(value, list | tuple):
        return tuple(map(_hashable, value))
    return value
