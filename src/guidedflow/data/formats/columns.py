"""Data of your own: which column of a file is what, said once and kept beside the file.

    observations        one column, or several joined by + ; `obs/joints+obs/gripper` puts them side by side, `joint_*`
                        all whose names match, in the order of their numbers, `joint_{0..6}` seven of them; a column of
                        that very name comes first
    actions             the same
    rewards             a column, or a number that every step gets: a flag of success is one, and -1 counts steps
    terminals           1 where the task itself ended, solved or failed: nothing is bootstrapped from there, and the
                        episode ends; `none` where every episode was only cut off; may be the rewards' column
    masks               instead of terminals: 0 where nothing is bootstrapped, which ends no episode
    ends                1 in the last step of each episode, for whatever reason
    episodes            a number or a word that is another one in the next episode
    episode_ends        a column of its own length: how many rows there are up to the end of each episode
    last                1 in rows that only hold the final observation of an episode (OGBench's files, and ours)
    next_observations   what was seen after the step, if a column tells it; where the next row begins elsewhere, an
                        episode ends
    transitions         `independent` where each row is a transition of its own, with its next observation
    goals               what each row is as a goal, a column or several joined by + ; the data is then goal-conditioned,
                        and rewards and the ends of the task count for nothing and need not be told
    weights             how much more often than others a step is drawn, under --rebalance weights

Episodes end where one of these columns says so, and at the end of the file. What becomes of an
episode's final observation is told in `recording`. The names are kept in `FILE.columns.json`; beside a file that this
library wrote it also says the dataset's own name. This module does not know of suites, nor
how a column is read.
"""

import dataclasses
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from guidedflow import files
from guidedflow.data.formats.arrays import Arrays
from guidedflow.errors import InputError, did_you_mean

NONE = "none"
INDEPENDENT = "independent"

_NEXT = re.compile(r",(?=\w+=)")
"""A comma that does not belong to the name of a column."""

_SIZE = re.compile(r"[1-9]\d{0,3}x[1-9]\d{0,3}")
"""What `resize` may be."""

_ENDS = ("ends", "episodes", "episode_ends")

_INSTEAD = (
    ("terminals", ("masks",)),
    ("masks", ("terminals",)),
    ("last", (*_ENDS, "next_observations", "transitions")),
    ("transitions", ("last", *_ENDS)),
    *((role, ("last", "transitions")) for role in _ENDS),
    ("next_observations", ("last",)),
)
"""Roles, and those in whose place they stand."""

_DATASET = "dataset"
"""Beside the roles of columns, what names the dataset."""


