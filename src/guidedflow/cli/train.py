"""`guidedflow train`, and the recipes that fill in what is not typed.

This module does not know how arguments are read, nor how anything is trained.
"""

import shlex
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar, Union

import tyro
from rich.console import Console

from guidedflow import environments, recipes
from guidedflow.algorithms import ALGORITHMS
from guidedflow.algorithms.contract import Algorithm
from guidedflow.cli import origins, rehearsing
from guidedflow.cli.idle import refuse_idle
from guidedflow.cli.named import environment, is_name
from guidedflow.cli.origins import Origins
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
from guidedflow.environments.vector import open_simulators
from guidedflow.environments.worker import Success
from guidedflow.errors import InputError
from guidedflow.processes import sum_alike
from guidedflow.recipes import Recipe
from guidedflow.results.counts import plural
from guidedflow.runs.configuration import class_name
from guidedflow.runs.run import Run
from guidedflow.runs.trained import Trained
from guidedflow.settings import to_plain
from guidedflow.training.imitation import Imitation
from guidedflow.training.loop import train
from guidedflow.training.member import REMEDY
from guidedflow.training.plan import Plan
from guidedflow.training.rehearsal import rehearse

console = Console(stderr=True)

LOOKED_AT = 2**18
"""Rows of a dataset beyond memory that are looked at before it is trained on."""

OF_LENGTHS = ("chunk-too-long", "no-step", "no-transition")
"""What validation tells of the lengths of episodes; a part of them is no evidence, and cutting tells it of all."""

if TYPE_CHECKING:
    AnyAlgorithm = Algorithm[Any]
else:  # one subcommand a row of the table of algorithms
    AnyAlgorithm = Union[tuple(Annotated[cls, tyro.conf.subcommand(name)] for name, cls in ALGORITHMS.items())]  # noqa: UP007


Learns = TypeVar("Learns", bound=Algorithm[Any])


