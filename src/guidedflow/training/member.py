"""One run among those that train together: what it was ordered as, its folder, what watches it."""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from guidedflow import environments
from guidedflow.algorithms.contract import Algorithm, initial_state
from guidedflow.data.dataset import Dataset
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.sampling.cutting import Cutting, observation_scale
from guidedflow.data.sampling.rebalance import Rebalance
from guidedflow.data.sampling.windows import Window
from guidedflow.data.sources import at_home
from guidedflow.data.transitions import Transitions
from guidedflow.environments.vector import Simulators
from guidedflow.errors import InputError
from guidedflow.evaluation.rollout import evaluate
from guidedflow.keys import Stream
from guidedflow.results import diagnostics, intervals
from guidedflow.results.intervals import Metrics
from guidedflow.runs import checkpoint, deaths
from guidedflow.runs.configuration import Configuration, Spaces
from guidedflow.runs.deaths import Death
from guidedflow.runs.run import Run
from guidedflow.runs.tracking import Tracker
from guidedflow.runs.trained import Trained
from guidedflow.settings import defaults_of, to_plain
from guidedflow.training.imitation import Course, Imitation
from guidedflow.training.plan import Plan
from guidedflow.training.record import record
from guidedflow.types import Transition

REMEDY = "look for extreme rewards in the dataset, or lower --learning-rate."
"""What to do about numbers that are not finite."""


@dataclass(frozen=True)
class Order:
    """A run that is to be trained: by which algorithm, how long, into which folder."""

    algorithm: Algorithm[Any]
    plan: Plan
    out: Path
    resume: bool = False
    overwrite: bool = False
    recipe: Mapping[str, Any] | None = None
    command: Sequence[str] | None = None
    """What to type to train it alone; by default the command of this process."""
    beside: Mapping[str, Any] = field(default_factory=dict)
    """Further entries of the configuration."""


class Member:
    """A run that trains, alone or beside others; `error` says why it stopped before the end."""

    run: Run
    tracker: Tracker

    def __init__(
        self,
        order: Order,
        dataset: Dataset | Mapped,
        example: Transition,
        cutting: Cutting,
        window: Window,
        rebalance: Rebalance | None,
        curriculum: Imitation | None = None,
    ) -> None:
        self.order, self.algorithm, self.plan, self.seeds = order, order.algorithm, order.plan, order.plan.each_seed
        self.error: InputError | None = None
        self.dead: dict[int, Death] = {}
        self._watch = diagnostics.Watch(self.seeds)
        self._task, self._example, self._began = dataset.name, example, False
        self.configuration = _configuration(dataset, example, self.plan, cutting)
        self._config = record(
            self.algorithm,
            dataset,
            self.plan,
            self.configuration,
            recipe=order.recipe,
            window=window if isinstance(dataset, Mapped) else None,
            rebalance=rebalance,
            curriculum=curriculum,
            command=order.command,
        ) | dict(order.beside)

    def claim(self) -> Run:
        """Its folder, locked for this process; nothing in it changes before `begin`."""
        defaults = to_plain(Plan()) | {"algorithm": defaults_of(type(self.algorithm))}
        return Run.claim(self.order.out, self._config, self.order.resume, self.order.overwrite, defaults)

    def track(self, shown: Sequence[str]) -> Tracker:
        """What reports it while it trains."""
        wandb, config = self.plan.wandb, self._config
        return Tracker(self.run.path, self.seeds, self.plan.steps, shown=shown, wandb=wandb, config=config)

    def restore(self) -> tuple[int, Any]:
        """The step and the state to go on from. Raises `InputError` where the run has come further than its plan."""
        seeds, newest = jnp.asarray(self.seeds, jnp.int32), None
        if self.order.resume:
            newest = checkpoint.latest(self.run.checkpoints)
            if newest is not None and newest > self.plan.steps:
                raise InputError(f"{self.run.path} has come to step {newest} already; give --steps beyond it.")
            self.run.warn_of_changes()
        if newest is None:
            if self.order.resume:
                self.tracker.note(f"no checkpoint was found in {self.run.path}; starting from 0")
            return 0, initial_state(self.algorithm, self._example, seeds)
        like = jax.eval_shape(initial_state, self.algorithm, self._example, seeds)
        step, state = checkpoint.load(self.run.checkpoints, None, like)
        self.dead = deaths.at(deaths.read(self.run.path), step)
        return step, jax.tree.map(jnp.asarray, state)

    def restore_course(self, course: Course, state: Any, step: int) -> None:
        """Bring a curriculum to where it was at a step, or let it pick for the first call."""
        if step:
            course.resume(checkpoint.load(self.run.checkpoints, step, course.progress, beside=True)[1])
        else:
            course.move(jax.tree.map(lambda leaf: leaf[0], state), step)

    @property
    def dead_rows(self) -> list[int]:
        """The rows of the seeds that are dead."""
        return [row for row, seed in enumerate(self.seeds) if seed in self.dead]

    def dying(self, alive: Bool[np.ndarray, " seeds"]) -> list[int]:
        """The rows of the seeds that are not finite after an interval, and were before."""
        return [row for row, seed in enumerate(self.seeds) if not alive[row] and seed not in self.dead]

    def bury(self, found: Sequence[Death], step: int, end: int) -> bool:
        """Record seeds that died between two steps; whether the run stops, because none is left."""
        if not found:
            return False
        self.dead |= {death.seed: death for death in found}
        stops = len(self.dead) == len(self.seeds)
        if stops:
            self.error = InputError(
                f"Training stopped between steps {step} and {end}: {found[0].sentence}; {REMEDY} "
                "Earlier checkpoints are unharmed."
            )
        if self._began or not stops:
            self.begin(step)
            deaths.write(self.run.path, self.dead.values())
        for death in found if not stops else ():
            self.tracker.note(f"seed {death.seed} is dead: {death.sentence}; {REMEDY} The other seeds go on.")
        return stops

    def of_healthy(self, numbers: Metrics, rows: slice) -> dict[str, Float[np.ndarray, " own"]]:
        """The numbers of the run's rows, NaN for dead seeds."""
        found = {name: np.array(values[rows], np.float32) for name, values in numbers.items()}
        for values in found.values():
            values[self.dead_rows] = np.nan
        return found

    def begin(self, step: int) -> None:
        """Write the configuration, and forget rows beyond the step that was restored; once."""
        if not self._began:
            self.run.begin()
            self.tracker.rewind(step or None)
            deaths.write(self.run.path, self.dead.values())
            self._watch.replay(intervals.read(self.run.metrics))
        self._began = True

    def warn(self, step: int, figures: Metrics) -> dict[str, Float[np.ndarray, " seeds"]]:
        """Print the warnings that begin at a step, and return them as columns of its row."""
        begun = self._watch.observe(step, figures)
        for warning in begun:
            self.tracker.note(warning.sentence)
        return diagnostics.columns(begun, self.seeds)

    def check_simulators(self, simulators: Simulators) -> None:
        """Raises `InputError` where the dataset is of other sizes than the simulator, before anything is learned."""
        seen, taken = simulators.observation_shape, math.prod(simulators.single_action_space.shape)
        found = self._example.observation.shape
        size = self._example.action.size // (self.plan.horizon if self.plan.chunk else 1)
        if (found, size) != (seen, taken):
            raise InputError(
                f"The dataset has observations of shape {found} and actions of {size} numbers, but the simulator of "
                f"{self._task!r} gives {seen} and takes {taken}; train without --eval-interval, or under the name of "
                "the task that the data are of."
            )

    def evaluate(self, state: Any, step: int, simulators: Simulators, watch: Callable[[], None] | None = None) -> None:
        """Roll out every policy, on episodes that only training sees, and write the rows; `watch` may end it."""
        seeds, state = deaths.survivors(self.seeds, state, self.dead)
        for name, policy in self.algorithm.policies(state).items():
            acting = self.configuration.in_units(policy)
            found = evaluate(
                acting, simulators, task=self._task, seeds=seeds, episodes=self.plan.eval_episodes,
                seed=self.plan.seed, stream=Stream.TRAINING_EPISODES, task_ids=environments.task_ids(self._task),
                watch=watch,
            )  # fmt: skip
            self.tracker.episodes(found.labelled(policy=name, step=step).rows)

    def trained(self, state: Any, step: int) -> Trained:
        """What the run has learned."""
        return Trained(self.run, self.algorithm, state, step, self.configuration)


