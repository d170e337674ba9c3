"""The command line: what is typed becomes settings, and what goes wrong becomes one sentence and exit status 2.

The only file that imports the command-line library. It does not know how anything is done.
"""

import contextlib
import io
import itertools
import json
import math
import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union

import tyro
from rich.console import Console

from guidedflow import demo, report
from guidedflow.algorithm import Algorithm
from guidedflow.algorithms import ALGORITHMS
from guidedflow.data.collect import collect, collectable, published_episodes
from guidedflow.data.load import load_dataset
from guidedflow.errors import InputError, did_you_mean
from guidedflow.settings import check_ranges
from guidedflow.trained import Trained, open_simulators
from guidedflow.training import Plan, train

console = Console(stderr=True)

if TYPE_CHECKING:
    AnyAlgorithm = Algorithm[Any]
else:  # one subcommand a row of the table of algorithms
    AnyAlgorithm = Union[tuple(Annotated[cls, tyro.conf.subcommand(name)] for name, cls in ALGORITHMS.items())]  # noqa: UP007


@dataclass(frozen=True)
class Train:
    """Train an algorithm on a dataset."""

    algorithm: AnyAlgorithm
    """The algorithm, and its settings."""
    task: str
    """Task, for example cube-single-noisy-singletask-task1-v0."""
    out: Path
    """Folder of the run."""
    plan: Plan
    dataset: Path | None = None
    """Dataset file, if it is not in the suite's own folder."""
    resume: bool = False
    """Go on from the newest checkpoint of an existing run."""
    overwrite: bool = False
    """Replace an existing run."""

    def run(self) -> None:
        self.plan.check()
        dataset = load_dataset(self.task, self.dataset)
        train(self.algorithm, dataset, self.plan, out=self.out, resume=self.resume, overwrite=self.overwrite)


@dataclass(frozen=True)
class Evaluate:
    """Roll a trained policy out in the simulator."""

    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""
    policy: str | None = None
    """Policy, for example actor or flow; by default the algorithm's main one."""
    episodes: int = 50
    """Episodes of each training seed."""
    step: int | None = None
    """Checkpoint; by default the newest."""
    seed: int = 0
    """Chooses the episodes."""
    workers: int | None = None
    """Simulator processes; by default one a core."""
    json: bool = False
    """Print one JSON object on standard output."""
    video: int = 0
    """Also film so many episodes of the first training seed."""
    plot: bool = False
    """Also draw the learning curve of the run."""

    def run(self) -> None:
        check_ranges(self, episodes=(1, math.inf), video=(0, math.inf), seed=(0, 2**31 - 1))
        trained = Trained.open(self.path, self.step)
        trained.policy(self.policy)  # what cannot be had is told before the simulators start
        plot = report.learning_curve([self.path], self.path / "learning-curve.png") if self.plot else None
        with open_simulators(trained.task, self.workers) as simulators:
            result = trained.evaluate(self.policy, episodes=self.episodes, seed=self.seed, simulators=simulators)
        summary = result.summary()
        if self.video:
            film = self.path / f"{summary['policy']}.mp4"
            trained.film(film, self.policy, episodes=self.video)
            summary["video"] = str(film)
        if plot is not None:
            summary["plot"] = str(plot)
        if self.json:
            print(json.dumps(summary))
        else:
            report.print_summary(summary, Console())


@dataclass(frozen=True)
class Collect:
    """Make an OGBench dataset of the published recipe with the suite's scripted oracles, without a download."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """Dataset, for example cube-single-noisy-v0."""
    episodes: int | None = None
    """Training episodes; by default as published. A tenth as many go into the validation file."""
    workers: int | None = None
    """Processes; by default one a core."""
    seed: int = 0
    """The same seed gives the same files, whatever the number of workers."""
    out: Path | None = None
    """Folder; by default the suite's own."""
    overwrite: bool = False
    """Replace existing files."""

    def run(self) -> None:
        for path in collect(self.name, self.episodes, self.workers, self.seed, self.out, overwrite=self.overwrite):
            print(path)


@dataclass(frozen=True)
class List:
    """Name the datasets that can be collected, and how many training episodes were published."""

    def run(self) -> None:
        rows = [(name, f"{published_episodes(name):,}") for name in collectable()]
        Console().print(report.table(("dataset", "episodes"), rows, "guidedflow data collect NAME"))


@dataclass(frozen=True)
class Data:
    """Make datasets."""

    command: Annotated[Collect, tyro.conf.subcommand("collect")] | Annotated[List, tyro.conf.subcommand("list")]
    """What to do."""

    def run(self) -> None:
        self.command.run()


@dataclass(frozen=True)
class Demo:
    """Collect a dataset, train BC flow, FQL and GFP at a laptop's size, evaluate them, and draw the result."""

    plan: demo.Demo

    def run(self) -> None:
        demo.run(self.plan)


Command = (
    Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Data, tyro.conf.subcommand("data")]
    | Annotated[Demo, tyro.conf.subcommand("demo")]
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; leaves by `SystemExit` with status 2 where the input was at fault."""
    warnings.showwarning = lambda message, *_: console.print(f"warning: {message}", markup=False, soft_wrap=True)
    try:
        _parse(list(sys.argv[1:] if arguments is None else arguments)).run()
    except InputError as error:
        print(f"guidedflow: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _parse(arguments: list[str]) -> Any:
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            return tyro.cli(
                Command,
                prog="guidedflow",
                description="Offline reinforcement learning with flow policies, guided by value.",
                args=arguments or ["--help"],
                config=(tyro.conf.CascadeSubcommandArgs, tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
            )
    except SystemExit as leave:
        if leave.code in (0, None):
            raise
        raise InputError(_sentence(told.getvalue(), arguments)) from None


def _sentence(box: str, arguments: Sequence[str]) -> str:
    """The command-line library's box of lines, as one sentence."""
    inside = [line.strip("│| ") for line in box.splitlines()[1:-1]]
    text = " ".join(line for line in inside if line.strip("─-+"))
    words = itertools.takewhile(
        {"train", "evaluate", "data", "demo", "collect", "list", *ALGORITHMS}.__contains__, arguments
    )
    command = " ".join(["guidedflow", *words])
    if unknown := re.search(r"Unrecognized options: (\S+?)(,|\s|$)", text):
        word = unknown[1]
        known = re.findall(r"Available subcommands: ([\w, ]+?) For full", text)
        known = known[0].split(", ") if known else re.findall(r"(--[\w-]+) ", text.partition("Perhaps you meant")[2])
        hint = did_you_mean(word, known) or (f"; expected one of {', '.join(known)}" if "Available" in text else "")
        return f"unknown argument {word!r}{hint}; see '{command} --help'."
    if missing := re.search(r"Missing from [^:]*: (.*?) For full", text):
        flags = re.findall(r"--[\w-]+|\b[A-Z]{2,}\b", missing[1])
        return f"missing argument {flags[0] if flags else missing[1]}; see '{command} --help'."
    told = text.partition(" Argument helptext")[0].partition(" For full helptext")[0].rstrip(".")
    return f"{told}; see '{command} --help'."
