"""Which source data are from: one table, a row a source; and what a task, a path or both mean, found once.

    mapped     a folder that was converted                         ondisk.mapped
    lerobot    a folder of LeRobot's                               formats.lerobot
    robomimic  an HDF5 file of robomimic's                         formats.episode_files
    zarr       a folder of zarr's                                  formats.zarr_folder
    own        a file, or a folder with a file an episode, whose
               columns are named, now or beside it                 formats.columns, opening
    minari     a folder of Minari's, or the name of one            formats.minari
    ogbench    a task of OGBench's, or a folder of its shards      formats.ogbench
    d4rl       a task of D4RL's, or an HDF5 file in its layout     formats.d4rl
    metaworld  a task of MetaWorld's                               formats.metaworld

Named columns mean own data: own, or a layout with such columns. Otherwise the first source counts that knows what lies
at the path by a mark of its own, then the first that claims the task's name, then the first whose columns the file has.
This module does not know what is in a file, nor what becomes of a dataset.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from guidedflow import environments
from guidedflow.data.dataset import Dataset
from guidedflow.data.formats import columns, d4rl, episode_files, lerobot, metaworld, minari, ogbench, own, zarr_folder
from guidedflow.data.formats.arrays import Arrays
from guidedflow.data.formats.columns import Columns, Roles, UnnamedColumns
from guidedflow.data.formats.opening import SUFFIXES, open_arrays, open_file
from guidedflow.data.formats.recording import Recording
from guidedflow.data.ondisk import mapped
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.errors import InputError, did_you_mean

_SUFFIXES = (*SUFFIXES, ".mapped", ".zarr")


@dataclass(frozen=True)
class Source:
    """One row: how data of a source are recognised, found and read."""

    name: str
    read: "Callable[[Path, str], Dataset] | None" = None
    """The dataset of a task, with its actions as they were recorded, where a source has no named columns."""
    raw: Callable[[Path, str], Recording] | None = None
    """What was recorded of a task, whatever its numbers are, where a source has no named columns but can tell it."""
    open: Callable[[Path], Arrays] | None = None
    """Its named columns."""
    record: Callable[[Arrays, Roles, str], Recording] = lambda file, roles, task: own.record(file, roles.columns)
    """What open columns recorded of a task."""
    missing: Callable[[Path, str], InputError] | None = None
    """The sentence about a task's file that is not there."""
    holds: Callable[[Path], bool] = lambda path: False
    """Whether what lies at a path is of this source by a mark of its own."""
    claims: Callable[[str, Path | None], bool] = lambda task, place: False
    """Whether a task's data are of this source, wherever they lie."""
    resembles: Callable[[Arrays], bool] = lambda file: False
    """Whether a file has this source's columns."""
    home: Callable[[str, Path | None], Path] = lambda task, place: place or Path(task)
    """The file or folder of a task, at or in a place, by default in the source's own folder; it need not be there."""
    recorded: Callable[[Path], str | None] = lambda path: None
    """The name of the dataset that is written in it."""
    own: bool = False
    """Whether its columns may be named by whoever made it."""
    roles: Callable[[Arrays, str, Columns], Roles] = columns.roles
    """Which of its columns is what, where some were named."""
    parts: Callable[[Path, str], Iterable[Dataset] | None] = lambda path, task: None
    """The datasets of a folder that may exceed memory, each read when it is iterated to; None for a single dataset."""


