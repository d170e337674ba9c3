"""The data that a command of `guidedflow data` names by its file or its task."""

from typing import Protocol, runtime_checkable

from guidedflow.data.formats.columns import Columns
from guidedflow.data.sources import Origin, locate, named


@runtime_checkable
class TellsOfData(Protocol):
    """A command that may name the task and the columns of its data."""

    @property
    def task(self) -> str | None: ...
    @property
    def columns(self) -> tuple[str, ...]: ...


@runtime_checkable
class NamesData(TellsOfData, Protocol):
    """A command that names its data."""

    @property
    def source(self) -> str: ...


def origin_of(command: NamesData) -> Origin:
    """Where the data is that a command names by its file or its task."""
    return located(command, command.source)


def located(command: TellsOfData, place: str, source: str | None = None) -> Origin:
    """The data at a place that a command names; `source` is the name of its kind, where it is known."""
    name, path = named(place)
    return locate(command.task or name, path, Columns.parse(command.columns) if command.columns else None, source)