def check_arguments(algorithm: Any, dataset: Any, plan: Any) -> None:
    """Raises `InputError` for what is not made to be trained."""
    for value, kind, wanted in (
        (algorithm, Algorithm, "an algorithm with its settings, such as GFP(alpha=1.0)"),
        (dataset, Dataset | Mapped, "a dataset, as load_dataset gives it"),
        (plan, Plan, "a plan, such as Plan(steps=20_000)"),
    ):
        if not isinstance(value, kind) or isinstance(value, type):
            raise InputError(f"train takes {wanted}, but got {value!r}.")
    if not is_dataclass(algorithm) or jax.tree_util.all_leaves([algorithm]):
        name = type(algorithm).__name__
        raise InputError(f"{name} is no class of settings; decorate it by guidedflow.settings.hyperparameters.")


def check_orders(orders: Sequence[Order]) -> None:
    """Raises `InputError` for runs that cannot be one program."""
    shared = [replace(order.plan, seed=0, discount=0.0) for order in orders]
    if any(each != shared[0] for each in shared):
        raise InputError("Runs that train as one program may differ in float settings and seeds alone.")


def several(orders: Sequence[Order]) -> bool:
    """Whether runs differ in discount."""
    return len({order.plan.discount for order in orders}) > 1


def discounted(
    orders: Sequence[Order], dataset: Dataset | Mapped, cutting: Cutting, transitions: Transitions
) -> Transitions:
    """The transitions of runs that differ in discount. Raises `InputError` for data that only one discount can cut."""
    if isinstance(dataset, Mapped) or dataset.goal_conditioned:
        raise InputError("Runs on goals, or on data on disk, must have one discount to train as one program.")
    return cutting.discounted(
        dataset, transitions, [order.plan.discount for order in orders for _ in order.plan.each_seed]
    )


def cutting_of(orders: Sequence[Order], dataset: Dataset | Mapped, normalize: bool | None) -> Cutting:
    """How the dataset becomes batches; whether its observations are normalised is settled here.

    Where nobody says so, a run that is resumed goes on as it was, and data that no suite has are normalised: the
    suites' methods were published on raw observations.
    """
    if normalize is None:
        normalize = not at_home(dataset.name)
        for order in orders:
            if order.resume and order.out.is_dir():
                with contextlib.suppress(InputError):
                    normalize = "observation_scale" in Run.open(order.out).config
    return replace(orders[0].plan.cutting, observation_scale=observation_scale(dataset) if normalize else None)


def _configuration(dataset: Dataset | Mapped, example: Transition, plan: Plan, cutting: Cutting) -> Configuration:
    """What it takes to use what is trained."""
    return Configuration(
        task=dataset.name,
        seed=plan.seed,
        seeds=plan.seeds,
        discount=plan.discount,
        horizon=plan.horizon,
        chunk=plan.chunk,
        transition=Spaces.of(example),
        frame_stack=plan.frame_stack,
        goals=plan.goals,
        action_scale=dataset.action_scale,
        observation_scale=cutting.observation_scale,
        rewards=plan.rewards,
    )
