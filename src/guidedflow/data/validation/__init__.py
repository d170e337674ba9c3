"""What is wrong with a dataset, all of it at once, before anybody trains on it (`guidedflow data validate`).

    kinds       the table of problems: how bad, what is expected, what to do
    problem     one problem, and all that were found
    container   the file before its columns
    rows        the columns in their parts, by the rows of the file
    flags       where tasks and episodes end, by the rows of the file
    ogbench_files, minari_folder, lerobot_folder
                what a suite has beside its columns: a second file, slices, metadata
    episodes    the dataset as it will be trained on, by its own rows

Files are looked at from the outside in. Only where nothing is wrong outside is the dataset read by its own loader,
whose complaint, if it still has one, is told as well. This module does not know how any of these problems looks.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path

from guidedflow import environments
from guidedflow.data import actions
from guidedflow.data.actions import Outside
from guidedflow.data.dataset import Dataset
from guidedflow.data.formats import columns as mapping
from guidedflow.data.formats import lerobot, minari, opening
from guidedflow.data.formats.arrays import Arrays, ColumnError
from guidedflow.data.formats.columns import Columns, NamesDamaged, Roles
from guidedflow.data.sources import SOURCES, Origin, at_home, home, locate, named
from guidedflow.data.transitions import no_transition
from guidedflow.data.validation import container, episodes, lerobot_folder, minari_folder, ogbench_files, rows
from guidedflow.data.validation.episodes import Use
from guidedflow.data.validation.problem import Problem, Problems
from guidedflow.errors import InputError

__all__ = ["Problem", "Problems", "check", "in_pieces", "read", "validate", "whole"]

_LISTED: dict[str, Callable[[Origin, Problems], object]] = {
    "lerobot": lambda origin, problems: lerobot_folder.check(origin.path, problems)
}
"""What a source has before its columns: metadata, and the files that they list."""

_BEFORE = _LISTED | {"minari": lambda origin, problems: minari_folder.check(origin.task, origin.path, problems)}
"""The same, also where a loader finds the same by itself."""

_BESIDE: dict[str, Callable[[Path, Problems], None]] = {"ogbench": ogbench_files.check_validation}
"""What a source has beside its file."""


def validate(
    path: Path | str,
    task: str | None = None,
    columns: Columns | Mapping[str, str] | None = None,
    *,
    discount: float = 0.99,
    horizon: int = 1,
    chunk: bool = False,
    clip_actions: bool = False,
    rescale_actions: bool = False,
) -> Problems:
    """All that is wrong with a file, a folder or the data of a task, as far as it can be found at once.

    `task` says whose data it is where the file's name does not, `columns` which column is what in data of your own;
    `discount` and what follows say what it is to be used for.
    Raises `InputError` only for a role of columns that there is not, for a horizon below 1, for actions that are to be
    clipped and rescaled, and where a package that is needed is not installed.
    """
    if horizon < 1:
        raise InputError(f"horizon must be at least 1, not {horizon}")
    use, problems = Use(discount, horizon, chunk, Outside.of(clip_actions, rescale_actions)), Problems()
    place, given = Path(path).expanduser(), Columns.of(columns)
    if not (place.exists() or place.is_symlink()) and at_home(str(path)):
        place = home(str(path))
    if not container.look(place, problems):
        return problems
    name = named(path)[0] if task is None else task
    alone = given is None and not mapping.place(place).is_file() and not lerobot.is_lerobot(place)
    if alone and (slices := ogbench_files.slices(place)):
        ogbench_files.check_slices(slices, problems)
        for each in slices:
            _check_file(Origin(name, each, SOURCES["ogbench"], Columns()), use, problems)
        return problems
    origin = _origin(name, place, given, problems)
    if origin is None:
        return problems
    if origin.source.name in _BEFORE:
        _BEFORE[origin.source.name](origin, problems)
    if origin.source.open is not None and not problems.errors:
        _check_file(origin, use, problems)
    if not problems.errors:
        _check_dataset(origin, replace(use, goes_on=_goes_on(name)), problems)
    return problems


def read(origin: Origin, outside: Outside, problems: Problems) -> Dataset:
    """The dataset in memory, its actions as recorded; what is odd about its file is added to `problems`.

    Raises `InputError` for whatever `validate` calls an error, in the loader's own words where it has some.
    """
    if origin.source.name in _LISTED:
        _LISTED[origin.source.name](origin, problems)
        _refuse(problems)
    dataset = _read(origin, outside, problems)
    if origin.source.name in _BESIDE:
        _BESIDE[origin.source.name](origin.path, problems)
    _refuse(problems)
    if not len(dataset):
        raise no_transition(dataset.name, 1, 0)
    return dataset


def in_pieces(origin: Origin) -> Iterator[Dataset] | None:
    """The whole episodes of a folder, some of them at a time, where its images may exceed memory; None for others.

    Raises `InputError` as `read` does, of a later piece only when it is read.
    """
    if origin.source.name in _LISTED:
        problems = Problems()
        _LISTED[origin.source.name](origin, problems)
        _refuse(problems)
    pieces = origin.pieces()
    first = next(pieces, None)
    return None if first is None else _pieces(first, pieces)


def _pieces(first: Origin, others: Iterator[Origin]) -> Iterator[Dataset]:
    transitions = 0
    for piece in chain([first], others):
        problems = Problems()
        dataset = _read(piece, Outside.refused, problems)
        _refuse(problems)
        transitions += len(dataset)
        yield dataset
        del dataset  # before the next one is made
    if not transitions:
        raise no_transition(first.task, 1, 0)


def _read(origin: Origin, outside: Outside, problems: Problems) -> Dataset:
    """The dataset of a file, and what is odd about its columns."""
    # Where actions outside are refused, that is told once the dataset is made.
    bounds = Outside.rescaled if outside is Outside.refused else outside

    def look(file: Arrays, roles: Roles) -> None:
        rows.check(file, roles, problems, bounds, scanned=True)
        if origin.source.name == "lerobot":
            lerobot_folder.check_features(origin.path, file, problems)

    dataset = origin.read(look)
    if origin.source.open is None:
        _check_columns(dataset, origin.path, bounds, problems)
    return dataset


def whole(origin: Origin, parts: Iterable[Dataset]) -> Iterable[Dataset]:
    """The parts of a folder. Raises `InputError` where one is a copy of another, or of another dataset."""
    problems = Problems()
    ogbench_files.check_slices(ogbench_files.slices(origin.path), problems)
    _refuse(problems)
    return parts


def _refuse(problems: Problems) -> None:
    """Raise `InputError` for the first error."""
    if problems.errors:
        raise InputError(str(problems.errors[0]))


def check(dataset: Dataset, *, discount: float = 0.99, horizon: int = 1, chunk: bool = False) -> Problems:
    """What is wrong with a dataset that was loaded; one pass over its columns."""
    problems = Problems()
    episodes.check(dataset, Use(discount, horizon, chunk, goes_on=_goes_on(dataset.name)), problems)
    return problems


def _origin(name: str, place: Path, given: Columns | None, problems: Problems) -> Origin | None:
    """Where the data are from; where that cannot be told, None, and why is told."""
    held = any(source.holds(place) for source in SOURCES.values() if source is not SOURCES["own"])
    if place.is_dir() and not held and not minari_folder.is_alike(place):
        if environments.known(name):
            place = home(name, place)
            if not container.look(place, problems):
                return None
        elif not opening.has_files(place):
            names = ", ".join(sorted(entry.name for entry in place.iterdir())[:8])
            problems.add("folder", place, found=f"a folder with {names or 'nothing in it'}")
            return None
    if place.is_dir() and minari_folder.is_alike(place) and not minari.is_minari(place):
        problems.add("no-metadata", place, found="its data without it")
        return None
    if place.is_file():
        with container.opened(place, Problems()) as file:
            if file is None:  # whose file it is does not matter
                return Origin(name, place, SOURCES["own"], Columns())
    try:
        return locate(name, place, given)
    except NamesDamaged as error:
        problems.add("names-damaged", place, found="names that leave it open", told=error)
    except InputError as error:
        problems.add("naming", place, found="names that leave it open", told=error)
    return None


def _check_file(origin: Origin, use: Use, problems: Problems) -> None:
    """The columns of a file, or of a folder that has some."""
    assert origin.source.open is not None
    with container.opened(origin.path, problems, origin.source.open) as file:
        if file is None:
            return
        roles = origin.source.roles(file, origin.task, origin.columns)
        if origin.source.name == "lerobot":
            lerobot_folder.check_features(origin.path, file, problems)
        if not origin.source.own or _is_told(file, roles.columns, problems):
            file.keep()
            rows.check(file, roles, problems, use.outside)
            if origin.source.own and not problems.errors:
                rows.check_scale(file, str(roles.columns.observations), problems)
    if origin.source.name in _BESIDE:
        _BESIDE[origin.source.name](origin.path, problems)


def _is_told(file: Arrays, told: Columns, problems: Problems) -> bool:
    try:
        mapping.check_told(file, told)
    except InputError as error:
        problems.add("naming", file.path, found="names that leave it open", told=error)
        return False
    return True


def _check_dataset(origin: Origin, use: Use, problems: Problems) -> None:
    """The dataset as its own loader reads it, and what is in it."""
    place = origin.path
    try:
        dataset = origin.read()
    except ColumnError as error:
        problems.add("misshapen", error.path, error.column, found=error.found, wanted=error.expected)
    except InputError as error:
        problems.add("refused", place, found="a refusal", told=str(error))
    else:
        if origin.source.open is None:  # whose columns nobody has looked at yet
            _check_columns(dataset, place, use.outside, problems)
        if use.outside is not Outside.refused:
            dataset = actions.inside(dataset, use.outside)
        episodes.check(dataset, use, problems, str(place))


def _check_columns(dataset: Dataset, place: Path, outside: Outside, problems: Problems) -> None:
    """Observations and actions of a dataset whose file has no named columns."""
    rows.check_observations(place, "observations", dataset.observations, problems)
    rows.check_bounds(place, "actions", dataset.actions, problems, ~dataset.last, outside)


def _goes_on(name: str) -> bool:
    """Whether episodes of a task's data go on after the task ended: in OGBench's, and in D4RL's mazes."""
    if not environments.known(name):
        return False
    task = environments.parse(name)
    return task.suite == "ogbench" or (task.suite == "d4rl" and task.environment.startswith("antmaze"))
