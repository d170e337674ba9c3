"""`guidedflow data`: make, get, look at and convert datasets.

This module does not know how arguments are read, nor what is in a file.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.console import Console

from guidedflow.cli.data_changes import Clean, Split, Weigh
from guidedflow.cli.data_origin import located, origin_of
from guidedflow.data.convert import Format, convert, convert_mixture, format_of
from guidedflow.data.formats import making
from guidedflow.data.formats.arrays import Arrays
from guidedflow.data.formats.columns import Columns, UnnamedColumns
from guidedflow.data.formats.opening import open_arrays
from guidedflow.data.load import read_parts
from guidedflow.data.obtain.collect import collect
from guidedflow.data.obtain.download import download
from guidedflow.data.obtain.inventory import folders, inventory
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.sources import SOURCES, Origin
from guidedflow.data.summary import described, draw, lines, summarize
from guidedflow.data.validation import validate
from guidedflow.errors import InputError
from guidedflow.progress import arrivals
from guidedflow.results import tables

if TYPE_CHECKING:
    SourceName = str
else:  # one a row of the table of sources
    SourceName = Literal[tuple(SOURCES)]


@dataclass(frozen=True)
class Collect:
    """Make a dataset of OGBench's, by its published recipe, or of MetaWorld's, with the suite's scripted oracles."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """Dataset, for example cube-single-noisy-v0 or metaworld-assembly-v3-mixed."""
    episodes: int | None = None
    """Training episodes; by default as published, MetaWorld's 200. A tenth as many go into the validation file."""
    workers: int | None = None
    """Processes; by default one a core."""
    seed: int = 0
    """The same seed gives the same files, whatever the number of workers."""
    out: Path | None = None
    """Folder, or a file whose name ends in .npz; by default the suite's own folder."""
    overwrite: bool = False
    """Replace existing files."""
    random_actions: float | None = None
    """Probability that an action is drawn at random, 0 to 1: how bad the data are; by default the recipe's."""
    noise: float | None = None
    """Deviation of the noise on the oracle's actions, 0 to 1; of noisy data the largest of an episode."""

    def run(self) -> None:
        for path in collect(
            self.name,
            self.episodes,
            self.workers,
            self.seed,
            self.out,
            overwrite=self.overwrite,
            random_actions=self.random_actions,
            noise=self.noise,
        ):
            print(path)


@dataclass(frozen=True)
class Download:
    """Get a published dataset from its suite's server or from a copy: whole and checked, or not at all."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """Dataset or task of OGBench's, D4RL's or Minari's, for example cube-single-noisy-v0; see data list."""
    out: Path | None = None
    """Folder; by default the suite's own."""
    server: str | None = None
    """Address of another copy, asked before the known ones."""
    slices: int | None = None
    """Only so many slices of a set of 100 million transitions."""

    def run(self) -> None:
        with arrivals() as report_arrival:
            paths = download(self.name, self.out, self.server, self.slices, report=report_arrival)
        for path in paths:
            print(path)


@dataclass(frozen=True)
class List:
    """Name the datasets that can be collected or downloaded, and those that are on this disk, with their sizes."""

    json: bool = False
    """Print one JSON object on standard output."""

    def run(self) -> None:
        entries = inventory()
        if self.json:
            places = {suite: str(place) for suite, place in folders().items()}
            print(json.dumps({"folders": places, "datasets": [entry.plain() for entry in entries]}))
            return
        rows = [(entry.name, entry.suite, *entry.words()) for entry in entries]
        headers = ("dataset", "suite", "to collect: episodes", "to download", "on this disk")
        shown = tables.table(headers, rows, "guidedflow data collect NAME, guidedflow data download NAME")
        Console(width=max(Console().width, 124)).print(shown)  # a name that is cut off is of no use


