"""`guidedflow train`, and the recipes that fill in what is not typed.

This module does not know how arguments are read, nor how anything is trained.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

import tyro
from rich.console import Console

from guidedflow import environments, recipes
from guidedflow.algorithms import ALGORITHMS
from guidedflow.algorithms.contract import Algorithm
from guidedflow.data import actions
from guidedflow.data.actions import Outside
from guidedflow.data.dataset import Dataset
from guidedflow.data.formats.columns import Columns
from guidedflow.data.load import open_dataset
from guidedflow.data.ondisk.mapped import Mapped, is_mapped
from guidedflow.data.sampling.rebalance import Rebalance
from guidedflow.data.sampling.windows import WINDOW, Window
from guidedflow.data.sources import Origin, locate, named
from guidedflow.data.validation import Problems, check
from guidedflow.errors import InputError
from guidedflow.recipes import Recipe
from guidedflow.settings import to_plain
from guidedflow.training.loop import train
from guidedflow.training.plan import Plan

console = Console(stderr=True)

LOOKED_AT = 2**18
"""Rows of a dataset beyond memory that are looked at before it is trained on."""

OF_LENGTHS = ("chunk-too-long", "no-step", "no-transition")
"""What validation tells of the lengths of episodes; a part of them is no evidence, and cutting tells it of all."""

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
    """Task, for example cube-single-noisy-singletask-task1-v0; a name of your own, or a file, for data of your own."""
    out: Path
    """Folder of the run."""
    plan: Plan
    dataset: Path | None = None
    """Dataset file, if not in the suite's own folder; a folder of `data convert --to mapped` may exceed memory."""
    window: int = WINDOW.transitions
    """Transitions of such a folder that are on the device at a time."""
    window_updates: int = WINDOW.updates
    """Updates that a window serves; 0: until as many transitions were drawn as it holds."""
    rebalance: Literal["return", "weights"] | None = None
    """Draw transitions by their episode's return (ReD), or by a column (--columns weights=NAME), not uniformly."""
    rebalance_base: float = 0.0
    """Added to these weights, returns being scaled to [0, 1]; 0 as published never draws the worst episode."""
    columns: tuple[str, ...] = ()
    """Which column of your own file is what, such as observations=obs rewards=rew, or a TOML file; kept beside it."""
    clip_actions: bool = False
    """Clip actions that lie outside [-1, 1]."""
    rescale_actions: bool = False
    """Map the range of each dimension of the dataset's actions to [-1, 1]; policies act in its units again."""
    normalize_observations: bool = False
    """Bring each number of an observation to mean 0 and deviation 1; by default for data that no suite has."""
    recipe: str | None = None
    """Take settings from a recipe: published, quick (a laptop's size) or awr (GFP's ablation); flags beside it win."""
    resume: bool = False
    """Go on from the newest checkpoint of an existing run."""
    overwrite: bool = False
    """Replace an existing run, with all that is in its folder."""

    typed: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """Names of the flags that were typed."""

    def run(self) -> None:
        if self.plan.eval_interval:
            environments.simulated(named(self.task, self.dataset)[0])
        self.refuse_idle(is_mapped((self.dataset or Path(self.task)).expanduser()))
        origin = locate(self.task, self.dataset, Columns.parse(self.columns) if self.columns else None)
        dataset = self._load(origin)
        record = None
        if self.recipe is not None:
            recipe = recipe_of(self)
            if recipe.notice is not None:
                console.print(recipe.notice, markup=False, highlight=False, soft_wrap=True)
            values = _settings(self)
            record = recipe.record({name: values[name] for name in self.beside})
        train(
            self.algorithm,
            dataset,
            self.plan,
            out=self.out,
            resume=self.resume,
            overwrite=self.overwrite,
            recipe=record,
            normalize_observations=self.normalize_observations if "normalize_observations" in self.typed else None,
            window=Window(self.window, self.window_updates),
            rebalance=None if self.rebalance is None else Rebalance(self.rebalance, self.rebalance_base),
        )

    @property
    def beside(self) -> tuple[str, ...]:
        """Names of the settings, of algorithm and plan, that were typed beside a recipe."""
        return tuple(name for name in _settings(self) if name in self.typed)

    def refuse_idle(self, beyond: bool = False) -> None:
        """Raise InputError for a flag that would change nothing; `beyond` memory, data are trained on from disk."""
        plan, folder = self.plan, "a folder of data convert --to mapped"
        for flag, given, works, needs in (
            ("--chunk", plan.chunk, plan.horizon > 1, "--horizon 2 or more"),
            ("--rebalance-base", self.rebalance_base != Train.rebalance_base, self.rebalance, "--rebalance"),
            ("--window", self.window != Train.window, beyond, folder),
            ("--window-updates", self.window_updates != Train.window_updates, beyond, folder),
            ("--eval-episodes", plan.eval_episodes != Plan.eval_episodes, plan.eval_interval, "--eval-interval"),
            ("--keep-checkpoints", plan.keep_checkpoints, plan.checkpoint_interval, "--checkpoint-interval"),
        ):
            if given and not works:
                raise InputError(f"{flag} changes nothing without {needs}.")

    def _load(self, origin: Origin) -> Dataset | Mapped:
        """The dataset, whose columns' names are kept once nothing was found wrong with it."""
        origin.check_names()
        problems = Problems()
        dataset = open_dataset(
            origin, clip_actions=self.clip_actions, rescale_actions=self.rescale_actions, problems=problems
        )
        for problem in problems.warnings:
            console.print(f"warning: {problem}", markup=False, highlight=False, soft_wrap=True)
        self._validate(dataset)
        _keep(origin)
        return dataset

    def _validate(self, dataset: Dataset | Mapped) -> None:
        """Print what is odd about the dataset, a line each. Raises `InputError` for what must not be trained on."""
        plan, transitions, where = self.plan, len(dataset), ""
        if isinstance(dataset, Mapped):
            scale, dataset = dataset.action_scale, dataset.read(LOOKED_AT)
            dataset = dataset if scale is None else actions.inside(dataset, Outside.rescaled, scale)
        problems = check(dataset, discount=plan.discount, horizon=plan.horizon, chunk=plan.chunk)
        warnings, errors = problems.warnings, problems.errors
        if len(dataset) < transitions:  # what is true of some episodes may not be of all
            where = f" of the first {len(dataset):,} transitions"
            warnings, errors = ([p for p in found if p.kind not in OF_LENGTHS] for found in (warnings, errors))
        for problem in warnings:
            console.print(f"warning{where}: {problem}", markup=False, highlight=False, soft_wrap=True)
        if errors:
            raise InputError(str(errors[0]))


