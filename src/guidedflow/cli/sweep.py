"""`guidedflow sweep`: a grid of runs, carried out here or on a Ray cluster."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from guidedflow import recipes
from guidedflow.cli import origins
from guidedflow.cli.origins import Origins
from guidedflow.errors import InputError
from guidedflow.results.counts import plural
from guidedflow.settings import to_plain
from guidedflow.sweeps import cluster, grid, local
from guidedflow.sweeps.board import Board
from guidedflow.sweeps.driver import Backend, check_data, claimed, sweep
from guidedflow.sweeps.estimate import estimate
from guidedflow.sweeps.grid import Planned, Source
from guidedflow.sweeps.left import Judging, left
from guidedflow.sweeps.packs import Outcome, Pack
from guidedflow.training.plan import Plan

console = Console(stderr=True)

EPISODES = 50
"""Of each policy of each finished run, where nobody says how many."""


@dataclass(frozen=True)
class Local:
    """Processes of this machine."""

    places: Sequence[local.Slot]
    logs: Path

    @property
    def workers(self) -> int:
        return len(self.places)

    def __call__(self, packs: Sequence[Pack], report: Callable[[Outcome], None], watch: Callable[[int], None]) -> None:
        local.carry_out(packs, self.places, self.logs, report, watch)


@dataclass(frozen=True)
class Cluster:
    """Tasks on a Ray cluster."""

    address: str | None
    workers: int
    cpus: float
    gpus: float

    def __call__(self, packs: Sequence[Pack], report: Callable[[Outcome], None], watch: Callable[[int], None]) -> None:
        cluster.carry_out(packs, self.address, report, watch, cpus=self.cpus, gpus=self.gpus)


@dataclass(frozen=True)
class Many:
    """What sweeps and tuning share: tasks, algorithms, settings, where they run."""

    out: Path
    """Folder of the sweep: a folder for each run, and the record of what was asked for."""
    plan: Plan
    tasks: tuple[str, ...] = ()
    """Tasks, for example cube-single-noisy-singletask-task1-v0."""
    suite: str | None = None
    """All tasks of a suite: ogbench, ogbench-noisy, d4rl, minari, all-144, metaworld or laptop."""
    algorithms: tuple[str, ...] = ("gfp",)
    """Algorithms, for example gfp fql iql rebrac."""
    hidden: tuple[int, ...] = ()
    """Sizes of the hidden layers of every algorithm; by default each algorithm's own."""
    recipe: str | None = None
    """Take settings from a recipe: published, quick, awr, laptop or auto; the grid and what is typed beside it win."""
    dataset: str | None = None
    """Dataset file, if not in the suite's own folder."""
    columns: tuple[str, ...] = ()
    """Which column of a file is what, as for train."""
    clip_actions: bool = False
    """Clip actions that lie outside [-1, 1]."""
    rescale_actions: bool = False
    """Map the range of each dimension of the dataset's actions to [-1, 1]."""
    normalize_observations: bool = False
    """Bring each number of an observation to mean 0 and deviation 1; by default for data that no suite has."""
    processes: int | None = None
    """Processes on this machine; by default one a core, or one an accelerator."""
    ray: bool = False
    """Run on a Ray cluster, by default one that is started here; all its machines must share the folder's disk."""
    address: str | None = None
    """Address of the cluster, such as auto or ray://host:10001."""
    ray_tasks: int = 4
    """Packs that a Ray cluster is given at a time for each shape of runs."""
    ray_cpus: float = 1
    """Cores of a pack on a Ray cluster."""
    ray_gpus: float = 0
    """Accelerators of a pack on a Ray cluster; a fraction gets that fraction of the memory."""
    json: bool = False
    """Print one JSON object on standard output."""
    print_config: bool = False
    """Print every setting with where it came from, and train nothing."""

    typed: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """Names of the flags that were typed."""

    def configuration(self) -> str:
        """Every setting, with where it came from."""
        hidden = {"plan", "typed", "print_config", "dry_run", "print_commands"}
        settings = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in hidden}
        own = {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()}
        if "normalize_observations" not in self.typed:
            own["normalize_observations"] = None
        plan = to_plain(self.plan)
        if "eval_episodes" not in self.typed:
            plan["eval_episodes"] = EPISODES
        return origins.listing({type(self).__name__.lower(): own, "plan": plan}, Origins(self.typed, None, self.typed))

    @property
    def names(self) -> list[str]:
        """The tasks by name. Raises `InputError` for none, and for tasks beside a suite."""
        if bool(self.tasks) == (self.suite is not None):
            raise InputError("give --tasks NAME ... or --suite NAME, one of the two.")
        return list(self.tasks) if self.suite is None else recipes.suite(self.suite)

    @property
    def episodes(self) -> int:
        """Episodes of each policy of each finished run: --eval-episodes, or 50 where it was not typed."""
        return self.plan.eval_episodes if "eval_episodes" in self.typed else EPISODES

    @property
    def source(self) -> Source:
        """Where the data lie."""
        normalize = self.normalize_observations if "normalize_observations" in self.typed else None
        return Source(self.dataset, self.columns, self.clip_actions, self.rescale_actions, normalize)

    def runs(self, values: grid.Grid) -> list[Planned]:
        """The runs of a grid."""
        return grid.expand(
            self.names, self.algorithms, values, self.plan, self.out, source=self.source, recipe=self.recipe,
            typed=self.typed, fixed={"hidden": list(self.hidden)} if self.hidden else {},
        )  # fmt: skip

    def check_data(self, runs: Sequence[Planned], judging: Judging) -> None:
        """Raise `InputError` for data that are not on this machine; on a cluster each machine looks for itself."""
        if isinstance(self.backend, Local):
            check_data(runs, judging)

    @property
    def backend(self) -> Backend:
        """What carries the runs out."""
        if self.ray or self.address is not None:
            return Cluster(self.address, self.ray_tasks, self.ray_cpus, self.ray_gpus)
        return Local(local.slots(self.processes), self.out / "logs")


