"""Train algorithms on a dataset: compiled intervals of updates, and what happens between them.

    interval    `log_interval` updates of every seed of every run as one compiled program: sampling, gradients, Adam;
                it is called for about a second at a time, so that a signal is heard
    between     curriculum, metrics, evaluation, checkpoint, in this order, so that a resumed run writes the same;
                the checkpoint is written while the next interval is computed

`train` trains one run. `train_together` trains several that differ in seeds and float settings alone as one program;
each is an ordinary run on disk, with the bits that it has alone. Nothing in a run's folder changes before its first
interval is computed.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from guidedflow.algorithms.contract import Algorithm, check_data, shown
from guidedflow.data.dataset import Dataset
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.sampling.feed import open_feed
from guidedflow.data.sampling.rebalance import Rebalance
from guidedflow.data.sampling.windows import WINDOW, Window
from guidedflow.environments.vector import Simulators, open_simulators
from guidedflow.errors import InputError
from guidedflow.results.intervals import first_unfinite
from guidedflow.runs.saving import Saving
from guidedflow.runs.trained import Trained
from guidedflow.training.diagnosing import Doctor
from guidedflow.training.faults import Examiner, examine
from guidedflow.training.imitation import Course, Imitation
from guidedflow.training.interruption import Dropped, Interruption, interruption
from guidedflow.training.member import (
    Member,
    Order,
    check_arguments,
    check_orders,
    cutting_of,
    discounted,
    several,
)
from guidedflow.training.pieces import Pieces
from guidedflow.training.plan import Plan
from guidedflow.training.updates import compiling, in_rows


def train(
    algorithm: Algorithm[Any],
    dataset: Dataset | Mapped,
    plan: Plan = Plan(),  # noqa: B008
    *,
    out: Path | str,
    resume: bool = False,
    overwrite: bool = False,
    recipe: Mapping[str, Any] | None = None,
    window: Window = WINDOW,
    rebalance: Rebalance | None = None,
    curriculum: Imitation | None = None,
    normalize_observations: bool | None = None,
    simulators: Simulators | None = None,
    command: Sequence[str] | None = None,
) -> Trained:
    """Train `algorithm` on `dataset` into the run folder `out`, and return what it learned.

    A dataset on disk is read a `window` after another. With `rebalance`, transitions are not drawn uniformly. With a
    `curriculum`, the episodes that are drawn change as the policy learns, and training ends once all were cloned.
    Observations that are no images are brought to mean 0 and deviation 1 with `normalize_observations`, by default
    where the dataset is none of a suite's; a resumed run goes on as it was. `recipe` (`Recipe.record`) and `command`,
    by default the program's arguments, are kept in the configuration, to say where settings came from. Evaluations on
    the way are in the simulators of the dataset's task, or in those that are given. Numbers are of single precision,
    whatever `jax_enable_x64` says. Raises `InputError` for observations that no network here takes, a folder that is
    in use or holds something, and where no seed is finite any more; `Interrupted`, a SystemExit, after a signal.
    """
    check_arguments(algorithm, dataset, plan)
    if curriculum is not None:
        curriculum.check(algorithm, dataset, plan, rebalance)
        plan = curriculum.aligned(plan)
    order = Order(algorithm, plan, Path(out).expanduser(), resume, overwrite, recipe, command)
    (result,) = train_together(
        [order],
        dataset,
        window=window,
        rebalance=rebalance,
        curriculum=curriculum,
        normalize_observations=normalize_observations,
        simulators=simulators,
    )
    if isinstance(result, InputError):
        raise result
    return result


def train_together(
    orders: Sequence[Order],
    dataset: Dataset | Mapped,
    *,
    window: Window = WINDOW,
    rebalance: Rebalance | None = None,
    curriculum: Imitation | None = None,
    normalize_observations: bool | None = None,
    simulators: Simulators | None = None,
) -> list[Trained | InputError]:
    """Train several runs as one compiled program, and return what each learned, or why it stopped.

    They must have come to the same step, and may differ in folders, seeds and the float settings of their algorithms,
    and on data in memory without goals in the discount. The other arguments are those of `train`. A seed that is no
    longer finite is dead, and the others go on; a run whose seeds are all dead stops.
    """
    check_orders(orders)
    plan = orders[0].plan
    window = replace(window, updates=window.lasting(plan.batch_size, plan.log_interval))
    with ExitStack() as stack:
        stack.enter_context(jax.enable_x64(False))
        caught = stack.enter_context(interruption())

        # what is read
        algorithms = in_rows([order.algorithm for order in orders for _ in order.plan.each_seed])
        cutting = cutting_of(orders, dataset, normalize_observations)
        feed = stack.enter_context(
            open_feed(dataset, cutting, rebalance=rebalance, window=window, seed=plan.seed, steps=plan.steps)
        )
        example = feed.example()
        check_data(orders[0].algorithm, example)
        if several(orders):
            feed = discounted(orders, dataset, cutting, feed.at(0))
        course = None
        if curriculum is not None and isinstance(dataset, Dataset):
            course = Course(curriculum, dataset, feed.at(0), plan.seed)

        # where it is written, and what watches it
        members = [Member(order, dataset, example, cutting, window, rebalance, curriculum) for order in orders]
        for member in members:
            with caught.held():
                member.run = stack.enter_context(member.claim())
                caught.undo.append(member.run.close)
        if plan.eval_interval:
            if simulators is None:
                most = plan.eval_episodes * plan.seeds
                simulators = stack.enter_context(open_simulators(dataset.name, plan.workers, most, plan.frame_stack))
            members[0].check_simulators(simulators)
        for member in members:
            member.tracker = stack.enter_context(member.track(shown(member.algorithm)))

        # the state at the newest intact checkpoint, or at the start, a row for each seed of each run
        restored = [member.restore() for member in members]
        step = restored[0][0]
        if any(other != step for other, _ in restored):
            raise InputError("Runs that train as one program must have come to the same step.")
        state = jax.tree.map(lambda *rows: jnp.concatenate(rows), *[state for _, state in restored])
        seeds = jnp.asarray([seed for member in members for seed in member.seeds], jnp.int32)

        if course is not None:
            members[0].restore_course(course, state, step)
        doctor, examiner = Doctor(feed), Examiner(state)
        caught.at_once = step == 0
        ended = course is not None and course.ended
        saving = stack.enter_context(Saving())
        pieces = Pieces(plan.batch_size, caught)
        try:
            while step < plan.steps and not ended and any(member.error is None for member in members):
                end = plan.end_of_interval(step)
                progress = course and course.progress
                with compiling() as clock:
                    start = time.perf_counter()
                    batches, before = feed.at(step) if course is None else course.drawn, state
                    state, metrics = pieces.advance(algorithms, state, batches, seeds, step, end - step)
                    numbers = {name: np.asarray(value) for name, value in metrics.items()}
                    alive = examiner.alive(state, numbers)
                    figures = doctor.of_runs(algorithms, state, _rows_of(members))
                    seconds = time.perf_counter() - start - clock.seconds
                speed = (end - step) / max(seconds, 1e-9)
                caught.at_once = False
                if course is not None:
                    numbers |= {name: np.asarray([number]) for name, number in course.metrics.items()}
                    if first_unfinite(numbers) is None:
                        course.move(jax.tree.map(lambda leaf: leaf[0], state), end)
                    ended = course.ended
                for member, rows, figure in zip(members, _rows_of(members), figures, strict=True):
                    if member.error is not None:
                        continue
                    died = [rows.start + row for row in member.dying(alive[rows])]
                    found = [
                        examine(algorithms, before, batches, seeds, row, (step, end), plan.batch_size) for row in died
                    ]
                    if member.bury(found, step, end):
                        continue
                    member.begin(step)
                    mine, seen = member.of_healthy(numbers, rows), member.of_healthy(figure, slice(None))
                    member.tracker.log(end, mine | seen | member.warn(end, seen), speed)
                    member.tracker.advance(end, mine, speed)
                    if member.dead:
                        state = _kept(state, before, [rows.start + row for row in member.dead_rows])
                    own = jax.tree.map(lambda leaf, rows=rows: leaf[rows], state)
                    if (plan.evaluates_at(end) or ended) and simulators is not None:
                        member.evaluate(own, end, simulators, caught.drop)
                    if plan.saves_at(end) or ended:
                        saving.save(member.run.checkpoints, end, own, plan.kept, course and course.progress)
                step = end
                saving.check()
                if ended:
                    members[0].tracker.note(f"every episode was cloned: the curriculum ended at step {step:,}")
                if caught.number is not None:
                    _leave(caught, saving, members, state, step, course and course.progress)
        except Dropped:
            if step == 0:
                caught.leave()
            _leave(caught, saving, members, before, step, progress, "; the interval under way was dropped")
        saving.wait()
        return [
            member.error or member.trained(jax.tree.map(lambda leaf, rows=rows: leaf[rows], state), step)
            for member, rows in zip(members, _rows_of(members), strict=True)
        ]


def _leave(
    caught: Interruption, saving: Saving, members: Sequence[Member], state: Any, step: int, beside: Any, more: str = ""
) -> NoReturn:
    """Save every run at the end of an interval, and end the program as the signal asks."""
    for member, rows in zip(members, _rows_of(members), strict=True):
        if member.error is None:
            own = jax.tree.map(lambda leaf, rows=rows: leaf[rows], state)
            saving.save(member.run.checkpoints, step, own, member.plan.kept, beside)
    saving.wait()
    members[0].tracker.note(f"interrupted: saved at step {step:,}{more}; go on with --resume")
    caught.leave(step)


def _rows_of(members: Sequence[Member]) -> list[slice]:
    """The rows of the state that belong to each run."""
    ends = np.cumsum([len(member.seeds) for member in members]).tolist()
    return [slice(end - len(member.seeds), end) for member, end in zip(members, ends, strict=True)]


def _kept(state: Any, before: Any, rows: Sequence[int]) -> Any:
    """The state in which these rows are as they were before."""
    chosen = jnp.asarray(rows)
    return jax.tree.map(lambda new, old: new.at[chosen].set(old[chosen]), state, before)
