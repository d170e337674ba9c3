"""What a report is made of, and what it is told of published scores: plain data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from guidedflow.results.tables import Sheet


@dataclass(frozen=True)
class Published:
    """A published score of a task, in points."""

    method: str
    mean: float
    deviation: float | None
    seeds: int | None
    source: str


@dataclass(frozen=True)
class Best:
    """The highest published means over the tasks of an environment, each with its method and source."""

    environment: str
    tasks: frozenset[str]
    """All tasks of the environment."""
    standard: tuple[float, str]
    any: tuple[float, str]
    published: Mapping[str, float] = field(default_factory=dict)
    """Means of published methods over the same tasks."""


@dataclass(frozen=True)
class Known:
    """What was published before."""

    published: Mapping[str, Sequence[Published]] = field(default_factory=dict)
    """By task."""
    suites: Mapping[str, str] = field(default_factory=dict)
    """The suite of each task; tasks without one stand under `other tasks`."""
    best: Sequence[Best] = ()


@dataclass(frozen=True)
class Picture:
    """A caption, and a function that draws the figure."""

    draw: Callable[[], Any]
    caption: str


@dataclass(frozen=True)
class Section:
    """A part of a report: sentences, tables, pictures, and commands."""

    title: str
    sentences: Sequence[str] = ()
    sheets: Sequence[Sheet] = ()
    pictures: Sequence[Picture] = ()
    commands: Sequence[tuple[str, str]] = ()
    """A run, and what was typed for it."""