def _keep(origin: Origin) -> None:
    """Keep the names beside the file; where that cannot be, a warning tells it."""
    try:
        origin.keep_names()
    except InputError as error:
        told = f"warning: other commands will not know the names of the columns: {error}"
        console.print(told, markup=False, highlight=False, soft_wrap=True)


def recipe_of(command: Train) -> Recipe:
    """The recipe that a command names; defaults for tasks that are none of the 144."""
    name, algorithm = str(command.recipe), _name(command.algorithm)
    task = recipes.find(command.task)
    return recipes.unlisted(name, algorithm, command.task) if task is None else recipes.named(name, algorithm, task)


def typed(arguments: Sequence[str]) -> tuple[str, ...]:
    """Names of the flags among the arguments; that of a flag that switches something off is the thing's own."""
    flags = [word.removeprefix("--").partition("=")[0].replace("-", "_") for word in arguments if word[:2] == "--"]
    return tuple(sorted({flag.removeprefix("no_") for flag in flags}))


def _settings(command: Train) -> dict[str, Any]:
    """The settings of algorithm and plan, by the names of their flags."""

    def flat(plain: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        for name, value in plain.items():
            yield from flat(value) if isinstance(value, dict) else [(name, value)]

    return dict(flat({**to_plain(command.algorithm), **to_plain(command.plan)}))


def _name(algorithm: AnyAlgorithm) -> str:
    return next(name for name, cls in ALGORITHMS.items() if cls is type(algorithm))