@dataclass(frozen=True)
class Columns:
    """The name of each column; see the module's docstring."""

    observations: str | None = None
    actions: str | None = None
    rewards: str | None = None
    terminals: str | None = None
    masks: str | None = None
    ends: str | None = None
    episodes: str | None = None
    last: str | None = None
    next_observations: str | None = None
    goals: str | None = None
    weights: str | None = None
    episode_ends: str | None = None
    transitions: str | None = None
    resize: str | None = None

    def __post_init__(self) -> None:
        if self.resize is not None and not _SIZE.fullmatch(self.resize):
            raise InputError(
                f"resize must be the height and width that images get, such as resize=96x96, found {self.resize!r}"
            )

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Height and width that images get; None for those that they have."""
        if self.resize is None:
            return None
        height, _, width = self.resize.partition("x")
        return int(height), int(width)

    @classmethod
    def parse(cls, words: Iterable[str]) -> "Columns":
        """From words such as `observations=obs`; several may stand in one word, a comma before each next `ROLE=`.

        A word may also be a TOML file that names them: `observations = "obs"`, or a list of names to be joined.
        """
        words = list(words)
        named: dict[str, str] = {}
        for path in (Path(word) for word in words if _is_toml(word)):
            named |= _told_by(path)
        for word in chain.from_iterable(_NEXT.split(word) for word in words if not _is_toml(word)):
            role, sign, column = word.partition("=")
            if not sign or not column:
                raise InputError(f"columns are given as ROLE=NAME, for example observations=obs, not as {word!r}")
            if role in named:
                raise InputError(f"columns name {role} twice, as {named[role]!r} and as {column!r}; give one")
            named[role] = column
        return cls.named(named, "--columns")

    @classmethod
    def of(cls, told: "Columns | Mapping[str, str] | None") -> "Columns | None":
        """These columns, also from a mapping of roles to names. Raises `InputError` for anything else."""
        if told is None or isinstance(told, Columns):
            return told
        if not isinstance(told, Mapping):
            raise InputError(
                f"columns must be Columns, or a mapping such as {{'observations': 'obs'}}, found {type(told).__name__}"
            )
        return cls.named(told, "columns")

    @classmethod
    def named(cls, named: Mapping[str, Any], where: str) -> "Columns":
        """From a mapping. Raises `InputError` for a role that there is not."""
        roles = [field.name for field in dataclasses.fields(cls)]
        for role, column in named.items():
            if role not in roles:
                raise InputError(
                    f"{where}: there is no role {role!r}{did_you_mean(role, roles)}; roles are {', '.join(roles)}"
                )
            if not isinstance(column, str):
                raise InputError(f"{where}: {role} must be the name of a column, found {column!r}")
        return cls(**named)

    def over(self, others: "Columns") -> "Columns":
        """These names, and the others' where these say nothing, neither by the role nor by one in its place."""
        told = self.told()
        replaced = {role for own, instead in _INSTEAD for role in instead if own in told}
        return Columns(**{role: name for role, name in others.told().items() if role not in replaced} | told)

    def told(self) -> dict[str, str]:
        """The roles that have a name."""
        return {role: name for role, name in dataclasses.asdict(self).items() if name is not None}


@dataclass(frozen=True)
class Roles:
    """Which column is what, and what the source of a file says about its episodes."""

    columns: Columns
    of_d4rl: bool = False
    """Whether ends mark time limits alone, and an observation that does not follow ends an episode too."""
    goes_on: bool = False
    """Whether episodes go on after their task ended, as in OGBench's files and D4RL's mazes."""
    others: tuple[str, ...] = ()
    """Further columns that the source needs."""


class UnnamedColumns(InputError):
    """Columns of which it is not said what must be said."""

    def __init__(self, path: Path, told: str) -> None:
        super().__init__(told)
        self.path = path


class NamesDamaged(InputError):
    """Names beside a file that cannot be read."""


OURS = Columns(observations="observations", actions="actions", rewards="rewards", masks="masks", last="last")
"""The columns of a file that this library wrote; of a dataset that has weights, these too."""


def place(path: Path) -> Path:
    """Where the names of a file's columns are kept."""
    path = path.expanduser().resolve()
    return path.with_name(f"{path.name}.columns.json")


def home(task: str, file: Path | None) -> Path:
    """The file. Raises `InputError` where none is named."""
    if file is None:
        raise InputError(f"data of your own for task {task!r} needs a file: name it by --dataset FILE")
    return file


def roles(file: Arrays, task: str, told: Columns) -> Roles:
    """What the names say, and what the layout of the file itself says where these say nothing.

    From then on the file gives images at the size that the names say.
    """
    whole = told.over(Columns(**file.usual))
    file.image_size = whole.image_size
    return Roles(whole)


def kept(path: Path) -> Columns | None:
    """The names that are kept beside a file, or None. Raises `NamesDamaged` for names that cannot be read."""
    named = _beside(path)
    if named is None:
        return None
    try:
        return Columns.named({role: name for role, name in named.items() if role != _DATASET}, str(place(path)))
    except InputError as error:
        raise NamesDamaged(str(error)) from error


def dataset_of(path: Path) -> str | None:
    """The name of the dataset that this library wrote to a file; None for other files, and where it cannot be read."""
    try:
        name = (_beside(path) or {}).get(_DATASET)
    except InputError:  # told when the columns are read
        return None
    return name if isinstance(name, str) else None


def names_of(path: Path, given: Columns | None = None) -> Columns:
    """The names given, and the kept ones where these say nothing."""
    return (given or Columns()).over(kept(path) or Columns())


