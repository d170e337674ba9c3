"""What is wrong with a dataset, all of it at once, before anybody trains on it (`guidedflow data validate`).

    kinds       the table of problems: how bad, what is expected, what to do
    problem     one problem, and all that were found
    container   the file before its columns
    rows        the columns in their parts, by the rows of the file
    flags       where tasks and episodes end, by the rows of the file
    ogbench_files, minari_folder, lerobot_folder
                what a suite has beside its columns: a second file, slices, metadata
    places      where the data of a task lie
    episodes    the dataset as it will be trained on, by its own rows

Files are looked at from the outside in. Only where nothing is wrong outside is the dataset read by its own loader,
whose complaint, if it still has one, is told as well. This module does not know how any of these problems looks.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from guidedflow import environments
from guidedflow.data import box
from guidedflow.data.box import Outside
from guidedflow.data.dataset import Dataset
from guidedflow.data.formats import columns as mapping
from guidedflow.data.formats import d4rl, lerobot, minari
from guidedflow.data.formats.arrays import Arrays, ColumnError
from guidedflow.data.formats.columns import Columns
from guidedflow.data.load import Source, at_home, named, read_dataset, source_of
from guidedflow.data.ondisk import mapped
from guidedflow.data.validation import container, episodes, lerobot_folder, minari_folder, ogbench_files, places, rows
from guidedflow.data.validation.episodes import Use
from guidedflow.data.validation.flags import Roles
from guidedflow.data.validation.problem import Problem, Problems
from guidedflow.errors import InputError

__all__ = ["Problem", "Problems", "check", "validate"]


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
    name, place, columns = (task or str(path)), Path(path).expanduser(), Columns.of(columns)
    if not (place.exists() or place.is_symlink()) and at_home(str(path)):
        place = places.home(str(path))
    if not container.look(place, problems):
        return problems
    if task is None:
        name = named(path)[0]
    if (slices := ogbench_files.slices(place)) and not lerobot.is_lerobot(place):
        ogbench_files.check_slices(slices, problems)
        for each in slices:
            _check_file(each, name, "ogbench", columns, use, problems)
        return problems
    source = _source(name, place, columns, problems)
    if source is None:
        return problems
    if source == "minari":
        minari_folder.check(name, place, problems)
    elif source == "mapped":
        pass  # written by this library: its loader compares the columns with their manifest
    elif lerobot.is_lerobot(place):
        _check_lerobot(place, columns, use, problems)
    else:
        _check_file(place, name, source, columns, use, problems)
    if not problems.errors:
        _check_dataset(name, place, source, columns, replace(use, goes_on=_goes_on(name)), problems)
    return problems


def check(dataset: Dataset, *, discount: float = 0.99, horizon: int = 1, chunk: bool = False) -> Problems:
    """What is wrong with a dataset that was loaded; one pass over its columns."""
    problems = Problems()
    episodes.check(dataset, Use(discount, horizon, chunk, goes_on=_goes_on(dataset.name)), problems)
    return problems


def _source(name: str, place: Path, columns: Columns | None, problems: Problems) -> Source | None:
    """Which source it is; where that cannot be told, None, and why is told."""
    own = lerobot.is_lerobot, minari.is_minari, minari_folder.is_alike, mapped.is_mapped
    if place.is_dir() and not any(alike(place) for alike in own):
        if not environments.known(name):
            names = ", ".join(sorted(entry.name for entry in place.iterdir())[:8])
            problems.add("folder", place, found=f"a folder with {names or 'nothing in it'}")
            return None
        place = places.home(name, place)
        if not container.look(place, problems):
            return None
    if place.is_dir() and minari_folder.is_alike(place) and not minari.is_minari(place):
        problems.add("no-metadata", place, found="its data without it")
        return None
    if place.is_file():
        with container.opened(place, Problems()) as file:
            if file is None:  # whose file it is does not matter
                return "own"
    try:
        mapping.kept(place)  # also where names are given, which these complement
        return source_of(name, place, columns)
    except InputError as error:
        kept = str(error).startswith(str(mapping.place(place)))
        problems.add("names-damaged" if kept else "naming", place, found="names that leave it open", told=error)
        return None


def _check_file(place: Path, name: str, source: Source, columns: Columns | None, use: Use, problems: Problems) -> None:
    """The columns of one file."""
    place = places.home(name, place) if place.is_dir() else place
    with container.opened(place, problems) as file:
        if file is not None:
            roles = _roles(file, name, source, columns, problems)
            if roles is not None:
                rows.check(file, replace(roles, outside=use.outside), problems)
    if source == "ogbench" and file is not None:
        ogbench_files.check_validation(place, problems)


def _check_lerobot(folder: Path, columns: Columns | None, use: Use, problems: Problems) -> None:
    if not lerobot_folder.check(folder, problems):
        return
    with lerobot.open_lerobot(folder) as file:
        container.survey(file, problems)
        told = mapping.names_of(folder, columns).over(lerobot.usual(file))
        lerobot_folder.check_features(folder, file, problems)
        if _is_told(file, told, problems):
            rows.check(file, Roles(told, outside=use.outside), problems)


def _roles(file: Arrays, name: str, source: Source, columns: Columns | None, problems: Problems) -> Roles | None:
    """Which column is what in a file of one of the sources, or None where that is not told."""
    if source == "ogbench":
        told = Columns(observations="observations", actions="actions", last="terminals")
        others = ("qpos", "button_states") if name.startswith(("scene", "puzzle")) else ("qpos",)
        return Roles(told, goes_on=True, others=others)
    if source == "d4rl":
        told = Columns(**{key: key for key in d4rl.COLUMNS})
        told = told.over(Columns(ends="timeouts") if "timeouts" in file else Columns())
        if "next_observations" in file:
            told = told.over(Columns(next_observations="next_observations"))
        return Roles(told, of_d4rl=True, goes_on=_goes_on(name))
    told = mapping.names_of(file.path, columns)
    return Roles(told) if _is_told(file, told, problems) else None


def _is_told(file: Arrays, told: Columns, problems: Problems) -> bool:
    try:
        mapping.check_told(file, told)
    except InputError as error:
        problems.add("naming", file.path, found="names that leave it open", told=error)
        return False
    return True


def _check_dataset(
    name: str, place: Path, source: Source, columns: Columns | None, use: Use, problems: Problems
) -> None:
    """The dataset as its own loader reads it, and what is in it."""
    try:
        dataset = read_dataset(name, place, columns=columns, source=source)
    except ColumnError as error:
        problems.add("misshapen", error.path, error.column, found=error.found, wanted=error.expected)
    except InputError as error:
        problems.add("refused", place, found="a refusal", told=str(error))
    else:
        if source in ("minari", "mapped"):  # whose columns nobody has looked at yet
            counted = ~dataset.last
            rows.check_observations(place, "observations", dataset.observations, problems)
            rows.check_bounds(place, "actions", dataset.actions, problems, counted, use.outside)
        if use.outside is not Outside.refused:
            dataset = box.inside(dataset, use.outside)
        episodes.check(dataset, use, problems, str(place))


def _goes_on(name: str) -> bool:
    """Whether episodes of a task's data go on after the task ended: in OGBench's, and in D4RL's mazes."""
    if not environments.known(name):
        return False
    task = environments.parse(name)
    return task.suite == "ogbench" or (task.suite == "d4rl" and task.environment.startswith("antmaze"))
