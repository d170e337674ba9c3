"""Experiments: studies that train. A grid becomes runs of a sweep; each run is measured; a table and a picture follow.

    cells      what is compared: an algorithm, changes of the plan and of the data, and the labels of a row
    sweep      trains and evaluates a run for each cell and seed; what is done is not repeated
    measure    numbers of one run; over the seeds of a cell they become their mean

An experiment is a frozen dataclass of settings with `cells`, `measure` and `draw`. This module does not know what is
compared, nor how runs are carried out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from guidedflow import environments
from guidedflow.algorithms import ALGORITHMS
from guidedflow.algorithms.contract import Algorithm
from guidedflow.data.dataset import Dataset
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.transitions import Transitions
from guidedflow.environments.vector import Simulators
from guidedflow.errors import InputError
from guidedflow.evaluation.rollout import evaluate
from guidedflow.keys import Stream, stream_key
from guidedflow.policies.policy import Policy
from guidedflow.results import confidence
from guidedflow.results.counts import plural
from guidedflow.runs.trained import Trained
from guidedflow.settings import check_ranges
from guidedflow.studies.finding import Finding
from guidedflow.studies.picture import Figure
from guidedflow.studies.signature import signature
from guidedflow.sweeps.driver import Ended
from guidedflow.sweeps.grid import Planned, Source
from guidedflow.sweeps.left import Judging, reported
from guidedflow.training.plan import Plan
from guidedflow.types import Transition

CarryOut = Callable[[Sequence[Planned], Judging], Ended]
"""Trains and evaluates runs."""

Measured = dict[str, float | None]
"""Numbers of one run, or of one of its checkpoints."""

SMALL = Plan(steps=12_000, eval_episodes=20)
"""How long an experiment trains where nobody says so: one to three minutes of a core each run."""


@dataclass(frozen=True)
class Setup:
    """What all cells of an experiment share. Raises `InputError` for a number out of range."""

    task: str
    """Task, for example cube-single-noisy-singletask-task1-v0; a name of your own for data of your own."""
    plan: Plan = SMALL
    """How long each run trains, on which seeds, and with how many episodes it is evaluated."""
    dataset: str | None = None
    """Dataset file, if it is not in the suite's own folder."""
    hidden: tuple[int, ...] = (128, 128, 128)
    """Sizes of the hidden layers of every network."""
    learning_rate: float = 1e-3
    """Step size of Adam; published is mostly 3e-4, for a hundred times as many updates."""
    flow_steps: int = 5
    """Euler steps of each flow; published is 10."""
    states: int = 1024
    """Transitions of the dataset on which a run is measured."""
    runs: Path = Path("runs/study")
    """Folder of the runs; what is there already is used again."""

    def __post_init__(self) -> None:
        check_ranges(self, states=(1, np.inf), learning_rate=(0, 1), flow_steps=(1, np.inf))
        if not self.hidden:
            raise InputError("hidden must have at least one number, but is empty.")

    def algorithm(self, name: str, **settings: Any) -> Algorithm[Any]:
        """An algorithm by its name, at the sizes of this experiment, with these settings."""
        sizes = {"hidden": self.hidden, "learning_rate": self.learning_rate, "flow_steps": self.flow_steps}
        known = {each.name for each in fields(ALGORITHMS[name])}  # type: ignore[arg-type]
        return ALGORITHMS[name](**{key: value for key, value in sizes.items() if key in known}, **settings)

    @property
    def judging(self) -> Judging:
        """The episodes that every run is evaluated on."""
        return Judging(self.plan.eval_episodes)


@dataclass(frozen=True)
class Cell:
    """One row of an experiment before it is measured."""

    labels: Mapping[str, Any]
    """What tells it from the others; the first columns of its row."""
    algorithm: Algorithm[Any]
    plan: Mapping[str, Any] = field(default_factory=dict)
    """Changes of the plan."""
    dataset: str | None = None
    """Dataset file in the place of the shared one."""
    policy: str | None = None
    """The policy whose success is reported; by default the main one."""
    run: str | None = None
    """Folder of its runs; by default its labels. Cells of one folder share their runs."""

    @property
    def folder(self) -> str:
        """Name of the folder of its runs."""
        return self.run or "-".join(f"{name}={_word(value)}" for name, value in self.labels.items())

    def planned(self, setup: Setup) -> list[Planned]:
        """Its runs, one a seed."""
        plan = replace(setup.plan, eval_interval=0, **self.plan)
        source = Source(self.dataset or setup.dataset)
        folder = setup.runs / self.folder
        return [
            Planned(setup.task, self.algorithm, replace(plan, seed=seed, seeds=1), folder / f"seed-{seed}", source)
            for seed in plan.each_seed
        ]