def complemented(path: Path, given: Columns) -> Columns:
    """The same. Raises `InputError` if the kept ones say otherwise."""
    whole, found = names_of(path, given), kept(path) or Columns()
    if whole != found.over(given):
        raise InputError(
            f"{place(path)} names other columns than --columns ({_shown(found)}): leave --columns out to use "
            "these, or remove that file to replace them"
        )
    return whole


def keep(path: Path, columns: Columns, dataset: str | None = None) -> None:
    """Keep the names beside a file, with those that are kept there, and that of the dataset if it is told.

    Raises `InputError` if other names are kept there, or the disk refuses.
    """
    if complemented(path, columns) != kept(path):
        named = _beside(path) or ({} if dataset is None else {_DATASET: dataset})
        files.write_json(place(path), named | columns.told(), shared=True)


def _beside(path: Path) -> dict[str, Any] | None:
    """What is kept beside a file."""
    beside = place(path)
    try:
        return files.read_json(beside, "a JSON object of column names") if beside.is_file() else None
    except files.DamagedFile as error:
        raise NamesDamaged(str(error)) from error


def check_told(file: Arrays, columns: Columns) -> None:
    """Raises `UnnamedColumns` where it is not said what must be said, and `InputError` for what contradicts itself."""
    has = f"{file.path} has the columns {', '.join(file.names[:30])}: say"
    for role in ("observations", "actions"):
        if getattr(columns, role) is None:
            raise UnnamedColumns(file.path, f"{has} which are the {role}, by --columns {role}=NAME")
    if columns.rewards is None and columns.goals is None:
        raise UnnamedColumns(
            file.path,
            f"{has} which is the reward, by --columns rewards=NAME, or rewards=0 to clone without any; "
            "a flag of success is one, and rewards=-1 counts steps",
        )
    if columns.terminals is not None and columns.masks is not None:
        raise InputError(f"{file.path}: name terminals or masks, not both, since a mask is 1 - terminal")
    if columns.last is not None and columns.terminals not in (None, NONE):
        raise InputError(f"{file.path}: rows of final observations (last) go with masks, not with terminals")
    if columns.transitions is not None and (columns.transitions != INDEPENDENT or columns.next_observations is None):
        raise InputError(
            f"{file.path}: transitions must be {INDEPENDENT!r}, beside next_observations=NAME, "
            f"found {columns.transitions!r}{'' if columns.next_observations else ' without these'}"
        )
    for whole, role in ((whole, role) for whole in ("last", "transitions") for role in (*_ENDS, "next_observations")):
        if (whole, role) != ("transitions", "next_observations") and None not in map(columns.told().get, (whole, role)):
            raise InputError(f"{file.path}: {whole} already tells where episodes end; leave {role} out")
    if columns.terminals is None and columns.masks is None and columns.goals is None:
        raise UnnamedColumns(
            file.path,
            f"{has} where the task itself ended, by --columns terminals=NAME (or masks=NAME), or terminals=none "
            "where every episode was only cut off",
        )
    if not ({"last", "next_observations", *_ENDS} & columns.told().keys()) and columns.terminals in (None, NONE):
        raise UnnamedColumns(file.path, f"{has} where episodes end, by --columns ends=NAME, episodes=NAME or last=NAME")


def _is_toml(word: str) -> bool:
    return "=" not in word and word.endswith(".toml")


def _told_by(path: Path) -> dict[str, str]:
    """What a TOML file says of columns. Raises `InputError` for anything but names, numbers and lists of names."""
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {files.reason(error)}") from error
    except ValueError as error:
        raise InputError(f"{path} must be TOML, found damage ({error})") from error
    named = {}
    for role, name in told.items():
        names = name if isinstance(name, list) else [name]
        if not names or not all(isinstance(each, str | int | float) for each in names):
            raise InputError(f"{path}: {role} must be a name or a list of names, found {name!r}")
        named[role] = "+".join(map(str, names))
    return named


def _shown(columns: Columns) -> str:
    return ", ".join(f"{role}={name}" for role, name in columns.told().items())
