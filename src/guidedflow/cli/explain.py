"""`guidedflow explain SETTING`: what a setting means, where it is used, what was published with it, what it trades.

This module does not know how any setting acts.
"""

import ast
import inspect
import itertools
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any

import tyro

from guidedflow import recipes
from guidedflow.algorithms import ALGORITHMS
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.cli.origins import flag, told
from guidedflow.cli.sweep import Sweep
from guidedflow.cli.tradeoffs import TRADES
from guidedflow.cli.train import Train
from guidedflow.cli.tune import Tune
from guidedflow.data.sampling.goals import GoalSampling
from guidedflow.errors import InputError, did_you_mean
from guidedflow.results.counts import plural
from guidedflow.settings import POSITIVE, RANGES, defaults_of
from guidedflow.studies.demo import Demo
from guidedflow.training.imitation import Imitation
from guidedflow.training.plan import Plan

_FROM_TABLE = {"ensemble": Ensemble, "goals": GoalSampling, "coil": Imitation}
"""Settings that are groups of settings, whose members have flags of their own."""


@dataclass(frozen=True)
class Explain:
    """Explain a setting of a command that trains: meaning, default, range, published values, and what it trades."""

    setting: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SETTING")]
    """Setting, as its flag is called, for example alpha or learning-rate."""
    algorithm: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="ALGORITHM")] = None
    """Only as this algorithm means it; by default every one that has it."""

    def run(self) -> None:
        name = self.setting.strip("-").replace("-", "_")
        name = {"lr": "learning_rate", "gamma": "discount"}.get(name, name)
        if self.algorithm is not None and self.algorithm not in ALGORITHMS:
            raise InputError(
                f"there is no algorithm {self.algorithm!r}{did_you_mean(self.algorithm, ALGORITHMS)}; there are "
                f"{', '.join(ALGORITHMS)}."
            )
        owners = {owner: cls for owner, cls in _owners(self.algorithm) if name in meanings(cls)}
        if not owners:
            known = {setting for _, cls in _owners(self.algorithm) for setting in meanings(cls)}
            of = f" of {self.algorithm}" if self.algorithm else ""
            raise InputError(f"there is no setting {self.setting!r}{of}{did_you_mean(name, known)}.")
        print("\n".join(_page(name, owners)))


def _owners(algorithm: str | None) -> Iterator[tuple[str, type]]:
    """What has settings, by the name that is printed."""
    for name, cls in ALGORITHMS.items():
        if algorithm in (None, name):
            yield name, cls
            if "ensemble" in {field.name for field in fields(cls)}:  # type: ignore[arg-type]
                yield f"{name}, its critic", Ensemble
    if algorithm is None:
        yield from (
            ("train", Plan),
            ("train, goals", GoalSampling),
            ("train, data", Train),
            ("train, curriculum", Imitation),
        )
        yield from (("sweep", Sweep), ("tune", Tune), ("demo", Demo))


def _page(name: str, owners: dict[str, type]) -> Iterator[str]:
    """What is known about a setting, those who mean the same by it together."""
    yield flag(name)
    grouped: dict[str, list[str]] = {}
    for owner, cls in owners.items():
        grouped.setdefault(meanings(cls)[name], []).append(owner)
    for meaning, every in grouped.items():
        yield ""
        yield from _wrapped(", ".join(every), meaning)
        defaults: dict[str, list[str]] = {}
        for owner in every:
            plain = _default(owners[owner], name)
            defaults.setdefault("none, it must be given" if plain is _REQUIRED else told(plain), []).append(owner)
        values = [value if len(defaults) == 1 else f"{value} ({', '.join(of)})" for value, of in defaults.items()]
        yield from _wrapped("default", "; ".join(values))
        for owner in every:
            if published := _published(owner, name):
                yield from _wrapped("published", f"{owner}: {published}")
    if name in RANGES:
        low, high = RANGES[name]
        least = f"greater than {low:g}" if name in POSITIVE else f"at least {low:g}"
        yield from _wrapped("range", least if high == float("inf") else f"{low:g} to {high:g}")
    if name in TRADES:
        yield from _wrapped("trades", TRADES[name])


_REQUIRED = object()


def _default(cls: type, name: str) -> Any:
    if cls in (Train, Sweep, Tune, Demo):
        field = next(field for field in fields(cls) if field.name == name)
        return _REQUIRED if field.default is MISSING else field.default
    return defaults_of(cls).get(name, _REQUIRED)


def _published(algorithm: str, name: str) -> str:
    """The values of the published recipes of an algorithm, as a range, or nothing."""
    if algorithm not in recipes.methods():
        return ""
    found = [recipes.published(algorithm, task) for task in recipes.tasks()]
    values = [recipe.settings.get(name) for recipe in found if recipe.source and name in recipe.settings]
    return "" if not values else f"{_spread(values)}, over {plural(len(values), 'task')}"


def _spread(values: Iterable[Any]) -> str:
    """Numbers as a range, words as a list."""
    different = sorted({tuple(value) if isinstance(value, list) else value for value in values}, key=str)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in different):
        ends = sorted({min(different), max(different)})
        return " to ".join(recipes.in_words(value) for value in ends)
    return ", ".join(told(value) for value in different)


def _wrapped(label: str, text: str) -> Iterator[str]:
    if len(label) > 12:
        yield from textwrap.wrap(label, 100, initial_indent="  ", subsequent_indent="  ")
        label = ""
    yield from textwrap.wrap(text, 100, initial_indent=f"  {label:<12} ", subsequent_indent=" " * 15)


def meanings(cls: type) -> dict[str, str]:
    """The fields of a class of settings, inherited ones too, and the docstring below each; groups are left out."""
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__[:-1]):
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(each)))
        except (OSError, TypeError):
            continue
        body = next(node for node in tree.body if isinstance(node, ast.ClassDef)).body
        for field, words in itertools.pairwise(body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(words, ast.Expr)
                and isinstance(words.value, ast.Constant)
                and isinstance(words.value.value, str)
            ):
                found[field.target.id] = " ".join(words.value.value.split())
    hidden = {*_FROM_TABLE, "algorithm", "plan", "words", "origins", "typed"}
    return {name: meaning for name, meaning in found.items() if name not in hidden}
