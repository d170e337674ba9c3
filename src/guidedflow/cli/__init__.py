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
from pathlib import Path
from typing import Annotated, Any, NoReturn

import jax
import tyro

from guidedflow import recipes
from guidedflow.cli import catalogue, origins, rehearsing, resuming
from guidedflow.cli.data import Data
from guidedflow.cli.diagnose import Diagnose
from guidedflow.cli.evaluate import Evaluate
from guidedflow.cli.explain import Explain
from guidedflow.cli.export import Export
from guidedflow.cli.finetune import Finetune
from guidedflow.cli.named import algorithm_class, is_name
from guidedflow.cli.origins import Origins
from guidedflow.cli.plot import Plot
from guidedflow.cli.reading import read
from guidedflow.cli.report import Report
from guidedflow.cli.serve import Serve
from guidedflow.cli.study import Study
from guidedflow.cli.sweep import Many, Sweep
from guidedflow.cli.train import AnyAlgorithm, Train, console, recipe_of, typed
from guidedflow.cli.tune import Tune
from guidedflow.errors import InputError
from guidedflow.files import reason
from guidedflow.settings import from_plain
from guidedflow.studies import demo
from guidedflow.training.interruption import NOTHING_SAVED, Interrupted
from guidedflow.training.plan import Plan


@dataclass(frozen=True)
class Demo:
    """Collect a dataset, train BC flow, FQL, GFP and QGF at a laptop's size, evaluate them, and draw the result."""

    plan: demo.Demo
    print_config: bool = False
    """Print every setting with where it came from, and do nothing."""
    dry_run: bool = False
    """List what would be made and what is there already, with an estimate of hours, and do nothing."""

    typed: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """Names of the flags that were typed."""

    def run(self) -> None:
        if self.print_config:
            settings = {
                name: str(value) if isinstance(value, Path) else value for name, value in vars(self.plan).items()
            }
            print(origins.listing({"demo": settings}, Origins(now=self.typed)))
        elif self.dry_run:
            print(rehearsing.of_demo(self.plan))
        else:
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
    Annotated[Train[AnyAlgorithm], tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Finetune, tyro.conf.subcommand("finetune")]
    | Annotated[Sweep, tyro.conf.subcommand("sweep")]
    | Annotated[Tune, tyro.conf.subcommand("tune")]
    | Annotated[Data, tyro.conf.subcommand("data")]
    | Annotated[Tasks, tyro.conf.subcommand("tasks")]
    | Annotated[Study, tyro.conf.subcommand("study")]
    | Annotated[Report, tyro.conf.subcommand("report")]
    | Annotated[Diagnose, tyro.conf.subcommand("diagnose")]
    | Annotated[Plot, tyro.conf.subcommand("plot")]
    | Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Serve, tyro.conf.subcommand("serve")]
    | Annotated[Explain, tyro.conf.subcommand("explain")]
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; leaves by `SystemExit` with status 2 where the input was at fault, 130 after Ctrl-C."""
    warnings.showwarning = lambda message, *_: console.print(f"warning: {message}", markup=False, soft_wrap=True)
    try:
        parsed(list(sys.argv[1:] if arguments is None else arguments)).run()
        sys.stdout.flush()
    except InputError as error:
        _fail(str(error))
    except Interrupted as left:
        if left.saved is None:
            print(f"guidedflow: {NOTHING_SAVED}", file=sys.stderr)
        raise
    except KeyboardInterrupt:
        print("guidedflow: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:  # the reader, such as head, has seen enough
        _discard_output()
        raise SystemExit(141) from None
    except OSError as error:
        if not _is_of_output(error):
            raise
        _discard_output()
        _fail(f"standard output could not be written: {reason(error)}; free its disk, or write elsewhere.")
    except (RuntimeError, AssertionError):  # of JAX, which says it in either way
        if (sentence := _about_devices()) is None:
            raise
        _fail(sentence)


def _fail(sentence: str) -> NoReturn:
    print(f"guidedflow: {sentence}", file=sys.stderr)
    raise SystemExit(2) from None


def _discard_output() -> None:
    """Let what is still to be printed go nowhere, since it cannot be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_of_output(error: OSError) -> bool:
    """Whether it is standard output that cannot be written, which then fails again in the same way."""
    try:
        print(flush=True)
    except OSError as again:
        return again.errno == error.errno
    except ValueError:
        return False
    return False


def _about_devices() -> str | None:
    """A sentence where JAX does not find the devices that it is to use, or None where it does."""
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        asked = os.environ.get("JAX_PLATFORMS") or "its default"
        told = " ".join(str(error).split())
        return (
            f"JAX finds no device for JAX_PLATFORMS={asked}{f' ({told})' if told else ''}; unset JAX_PLATFORMS, or "
            "install JAX for that device, such as pip install 'guidedflow[cuda12]'."
        )
    return None


def parsed(arguments: list[str]) -> Any:
    """What to run: a command with its settings."""
    if arguments[:1] == ["explain"]:  # a setting may be named as its flag is
        arguments = [word.lstrip("-") if word not in ("-h", "--help") else word for word in arguments]
    if arguments[:1] == ["train"]:
        return _training(arguments)
    if arguments[:1] == ["finetune"]:  # the offline share may be typed as 0.5:0.0
        at = next((place for place, word in enumerate(arguments) if word.startswith("--offline-share")), len(arguments))
        arguments = arguments[:at] + [word.replace(":", ",") for word in arguments[at : at + 2]] + arguments[at + 2 :]
    command = read(Command, arguments)
    return replace(command, typed=typed(arguments)) if isinstance(command, Many | Demo) else command


def _training(arguments: list[str]) -> Train[Any]:
    """A run to train. Values of a recipe, or of a run that goes on, become defaults, so that what is typed wins."""
    own = algorithm_class(arguments[1]) if len(arguments) > 1 and is_name(arguments[1]) else None
    now = set(typed(arguments))
    if resuming.asks(arguments):
        was = resuming.resumed(arguments, own)
        start = Train(was.algorithm, was.task, Path(), was.plan)
        command = _read_training(was.words, own, start)
        others = dict.fromkeys(origins.names(was.algorithm, was.plan), "the run")
        others |= dict.fromkeys(set(typed(was.words)) - now, "the run's command")
        return replace(command, words=tuple(was.words), origins=Origins(set(typed(was.words)), others, now))
    command = replace(_read_training(arguments, own), words=tuple(arguments), origins=Origins(now, None, now))
    if command.recipe is None:
        return command
    recipe = recipe_of(command)
    algorithm, plan = from_plain(type(command.algorithm), recipe.settings), Plan(**recipe.plan)
    others = dict.fromkeys([*recipe.settings, *recipe.plan], f"recipe {recipe.name} ({recipe.source or 'as usual'})")
    command = replace(command, algorithm=algorithm, plan=plan, origins=Origins(now, others, now))
    return _read_training(arguments, own, command)


def _read_training(words: list[str], own: type[Any] | None, start: Train[Any] | None = None) -> Any:
    """A run to train, what is not typed as in `start`; of an algorithm of the user's own, whose name is dropped."""
    if own is None:
        return read(Command, words, start)
    return read(Train[own], words[2:], start, prog=f"guidedflow train {words[1]}")  # type: ignore[valid-type]