@dataclass(frozen=True)
class Origin:
    """Data whose source is known: task, path, source and the roles of columns; `locate` makes one."""

    task: str
    path: Path
    source: Source
    columns: Columns
    """The names that were given, and those kept beside the file where these say nothing."""
    given: Columns | None = None
    """The names that were given alone."""

    @property
    def mapped(self) -> bool:
        """Whether it is a folder that may be trained on from disk."""
        return self.source is MAPPED

    def read(self, look: Callable[[Arrays, Roles], None] | None = None) -> Dataset:
        """The dataset in memory, actions as recorded (OGBench's are clipped), with goals if its task is about goals.

        `look` is called with the open columns of which it was made, if there are any; they are not read a second time.
        """
        if self.source.read is not None:
            dataset = self.source.read(self.path, self.task)
        else:
            with self._opened() as file:
                if look is not None:
                    file.keep()
                roles = self.source.roles(file, self.task, self.columns)
                dataset = self.source.record(file, roles, self.task).to_dataset(self.task)
                if look is not None:
                    look(file, roles)
        return dataset.with_goals(itself=True) if dataset.goals is None and by_goals(dataset.name) else dataset

    def check_there(self) -> None:
        """Raise `InputError` where nothing lies at the path; nothing is read."""
        if self.path.exists():
            return
        if self.source.missing is not None:
            raise self.source.missing(self.path, self.task)
        raise InputError(f"{self.path} does not exist; name a file or folder by --dataset")

    def parts(self) -> Iterable[Dataset] | None:
        """The parts of a folder that may exceed memory, one after the other; None where it is one dataset."""
        return self.source.parts(self.path, self.task)

    def pieces(self) -> "Iterator[Origin]":
        """The same data as whole episodes one after the other, where its images may exceed memory; none for others.

        The file is open as long as the iterator is used.
        """
        if self.source.open is None or not self.source.own:
            return
        with self._opened() as file:
            told = self.source.roles(file, self.task, self.columns).columns
            named = [name for name in (told.observations, told.next_observations) if name is not None]
            for piece in file.pieces([column for name in named for column in own.joined(file, name)]) or ():
                yield replace(self, source=replace(self.source, open=_opening(piece)))

    def record(self) -> Recording | None:
        """What was recorded, whatever its numbers are; None where a source cannot tell it."""
        if self.source.raw is not None:
            return self.source.raw(self.path, self.task)
        if self.source.open is None or self.source.read is not None:
            return None
        with self._opened() as file:
            return self.source.record(file, self.source.roles(file, self.task, self.columns), self.task)

    def _opened(self) -> Arrays:
        """The named columns. Raises `InputError` for a file that is not there."""
        assert self.source.open is not None
        if self.source.missing is not None and not self.path.is_file():
            raise self.source.missing(self.path, self.task)
        return self.source.open(self.path)

    def check_names(self) -> None:
        """Raise `InputError` if names of columns were given that contradict those kept beside the file."""
        if self.given is not None:
            columns.complemented(self.path, self.given)

    def keep_names(self) -> None:
        """Keep the given names of columns beside the file. Raises `InputError` where the disk refuses."""
        if self.given is not None:
            columns.keep(self.path, self.given)


def locate(
    task: Path | str, path: Path | str | None = None, given: Columns | None = None, source: str | None = None
) -> Origin:
    """Where the data of a task are, or of a file or folder that stands in the task's place; `source` names a row.

    Raises `InputError` for a path with nothing there, for data whose source cannot be told, and for data of another
    task, whose rewards are not those of this one.
    """
    name, place = named(task, path)
    if source is not None and source not in SOURCES:
        raise InputError(
            f"there is no source {source!r}{did_you_mean(source, SOURCES)}; there are {', '.join(SOURCES)}"
        )
    found = SOURCES[source] if source not in (None, "own") else _source(name, place, given, source is not None)
    if given is not None and not found.own:
        raise InputError(f"--columns names columns of a file of your own, but {name!r} is read as {source} data")
    where = found.home(name, place)
    _check_task(name, found.recorded(where), where)
    return Origin(name, where, found, columns.names_of(where, given) if found.own else Columns(), given)


def named(task: Path | str, path: Path | str | None = None) -> tuple[str, Path | None]:
    """Task and file, where the task may be given as the path of a file or folder, which tells its name then.

    Raises `InputError` for a path with nothing there.
    """
    name, place = str(task), Path(task if path is None else path).expanduser()
    if path is not None:
        return name, place
    if environments.known(name) or not place.exists():
        if ("/" in name or name.endswith(_SUFFIXES)) and not at_home(name):
            closest = did_you_mean(name, environments.names())
            raise InputError(f"there is no file or folder {name}, nor a task of that name{closest}")
        return name, None
    told = mapped.recorded_name(place) or columns.dataset_of(place) or d4rl.task_of(place)
    return told or (
        place.name.removesuffix(place.suffix) if place.is_file() else place.resolve().name.removesuffix(".zarr")
    ), place


def at_home(task: str) -> bool:
    """Whether the name alone says where its data lie: in the folder of its suite."""
    return any(source.claims(task, None) for source in SOURCES.values())