@dataclass(frozen=True)
class Sweep(Many):
    """Train every algorithm at every setting of a grid on every task and seed, and evaluate each run.

    Runs that are done are not repeated, and interrupted ones go on: give the same command again.
    """

    grid: tuple[str, ...] = ()
    """Values to try, such as alpha=0.3,1,3 hidden=64x64,256x256, or of one algorithm fql.alpha=10,30."""
    grid_file: Path | None = None
    """The same from a TOML file: alpha = [0.3, 1], and a table [fql] for one algorithm."""
    dry_run: bool = False
    """List the runs, with an estimate of hours and disk, and train nothing."""
    episode_seed: int = 0
    """Which episodes evaluate: 0 are those that are reported; others choose settings, and are no reported number."""
    print_commands: bool = False
    """Print one self-contained line a run, for Slurm arrays and GNU parallel, and train nothing."""

    def run(self) -> None:
        if self.print_config:
            print(self.configuration())
            return
        values = {**(grid.read(self.grid_file) if self.grid_file else {}), **grid.parse(self.grid)}
        runs, judging = self.runs(values), Judging(self.episodes, self.episode_seed)
        if self.print_commands:
            for each in runs:
                print(grid.line(each, judging.episodes, judging.seed))
        elif self.dry_run:
            self._list(runs, judging)
        else:
            self._carry_out(runs, judging)

    def _list(self, runs: Sequence[Planned], judging: Judging) -> None:
        try:
            self.check_data(runs, judging)
        except InputError as error:
            console.print(f"warning: the sweep will stop here: {error}", markup=False, highlight=False, soft_wrap=True)
        found, backend = left(runs, judging), self.backend
        todo = [each.run for each in found if each.kind == "train"]
        expected = estimate(todo, backend.workers)
        told: dict[str, float] = {"tasks": len(self.names), "runs": len(runs)}
        told |= {"left": sum(each.kind != "nothing" for each in found)}
        told |= {"hours": round(expected.hours, 2), "gigabytes": round(expected.gigabytes, 2)}
        if self.json:
            listed = [{"out": str(each.run.out), "left": each.kind, "step": each.step} for each in found]
            print(json.dumps({**told, "workers": backend.workers, "each": listed}))
            return
        for each in found:
            print(f"{each.kind:8} {each.step:>9,} of {each.run.plan.steps:,}  {each.run.out}")
        print(
            f"{plural(len(self.names), 'task')}, {plural(len(runs), 'run')}, {told['left']} left: about "
            f"{expected.hours:,.1f} hours on {plural(backend.workers, 'worker')} without evaluations, and "
            f"{expected.gigabytes:,.1f} GB."
        )

    def _carry_out(self, runs: Sequence[Planned], judging: Judging) -> None:
        self.check_data(runs, judging)
        with claimed(self.out, runs, judging), Board(console) as board:
            ended = sweep(runs, judging, self.backend, board.begun, board.report, board.watch)
        if self.json:
            print(json.dumps(asdict(ended)))
        else:
            console.print(
                f"{ended.done} of {plural(ended.runs, 'run')} done, {len(ended.failed)} failed: "
                f"guidedflow report {self.out} -o {self.out}/report.html",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
        if ended.failed:
            raise SystemExit(1)