@dataclass(frozen=True)
class Show:
    """Tell what is in a dataset: sizes, ranges, episodes' lengths and returns, shares; or which columns a file has."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """File, folder, or name of a task."""
    task: str | None = None
    """Task, if the file's name does not tell it; OGBench's rewards depend on it."""
    columns: tuple[str, ...] = ()
    """Which column of your own file is what, as for train."""
    plot: Path | None = None
    """Also draw returns and actions into this file."""
    json: bool = False
    """Print one JSON object on standard output."""

    def run(self) -> None:
        origin = None
        try:
            origin = origin_of(self)
            self._tell(origin)
        except UnnamedColumns as unnamed:
            opened = None if origin is None else origin.source.open
            self._list(unnamed, opened or open_arrays)

    def _list(self, unnamed: UnnamedColumns, opened: Callable[[Path], Arrays]) -> None:
        """The columns of a file, of which not enough is known to make a dataset."""
        found = described(unnamed.path, opened)
        if self.json:
            print(json.dumps({"path": str(unnamed.path), "columns": found, "told": str(unnamed)}))
            return
        rows = [(entry["name"], str(entry["shape"]), entry["type"], entry["first"]) for entry in found]
        shown = tables.table(("column", "shape", "type", "first"), rows, f"{unnamed}")
        Console(width=max(Console().width, 120)).print(shown)

    def _tell(self, origin: Origin) -> None:
        """A dataset in numbers."""
        if origin.mapped and self.plot is None:
            told = Mapped.open(origin.path, origin.task).summary()
        else:
            dataset = origin.read()
            made = making.read(origin.path)
            told = summarize(dataset) | ({} if made is None else {"made": made})
            if self.plot is not None:
                told["plot"] = str(draw(dataset, self.plot))
        if self.json:
            print(json.dumps(told))
        else:
            spans = {name: told[name].pop("dimensions", None) for name in ("observations", "actions")}
            width = max(map(len, told))
            for name, line in lines(told).items():
                Console().print(f"{name:>{width}}  {line}", markup=False, highlight=False, soft_wrap=True)
            for name, dimensions in spans.items():
                if dimensions:
                    rows = [(str(i), *(f"{number:.4g}" for number in row.values())) for i, row in enumerate(dimensions)]
                    Console().print(tables.table((name, *dimensions[0]), rows, ""))


@dataclass(frozen=True)
class Validate:
    """Tell all that is wrong with a dataset, a line each; exit status 2 where nothing should be trained on it."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]
    """File, folder, or name of a task."""
    task: str | None = None
    """Task, if the file's name does not tell it."""
    columns: tuple[str, ...] = ()
    """Which column of your own file is what, as for train."""
    discount: float = 0.99
    """Discount (gamma) that values will be learned with."""
    horizon: int = 1
    """Steps of a transition, as for train."""
    chunk: bool = False
    """Whether chunks will be learned, as for train."""
    clip_actions: bool = False
    """Whether actions outside [-1, 1] will be clipped, as for train."""
    rescale_actions: bool = False
    """Whether actions will be rescaled, as for train."""
    json: bool = False
    """Print one JSON object on standard output."""

    def run(self) -> None:
        told = Columns.parse(self.columns) if self.columns else None
        problems = validate(
            self.source,
            self.task,
            told,
            discount=self.discount,
            horizon=self.horizon,
            chunk=self.chunk,
            clip_actions=self.clip_actions,
            rescale_actions=self.rescale_actions,
        )
        if self.json:
            print(json.dumps(problems.plain(self.source)))
        else:
            for problem in (*problems.errors, *problems.warnings):
                print(f"{problem.severity}: {problem}")
            print(f"{self.source}: {problems}")
        if problems.errors:
            raise SystemExit(2)


@dataclass(frozen=True)
class Convert:
    """Write a dataset in another format: npz, HDF5, a folder of Minari's, or one to be trained on beyond memory.

    With --mix, whole episodes of several datasets become one: data convert A B OUT --mix 0.9 0.1.
    """

    places: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SRC [SRC ...] DST")]
    """File, folder, or name of a task (a folder of OGBench's shards needs --task too), and what is not there yet."""
    mix: tuple[float, ...] = ()
    """Shares of the episodes that come from each source, which add up to 1."""
    episodes: int | None = None
    """Episodes of a mixture; by default as many as the sources allow without repeating one."""
    seed: int = 0
    """Chooses the episodes of a mixture."""
    origin: Annotated[SourceName | None, tyro.conf.arg(name="from")] = None
    """Which source it is; by default found out."""
    to: Format | None = None
    """Format; by default told by the suffix (.mapped: memory-mapped columns)."""
    task: str | None = None
    """Task, if the file's name does not tell it."""
    columns: tuple[str, ...] = ()
    """Which column of your own file is what, as for train."""

    def run(self) -> None:
        sources = max(len(self.mix), 1)
        if len(self.places) != sources + 1:
            known = f"--mix has {sources} shares" if self.mix else "there is no --mix"
            raise InputError(
                f"data convert takes {sources} SRC and a DST, since {known}, but got {len(self.places)} places."
            )
        if not self.mix and (self.episodes is not None or self.seed):
            raise InputError("--episodes and --seed change nothing without --mix.")
        *given, last = self.places
        destination = Path(last)
        origins = [located(self, source, self.origin) for source in given]
        if self.mix:
            print(convert_mixture(origins, self.mix, destination, self.to, seed=self.seed, episodes=self.episodes))
            return
        path = origins[0].path
        data = read_parts(origins[0], to_disk=format_of(destination, self.to) == "mapped")
        print(convert(data, destination, self.to, str(path), making.read(path)))


@dataclass(frozen=True)
class Data:
    """Make, get, look at, check and convert datasets."""

    command: (
        Annotated[Collect, tyro.conf.subcommand("collect")]
        | Annotated[Download, tyro.conf.subcommand("download")]
        | Annotated[List, tyro.conf.subcommand("list")]
        | Annotated[Show, tyro.conf.subcommand("show")]
        | Annotated[Validate, tyro.conf.subcommand("validate")]
        | Annotated[Convert, tyro.conf.subcommand("convert")]
        | Annotated[Clean, tyro.conf.subcommand("clean")]
        | Annotated[Split, tyro.conf.subcommand("split")]
        | Annotated[Weigh, tyro.conf.subcommand("weigh")]
    )
    """What to do."""

    def run(self) -> None:
        self.command.run()