def home(task: str, folder: Path | None = None) -> Path:
    """Where the data of a task lie, in a folder or by default in that of its suite, whether they do or not."""
    source = next(source for source in SOURCES.values() if source.claims(task, folder))
    return source.home(task, folder)


def by_goals(task: str) -> bool:
    """Whether a task is goal-conditioned. Raises `InputError` where its goals are none of its observations."""
    if not environments.task_ids(task):
        return False
    if environments.parse(task).oracle:
        raise InputError(
            f"the goals of {task!r} are computed from the states in OGBench's own files; name such a file, or "
            f"take whole observations as goals by the task {task.replace('-oraclerep', '')!r}"
        )
    return True


def _source(task: str, place: Path | None, given: Columns | None, own: bool = False) -> Source:
    """The row that data are from; see the module's docstring. Raises `InputError` where no row fits."""
    rows = SOURCES.values()
    if given is not None or own:
        return next((row for row in rows if row.own and place is not None and row.holds(place)), OWN)
    if place is not None and (held := next((row for row in rows if row.holds(place)), None)):
        return held
    if claimed := next((row for row in rows if row.claims(task, place)), None):
        return claimed
    if place is None:
        try:
            environments.parse(task)
        except InputError as error:
            raise InputError(f"{error}, and data of your own is named by --dataset FILE") from None
    assert place is not None
    with open_arrays(place) as file:
        if alike := next((row for row in rows if row.resembles(file)), None):
            return alike
        raise UnnamedColumns(
            place,
            f"{place} has the columns {', '.join(file.names[:30])}: say which is what by --columns observations=NAME "
            f"actions=NAME rewards=NAME terminals=NAME ends=NAME; for a suite's file name its task by --task, since "
            f"{task!r} is no task of a suite",
        )


def _check_task(task: str, recorded: str | None, place: Path) -> None:
    """Raises `InputError` where what lies at `place` is recorded as another task's, since rewards are a task's."""
    if recorded in (None, task) or environments.alike(str(recorded), task):
        return
    if environments.known(task) and environments.known(str(recorded)):
        raise InputError(
            f"{place} was converted for {recorded}, whose rewards are not those of {task}; convert again with "
            f"--task {task}, or train on --task {recorded}"
        )


def _opening(file: Arrays) -> Callable[[Path], Arrays]:
    """A function that gives an open file, for any path."""
    return lambda path: file


def _of_suite(suite: str) -> Callable[[str, Path | None], bool]:
    """Whether a task is one of a suite's."""
    return lambda task, place: environments.known(task) and environments.parse(task).suite == suite


MAPPED = Source(
    "mapped",
    read=lambda path, task: Mapped.open(path, task).read(),
    holds=mapped.is_mapped,
    home=mapped.home,
    recorded=mapped.recorded_name,
)

OWN = Source(
    "own",
    open=open_arrays,
    own=True,
    holds=lambda path: columns.kept(path) is not None,
    home=columns.home,
    recorded=columns.dataset_of,
)

SOURCES = {
    row.name: row
    for row in (
        MAPPED,
        Source("lerobot", open=lerobot.open_lerobot, own=True, holds=lerobot.is_lerobot),
        Source("robomimic", open=episode_files.RobomimicArrays, own=True, holds=episode_files.is_robomimic),
        Source("zarr", open=zarr_folder.ZarrArrays, own=True, holds=zarr_folder.is_zarr),
        OWN,
        Source(
            "minari",
            read=minari.load,
            raw=minari.record,
            holds=minari.is_minari,
            claims=minari.claims,
            home=minari.home,
            missing=minari.missing,
            recorded=minari.recorded_name,
        ),
        Source(
            "ogbench",
            read=ogbench.load,
            open=open_arrays,
            roles=ogbench.roles,
            claims=_of_suite("ogbench"),
            home=ogbench.home,
            missing=ogbench.missing,
            parts=ogbench.parts,
        ),
        Source(
            "d4rl",
            open=open_file,
            record=d4rl.record,
            missing=d4rl.missing,
            roles=d4rl.roles,
            claims=d4rl.claims,
            resembles=d4rl.resembles,
            home=d4rl.home,
        ),
        Source(
            "metaworld",
            open=open_arrays,
            roles=metaworld.roles,
            claims=_of_suite("metaworld"),
            home=metaworld.home,
            missing=metaworld.missing,
        ),
    )
}
"""The table."""
