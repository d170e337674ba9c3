"""Grids: tasks x algorithms x settings x seeds become runs, each with a folder and a command of its own."""

import itertools
import json
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from guidedflow import recipes
from guidedflow.algorithms import ALGORITHMS
from guidedflow.algorithms.contract import Algorithm
from guidedflow.data.dataset import Dataset
from guidedflow.data.formats.columns import Columns
from guidedflow.data.load import open_dataset
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.sources import Origin, locate
from guidedflow.errors import InputError, did_you_mean
from guidedflow.settings import from_plain, to_plain
from guidedflow.training.plan import Plan

Grid = Mapping[str, tuple[Any, ...]]
"""Values to try by the name of a setting, `alpha`, or of one algorithm's, `fql.alpha`."""

PLANNED = ("discount",)
"""Settings of the plan that a grid may vary."""

_SIZES = re.compile(r"\d+(x\d+)+")
"""Sizes of layers in one word."""


@dataclass(frozen=True)
class Source:
    """Where the data of a sweep lie, and what is done to them; as the flags of `guidedflow train` say it."""

    dataset: str | None = None
    columns: tuple[str, ...] = ()
    clip_actions: bool = False
    rescale_actions: bool = False
    normalize_observations: bool | None = None

    def locate(self, task: str) -> Origin:
        """Where the dataset of a task is. Raises `InputError` for names of columns that cannot be, and as `locate`."""
        return locate(task, self.dataset, Columns.parse(self.columns) if self.columns else None)

    def open(self, task: str) -> Dataset | Mapped:
        """The dataset of a task."""
        return open_dataset(self.locate(task), clip_actions=self.clip_actions, rescale_actions=self.rescale_actions)

    def words(self) -> Iterator[str]:
        """As flags of `guidedflow train`."""
        if self.dataset is not None:
            yield from ("--dataset", self.dataset)
        if self.columns:
            yield from ("--columns", *self.columns)
        for name in ("clip_actions", "rescale_actions"):
            if getattr(self, name):
                yield f"--{name.replace('_', '-')}"
        if self.normalize_observations is not None:
            yield f"--{'' if self.normalize_observations else 'no-'}normalize-observations"


@dataclass(frozen=True)
class Planned:
    """One run of a sweep: one task, one algorithm with its settings, one seed, one folder."""

    task: str
    algorithm: Algorithm[Any]
    plan: Plan
    out: Path
    source: Source = Source()

    @property
    def name(self) -> str:
        """The name of its algorithm."""
        return next(name for name, cls in ALGORITHMS.items() if cls is type(self.algorithm))

    def command(self) -> list[str]:
        """What to type to train it alone, whether or not it was begun."""
        words = ["guidedflow", "train", self.name, "--task", self.task, "--out", str(self.out), "--resume"]
        for settings, defaults in ((self.algorithm, type(self.algorithm)()), (self.plan, Plan())):
            words += _flags(to_plain(settings), to_plain(defaults))
        return [*words, *self.source.words()]


