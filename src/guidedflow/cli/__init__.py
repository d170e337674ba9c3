"""The command line: what is typed becomes settings, and what goes wrong becomes one sentence and exit status 2.

One file a command; `reading` turns arguments into one of them. The only package that imports the command-line library.
It does not know how anything is done.
"""

import json
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import tyro

from guidedflow import recipes
from guidedflow.cli import catalogue
from guidedflow.cli.data import Data
from guidedflow.cli.evaluate import Evaluate
from guidedflow.cli.export import Export
from guidedflow.cli.plot import Plot
from guidedflow.cli.reading import read
from guidedflow.cli.report import Report
from guidedflow.cli.serve import Serve
from guidedflow.cli.study import Study
from guidedflow.cli.sweep import Many, Sweep
from guidedflow.cli.train import Train, console, recipe_of, typed
from guidedflow.cli.tune import Tune
from guidedflow.errors import InputError
from guidedflow.settings import from_plain
from guidedflow.studies import demo
from guidedflow.training.plan import Plan


@dataclass(frozen=True)
class Demo:
    """Collect a dataset, train BC flow, FQL, GFP and QGF at a laptop's size, evaluate them, and draw the result."""

    plan: demo.Demo

    def run(self) -> None:
        demo.run(self.plan)


@dataclass(frozen=True)
class Tasks:
    """List the benchmark's 144 tasks, or tell all about one: data, scores, recipes, and the commands to run them."""

    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = None
    """Task, for example cube-single-noisy-singletask-task1-v0; by default all of them."""
    suite: str | None = None
    """Only this suite: ogbench, d4rl or minari."""
    family: str | None = None
    """Only this family, for example cube."""
    json: bool = False
    """Print one JSON object on standard output."""

    def run(self) -> None:
        if self.name is not None and (self.suite or self.family):
            raise InputError("tasks takes a NAME or filters, not both; drop --suite and --family.")
        one = self.name is not None
        tasks = [recipes.task(self.name)] if self.name is not None else recipes.tasks(self.suite, self.family)
        if self.json:
            print(json.dumps({"tasks": [catalogue.plain(task, with_recipes=one) for task in tasks]}))
        else:
            print(catalogue.page(tasks[0]) if one else catalogue.listing(tasks))


Command = (
    Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Sweep, tyro.conf.subcommand("sweep")]
    | Annotated[Tune, tyro.conf.subcommand("tune")]
    | Annotated[Data, tyro.conf.subcommand("data")]
    | Annotated[Tasks, tyro.conf.subcommand("tasks")]
    | Annotated[Study, tyro.conf.subcommand("study")]
    | Annotated[Report, tyro.conf.subcommand("report")]
    | Annotated[Plot, tyro.conf.subcommand("plot")]
    | Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Serve, tyro.conf.subcommand("serve")]
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; leaves by `SystemExit` with status 2 where the input was at fault."""
    warnings.showwarning = lambda message, *_: console.print(f"warning: {message}", markup=False, soft_wrap=True)
    try:
        parsed(list(sys.argv[1:] if arguments is None else arguments)).run()
    except InputError as error:
        print(f"guidedflow: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None


def parsed(arguments: list[str]) -> Any:
    """What to run. A recipe's values become the defaults of a second reading, so that what is typed wins."""
    command = read(Command, arguments)
    if isinstance(command, Many):
        return replace(command, typed=typed(arguments))
    if not isinstance(command, Train):
        return command
    command = replace(command, typed=typed(arguments))
    if command.recipe is None:
        return command
    recipe = recipe_of(command)
    algorithm = from_plain(type(command.algorithm), recipe.settings)
    return read(Command, arguments, replace(command, algorithm=algorithm, plan=Plan(**recipe.plan)))