@dataclass(frozen=True)
class Trial:
    """One trained run of a cell, and what it takes to measure it."""

    cell: Cell
    setup: Setup
    trained: Trained
    data: Dataset | Mapped
    simulators: Callable[[], Simulators]
    """The simulators of the task, opened when they are first needed."""

    @cached_property
    def transitions(self) -> Transitions:
        """The dataset as the run cut it."""
        return self.trained.cut(self.data)

    @cached_property
    def batch(self) -> Transition:
        """Transitions to measure on, the same for every run, as a policy sees them."""
        return self.transitions.sample(stream_key(0, Stream.SELECTION_EPISODES), self.setup.states).acting

    def policy(self, name: str | None = None) -> Policy:
        """A policy of the run without the axis of seeds, in the box; by default that whose success is reported."""
        policies = self.trained.policies()
        return without_seeds(policies[name or self.cell.policy or next(iter(policies))])

    def at(self, step: int) -> "Trial":
        """The run at one of its checkpoints."""
        return replace(self, trained=Trained.open(self.trained.run.path, step))

    def sibling(self, folder: str) -> Trained:
        """The run of the same seed in another folder."""
        return Trained.open(self.setup.runs / folder / f"seed-{self.trained.seeds[0]}")

    def success(self, policy: Policy) -> float | None:
        """Success of a policy of the run, with the axis of seeds, on the reported episodes; no row is written."""
        acting = self.trained.configuration.in_units(policy)
        found = evaluate(
            acting, self.simulators(), task=self.setup.task, seeds=self.trained.seeds,
            episodes=self.setup.plan.eval_episodes, task_ids=environments.task_ids(self.setup.task),
        )  # fmt: skip
        return found.summary()["success_mean"]


@runtime_checkable
class Experiment(Protocol):
    """What every experiment has beside its settings."""

    simulated: ClassVar[bool]
    """Whether nothing can be measured without a simulator."""

    def cells(self, setup: Setup, carry_out: CarryOut) -> list[Cell]:
        """What is compared. Runs that have to be done before, such as tuning, are carried out."""
        ...

    def measure(self, trial: Trial) -> list[Measured]:
        """Numbers of one run, in one row or several."""
        ...

    def draw(self, finding: Finding) -> Figure:
        """The picture of what was found."""
        ...


def measure(experiment: Experiment, setup: Setup, carry_out: CarryOut, simulators: Callable[[], Simulators]) -> Finding:
    """Carry out the runs of an experiment and measure each. A cell whose runs failed has the reason in its row.

    Raises `InputError` for a task without a simulator where one is needed, for unknown data, and where all runs failed.
    """
    if experiment.simulated:
        environments.simulated(setup.task)
    cells = experiment.cells(setup, carry_out)
    planned = {run.out: run for cell in cells for run in cell.planned(setup)}
    opened = {source: source.open(setup.task) for source in {run.source for run in planned.values()}}
    ended = carry_out(list(planned.values()), setup.judging)
    rows: list[dict[str, Any]] = []
    for cell in cells:
        runs = cell.planned(setup)
        failed = next((ended.failed[str(run.out)] for run in runs if str(run.out) in ended.failed), None)
        if failed is not None:
            rows.append({**cell.labels, "failed": failed})
            continue
        trials = [Trial(cell, setup, Trained.open(run.out), opened[run.source], simulators) for run in runs]
        outcome = _outcome(cell, runs, setup.judging)
        found = [experiment.measure(trial) for trial in trials]
        rows += [{**cell.labels, **outcome, **_mean(each), "failed": None} for each in zip(*found, strict=True)]
    names = dict.fromkeys(name for row in rows for name in row if name != "failed")
    if all(row["failed"] for row in rows):
        raise InputError(f"all runs failed; the first: {rows[0]['failed']}")
    plan = setup.plan
    episodes = f"{plural(plan.eval_episodes, 'episode')} a seed"
    title = f"{setup.task}: {plural(plan.steps, 'update')}, {plural(plan.seeds, 'seed')}, {episodes}"
    notes = {"task": setup.task, "steps": plan.steps, "seeds": plan.each_seed, "episodes": plan.eval_episodes}
    complete = [{**dict.fromkeys(names), **row} for row in rows]
    return Finding(title, [{**row, "signature": signature(row)} for row in complete], notes)


def without_seeds(policy: Policy) -> Policy:
    """The policy of a run of one seed, without the axis of seeds."""
    import jax

    return jax.tree.map(lambda leaf: leaf[0] if np.ndim(leaf) else leaf, policy)


def with_seeds(policy: Policy) -> Policy:
    """A policy of one seed, with an axis of seeds before every array."""
    import jax

    return jax.tree.map(lambda leaf: leaf[None] if isinstance(leaf, jax.Array) else leaf, policy)


def _outcome(cell: Cell, runs: Sequence[Planned], judging: Judging) -> dict[str, Any]:
    """Success with its interval, and return, of the cell's policy over all seeds; None where it was not rolled out.

    With fewer than three seeds the interval is of these runs alone.
    """
    outcomes = []
    for run in runs:
        found = reported(run.out, run.plan.steps, judging)
        if found:
            outcomes.append(found[cell.policy or next(iter(found))][: judging.episodes])
    if not outcomes:
        return {"success": None, "low": None, "high": None, "return": None}
    returns = float(np.mean([row["return"] for rows in outcomes for row in rows]))
    successes = [[row["success"] for row in rows] for rows in outcomes]
    if any(value is None for values in successes for value in values):
        return {"success": None, "low": None, "high": None, "return": returns}
    table = np.array(successes, float)
    interval = _interval(table)
    return {"success": float(np.mean(table)), "low": interval.low, "high": interval.high, "return": returns}


def _interval(outcomes: confidence.Outcomes) -> confidence.Interval:
    if len(outcomes) >= confidence.FEWEST_SEEDS:
        return confidence.proportion(outcomes)
    return confidence.binomial(round(outcomes.sum()), outcomes.size)


def _mean(each: Sequence[Measured]) -> Measured:
    """The mean over seeds of each number; None where a seed lacks it."""
    means: Measured = {}
    for name in each[0]:
        values = [found[name] for found in each]
        known = [value for value in values if value is not None]
        means[name] = float(np.mean(known)) if len(known) == len(values) else None
    return means


def _word(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return "".join(letter if letter.isalnum() or letter in ".-_" else "_" for letter in text)