def parse(words: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """A grid from words such as `alpha=0.3,1,3`, `fql.alpha=10,30` and `hidden=64x64,256x256`.

    Raises `InputError` for another form.
    """
    grid: dict[str, tuple[Any, ...]] = {}
    for word in words:
        name, equals, values = word.partition("=")
        if not equals or not name or not all(values.split(",")):
            raise InputError(f"--grid takes NAME=VALUE,VALUE,..., such as alpha=0.3,1,3, but got {word!r}.")
        grid[name.replace("-", "_")] = tuple(_value(value) for value in values.split(","))
    return grid


def read(path: Path) -> dict[str, tuple[Any, ...]]:
    """A grid from a TOML file: `alpha = [0.3, 1]` for all algorithms, and a table `[fql]` for one."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"the grid {path} cannot be read as TOML: {error}.") from None
    grid: dict[str, tuple[Any, ...]] = {}
    for name, values in found.items():
        tables = values.items() if isinstance(values, dict) else [(None, values)]
        for inner, listed in tables:
            key = name if inner is None else f"{name}.{inner}"
            if not isinstance(listed, list) or not listed:
                raise InputError(f"{path}: {key} must be a list of values to try, but is {listed!r}.")
            grid[key] = tuple(tuple(value) if isinstance(value, list) else value for value in listed)
    return grid


def expand(
    tasks: Sequence[str],
    algorithms: Sequence[str],
    grid: Grid,
    plan: Plan,
    out: Path,
    *,
    source: Source = Source(),
    recipe: str | None = None,
    typed: Sequence[str] = (),
    fixed: Mapping[str, Any] | None = None,
) -> list[Planned]:
    """Every run of the grid, `plan.seeds` of each cell from `plan.seed` on, in a stable order.

    With a `recipe`, algorithm and plan take its settings but for those that were `typed`. `fixed` settings hold for
    every algorithm that has them. Raises `InputError` for unknown tasks, algorithms and settings, and for values that a
    setting does not take.
    """
    _check_names(algorithms, grid)
    runs = []
    for task, name in itertools.product(tasks, algorithms):
        base, chosen = _base(task, name, plan, recipe, typed)
        base = _with(base, {key: value for key, value in (fixed or {}).items() if _has(base, key)})
        axes = {key.removeprefix(f"{name}."): values for key, values in grid.items() if _applies(key, name)}
        for values in itertools.product(*axes.values()):
            settings = {key: meant(base, key, value) for key, value in zip(axes, values, strict=True)}
            algorithm = _with(base, {key: value for key, value in settings.items() if key not in PLANNED})
            told = {key: value for key, value in settings.items() if key in PLANNED}
            own = from_plain(Plan, {**to_plain(chosen), **told}) if told else chosen
            label = "-".join([name, *(f"{key}={in_word(value)}" for key, value in settings.items())])
            for seed in plan.each_seed:
                folder = out / task.replace("/", "-") / label / f"seed-{seed}"
                runs.append(Planned(task, algorithm, replace(own, seed=seed, seeds=1), folder, source))
    return runs


def _check_names(algorithms: Sequence[str], grid: Grid) -> None:
    for name in algorithms:
        if name not in ALGORITHMS:
            raise InputError(
                f"unknown algorithm {name!r}{did_you_mean(name, ALGORITHMS)}; they are {', '.join(ALGORITHMS)}."
            )
    for key in grid:
        prefix, dot, setting = key.rpartition(".")
        if dot and prefix not in algorithms:
            raise InputError(f"the grid names {key}, but {prefix!r} is none of {', '.join(algorithms)}.")
        owners = [prefix] if dot else algorithms
        known = {*PLANNED, *(field.name for owner in owners for field in fields(ALGORITHMS[owner]))}  # type: ignore[arg-type]
        if setting not in known:
            raise InputError(f"no algorithm here has a setting {setting!r}{did_you_mean(setting, known)}.")


def _applies(key: str, name: str) -> bool:
    prefix, dot, setting = key.rpartition(".")
    known = {*PLANNED, *(field.name for field in fields(ALGORITHMS[name]))}  # type: ignore[arg-type]
    return prefix == name if dot else setting in known


def _base(task: str, name: str, plan: Plan, recipe: str | None, typed: Sequence[str]) -> tuple[Algorithm[Any], Plan]:
    """An algorithm and a plan before the grid: defaults, or a recipe's settings but for what was typed."""
    if recipe is None:
        return ALGORITHMS[name](), plan
    known = recipes.find(task)
    found = recipes.unlisted(recipe, name, task) if known is None else recipes.named(recipe, name, known)
    told = {key: value for key, value in found.plan.items() if key not in typed}
    return from_plain(ALGORITHMS[name], found.settings), replace(plan, **told)


def _with(algorithm: Algorithm[Any], settings: Mapping[str, Any]) -> Algorithm[Any]:
    """The algorithm with these settings. Raises `InputError` for a value that one of them does not take."""
    return from_plain(type(algorithm), {**to_plain(algorithm), **to_plain_values(settings)})


def meant(algorithm: Algorithm[Any], setting: str, value: Any) -> Any:
    """A value of a grid as its setting takes it: one size is a tuple of one."""
    alone = isinstance(value, int) and not isinstance(value, bool)
    return (value,) if alone and isinstance(getattr(algorithm, setting, None), tuple) else value


def to_plain_values(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON's own types."""
    return {key: to_plain(value) for key, value in settings.items()}


def _has(algorithm: Algorithm[Any], setting: str) -> bool:
    return setting in {field.name for field in fields(algorithm)}  # type: ignore[arg-type]


def _value(word: str) -> Any:
    if _SIZES.fullmatch(word):
        return tuple(map(int, word.split("x")))
    try:
        return json.loads(word)
    except ValueError:
        return word


def in_word(value: Any) -> str:
    """A value as a part of a folder's name; sizes as 64x64."""
    if isinstance(value, tuple | list):
        return "x".join(map(in_word, value))
    return f"{value:g}" if isinstance(value, float) else str(value).replace("/", "-").replace(" ", "")


def _flags(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[str]:
    """The flags of `guidedflow train` that change defaults into settings."""
    for name, value in settings.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, dict):
            yield from _flags(value, defaults.get(name, {}))
        elif value == defaults.get(name):
            continue
        elif isinstance(value, bool):
            yield flag if value else f"--no-{flag.removeprefix('--')}"
        elif isinstance(value, list):
            yield from (flag, *map(str, value))
        else:
            yield from (flag, str(value))


def line(run: Planned, episodes: int, seed: int = 0) -> str:
    """One self-contained line for a shell: train the run or go on with it, then evaluate it."""
    trained = shlex.join(run.command())
    if not episodes:
        return trained
    evaluation = ["guidedflow", "evaluate", str(run.out), "--episodes", str(episodes), "--seed", str(seed), "--json"]
    return f"{trained} && {shlex.join(evaluation)}"