@dataclass(frozen=True)
class Train(Generic[Learns]):
    """Train an algorithm on a dataset; one of your own is named MODULE:CLASS in the place of its name."""

    algorithm: Learns
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
    curriculum: Literal["coil"] | None = None
    """Clone the episodes that the policy nearly plays already, then better ones (COIL), for at most --steps."""
    coil: Imitation = field(default_factory=Imitation)
    columns: tuple[str, ...] = ()
    """Which column of your own file is what, such as observations=obs rewards=rew, or a TOML file; kept beside it."""
    clip_actions: bool = False
    """Clip actions that lie outside [-1, 1]."""
    rescale_actions: bool = False
    """Map the range of each dimension of the dataset's actions to [-1, 1]; policies act in its units again."""
    env: str | None = None
    """Your own environment to evaluate in on the way, MODULE:FUNCTION, as evaluate takes it."""
    success: Success = "last"
    """When an episode counts as a success: by its last step, or by any of its steps."""
    episode_steps: int | None = None
    """Steps after which an episode of --env ends, if the environment itself has no limit."""
    normalize_observations: bool = False
    """Bring each number of an observation to mean 0 and deviation 1; by default for data that no suite has."""
    recipe: str | None = None
    """Take settings from a recipe: published, quick, laptop, auto, awr (of GFP) or online (of FQL). Flags win."""
    resume: bool = False
    """Go on from the newest checkpoint of an existing run."""
    overwrite: bool = False
    """Replace an existing run, with all that is in its folder."""
    deterministic: bool = False
    """Compute the same bits on any number of cores of a CPU; they are not those of a run without."""
    print_config: bool = False
    """Print every setting with where it came from, and train nothing."""
    dry_run: bool = False
    """Check everything, print sizes, memory and an estimate of the time, and train nothing."""

    words: Annotated[tuple[str, ...], tyro.conf.Suppress] = field(default=(), compare=False)
    """What was typed, and of a run that goes on what was typed for it before."""
    origins: Annotated[Origins, tyro.conf.Suppress] = field(default_factory=Origins, compare=False)
    """Where the settings came from."""

    def run(self) -> None:
        if self.print_config:
            print(origins.listing(self._groups(), self.origins))
            return
        if self.deterministic:
            sum_alike()
        Run.check(self.out, self.resume, self.overwrite)
        own = None if self.env is None else environment(self.env, self.plan.frame_stack, self.episode_steps)
        if self.plan.eval_interval and own is None:
            environments.simulated(named(self.task, self.dataset)[0])
        self.refuse_idle(is_mapped((self.dataset or Path(self.task)).expanduser()))
        origin = locate(self.task, self.dataset, Columns.parse(self.columns) if self.columns else None)
        dataset = self._load(origin)
        recipe = self._recipe()
        options: dict[str, Any] = {
            "normalize_observations": self.normalize_observations if "normalize_observations" in self.typed else None,
            "window": Window(self.window, self.window_updates),
            "rebalance": None if self.rebalance is None else Rebalance(self.rebalance, self.rebalance_base),
        }
        if self._imitation is not None:
            self._imitation.check(self.algorithm, dataset, self.plan, options["rebalance"])
        if self.dry_run:
            rehearsing.tell(rehearse(self.algorithm, dataset, self.plan, **options), dataset, self.plan, self.out)
            return
        with ExitStack() as stack:
            simulators = None
            if self.plan.eval_interval and (own is not None or self.success != "last"):
                most, frames = self.plan.eval_episodes * self.plan.seeds, self.plan.frame_stack
                simulators = stack.enter_context(
                    open_simulators(dataset.name, self.plan.workers, most, frames, own=own, success=self.success)
                )
            trained = train(
                self.algorithm,
                dataset,
                self.plan,
                out=self.out,
                curriculum=self._imitation,
                resume=self.resume,
                overwrite=self.overwrite,
                recipe=recipe,
                simulators=simulators,
                command=("guidedflow", *self.words),
                **options,
            )
        self._tell_what_is_next(trained)
        if trained.dead:
            told = "; ".join(death.sentence for death in trained.dead.values())
            raise InputError(f"Seeds {sorted(trained.dead)} are dead, and others are whole: {told}; {REMEDY}")

    @property
    def _imitation(self) -> Imitation | None:
        """The curriculum, if one was named."""
        return None if self.curriculum is None else self.coil

    @property
    def typed(self) -> Collection[str]:
        """Names of the flags that were typed."""
        return self.origins.typed

    def _groups(self) -> dict[str, dict[str, Any]]:
        """Every setting by its group."""
        kinds = (Algorithm, Plan)
        hidden = {"words", "origins", "print_config", "dry_run", "resume", "overwrite"}
        others = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in hidden}
        return {
            f"algorithm {class_name(type(self.algorithm))}": to_plain(self.algorithm),
            "plan": to_plain(self.plan),
            "data and run": {
                name: str(value) if isinstance(value, Path) else to_plain(value)
                for name, value in others.items()
                if not isinstance(value, kinds)
            }
            | ({} if "normalize_observations" in self.typed else {"normalize_observations": None}),
        }

    def _recipe(self) -> dict[str, Any] | None:
        """What the configuration records of the recipe; one that nothing published stands behind says so."""
        if self.recipe is None:
            return None
        recipe = recipe_of(self)
        if recipe.notice is not None:
            console.print(recipe.notice, markup=False, highlight=False, soft_wrap=True)
        values = _settings(self)
        return recipe.record({name: values[name] for name in self.beside})

    def _tell_what_is_next(self, trained: Trained) -> None:
        """Where the run is, and the command that comes next."""
        out = shlex.quote(str(self.out))
        console.print(
            f"run: {self.out}, {plural(trained.step, 'update')}", markup=False, highlight=False, soft_wrap=True
        )
        command = ["guidedflow", "evaluate", out]
        if class_name(type(self.algorithm)) not in ALGORITHMS:
            command += ["--algorithm", next((word for word in self.words if is_name(word)), "MODULE:CLASS")]
        if self.env is not None:
            command += ["--env", self.env]
        if self.env is not None or environments.known(trained.task):
            told = " ".join(command)
        else:
            told = (
                f"guidedflow.load_policy({str(self.out)!r}) in Python, or {' '.join(command)} --env MODULE:FUNCTION, "
                "or --off-policy --dataset HELD-OUT without a simulator"
            )
        console.print(f"next: {told}", markup=False, highlight=False, soft_wrap=True)

    @property
    def beside(self) -> tuple[str, ...]:
        """Names of the settings, of algorithm and plan, that were typed beside a recipe."""
        return tuple(name for name in _settings(self) if name in self.typed)

    def refuse_idle(self, beyond: bool = False) -> None:
        """Raise InputError for a flag that would change nothing; `beyond` memory, data are trained on from disk."""
        refuse_idle(self, beyond)

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
            where = f" of the first {plural(len(dataset), 'transition')}"
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


def recipe_of(command: Train[Any]) -> Recipe:
    """The recipe that a command names; defaults for tasks that are none of the 144."""
    name, algorithm = str(command.recipe), class_name(type(command.algorithm))
    task = recipes.find(command.task)
    return recipes.unlisted(name, algorithm, command.task) if task is None else recipes.named(name, algorithm, task)


def typed(arguments: Sequence[str]) -> tuple[str, ...]:
    """Names of the flags among the arguments; that of a flag that switches something off is the thing's own."""
    flags = [word.removeprefix("--").partition("=")[0].replace("-", "_") for word in arguments if word[:2] == "--"]
    return tuple(sorted({flag.removeprefix("no_") for flag in flags}))


def _settings(command: Train[Any]) -> dict[str, Any]:
    """The settings of algorithm and plan, by the names of their flags."""
    return dict(origins.flat({**to_plain(command.algorithm), **to_plain(command.plan)}))
