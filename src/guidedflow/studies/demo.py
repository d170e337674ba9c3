"""The story in minutes: collect data, train four methods on it, and see what guidance by value is worth.

This module does not know how anything is done; it says what is done, with which settings.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from guidedflow import files
from guidedflow.algorithms import BC, FQL, GFP, QGF
from guidedflow.algorithms.contract import Algorithm
from guidedflow.data.load import load_dataset
from guidedflow.data.obtain.collect import collect
from guidedflow.environments.vector import Simulators, open_simulators
from guidedflow.errors import InputError
from guidedflow.evaluation.rollout import episode_seeds
from guidedflow.flows.guidance import DenoisedGradient
from guidedflow.flows.sampling import Sampler
from guidedflow.keys import Stream
from guidedflow.policies.policy import Policy
from guidedflow.results import confidence, rows, tables
from guidedflow.results.counts import plural
from guidedflow.runs.provenance import commit
from guidedflow.runs.run import Run
from guidedflow.runs.trained import Trained
from guidedflow.settings import check_ranges
from guidedflow.studies import demo_pictures
from guidedflow.studies.demo_pictures import Rate
from guidedflow.training.loop import train
from guidedflow.training.plan import Plan

ENVIRONMENT = "cube-single-noisy"


@dataclass(frozen=True)
class Demo:
    """How much data, training and evaluation."""

    out: Path = Path("runs/demo")
    """Folder of the dataset, the runs, the table and the pictures; what is there already is used again."""
    episodes: int = 100
    """Episodes of data to collect, of 1000 steps each."""
    tasks: tuple[int, ...] = (1,)
    """Tasks of the environment, 1 to 5."""
    steps: int = 12_000
    """Updates of each method."""
    seeds: int = 1
    """Training seeds."""
    learning_rate: float = 1e-3
    """Step size of Adam; published is 3e-4, for a hundred times as many updates."""
    hidden: tuple[int, ...] = (128, 128, 128)
    """Sizes of the hidden layers."""
    flow_steps: int = 5
    """Euler steps of each flow; published is 10."""
    eval_episodes: int = 50
    """Episodes of each final evaluation, for each seed."""
    curve_episodes: int = 20
    """Episodes of each point of the learning curve, for each seed."""
    weights: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0)
    """Weights of guidance among which QGF's is chosen, on episodes of their own."""
    select_episodes: int = 20
    """Episodes of each of these weights, for each seed."""
    workers: int | None = None
    """Processes; by default one a core."""


@dataclass(frozen=True)
class Result:
    """One line of the table, for one task."""

    method: str
    task: int
    success: Rate
    """Over the episodes of all training seeds."""


def methods(plan: Demo) -> dict[str, Algorithm[Any]]:
    """What is compared; alpha and temperature find themselves, so that nobody tuned one method more than another."""
    size: dict[str, Any] = {"hidden": plan.hidden, "learning_rate": plan.learning_rate, "flow_steps": plan.flow_steps}
    return {
        "bc": BC(**size),
        "fql": FQL(alpha="auto", **size),
        "gfp": GFP(alpha="auto", temperature="auto", **size),
        "qgf": QGF(**size),
    }


LABELS = {
    ("bc", "flow"): "BC flow",
    ("fql", "actor"): "FQL actor",
    ("gfp", "flow"): "GFP flow (VaBC)",
    ("gfp", "actor"): "GFP actor",
    ("qgf", "guided"): "QGF (steered at test time)",
}
"""The policies of the table; FQL's own flow is a BC flow again, and so is QGF's before it is steered."""


@dataclass(frozen=True)
class Training:
    """One training of the demo: a method on a task, for all seeds."""

    name: str
    algorithm: Algorithm[Any]
    task: str
    out: Path
    done: bool
    """Whether it is there already."""


def dataset_file(plan: Demo) -> Path:
    """Where the dataset is collected to."""
    return plan.out / f"data-{plan.episodes}" / f"{ENVIRONMENT}-v0.npz"


def runs(plan: Demo) -> Iterator[Training]:
    """What is trained; a BC flow does not see rewards, so that of the first task serves all. Checks the settings."""
    _check(plan)
    for name, algorithm in methods(plan).items():
        for task in plan.tasks[:1] if name == "bc" else plan.tasks:
            out = plan.out / f"{name}-task{task}"
            yield Training(name, algorithm, _name(task), out, (out / "checkpoints" / str(plan.steps)).exists())


def _check(plan: Demo) -> None:
    """Raise `InputError` for a task that there is not, and for numbers outside their range."""
    if not plan.tasks or not set(plan.tasks) <= set(range(1, 6)):
        raise InputError(f"tasks must be numbers from 1 to 5, but are {' '.join(map(str, plan.tasks)) or 'none'}.")
    counts = (
        "episodes",
        "steps",
        "seeds",
        "eval_episodes",
        "curve_episodes",
        "select_episodes",
        "hidden",
        "flow_steps",
    )
    check_ranges(plan, weights=(0, math.inf), **dict.fromkeys(counts, (1, math.inf)))


def run(plan: Demo) -> None:
    """Do all of it, print the table, and say where the pictures are."""
    console = Console(stderr=True)
    _check(plan)
    data = _data(plan, console)
    results = [result for task in plan.tasks for result in _task(plan, task, data, console)]
    headers, lines = _table(plan, results)
    played = f"{plural(plan.eval_episodes, 'episode')} a seed, {plural(plan.seeds, 'seed')}"
    told = f"{ENVIRONMENT}: success over {played}, with a 95 % interval of the episodes alone; commit {commit()}"
    Console().print(tables.table(headers, lines, told))
    files.replace(plan.out / "table.md", tables.markdown(headers, lines).encode())
    for task in plan.tasks:
        console.print(f"pictures: {_picture(plan, task, results)}, {_weights_picture(plan, task)}", soft_wrap=True)
    _film(plan, console)


def _name(task: int) -> str:
    return f"{ENVIRONMENT}-singletask-task{task}-v0"


def _data(plan: Demo, console: Console) -> Path:
    path = dataset_file(plan)
    if path.exists() and path.with_name(f"{path.stem}-val.npz").exists():
        console.print(f"using the dataset {path}", soft_wrap=True)
        return path
    return collect(f"{ENVIRONMENT}-v0", plan.episodes, plan.workers, 0, path.parent, overwrite=True)[0]


def _task(plan: Demo, task: int, data: Path, console: Console) -> list[Result]:
    """Train and evaluate every method on one task; a BC flow does not see rewards, so the first task's serves all."""
    results = []
    simulators: Simulators | None = None
    try:
        every = methods(plan)
        for number, (name, algorithm) in enumerate(every.items(), start=1):
            origin = plan.tasks[0] if name == "bc" else task
            console.print(f"method {number} of {len(every)}: {name}, task {task}", soft_wrap=True, highlight=False)
            trained = _train(plan, name, algorithm, origin, data, console)
            simulators = simulators or open_simulators(_name(task), plan.workers)
            for policy in trained.policies():
                if (name, policy) in LABELS:
                    using = _steer(plan, trained, task, simulators) if policy == "guided" else trained.steered(policy)
                    success = _success(plan, trained, policy, using, task, simulators)
                    results.append(Result(LABELS[name, policy], task, success))
                    console.print(f"task {task}: {LABELS[name, policy]} succeeds in {success}")
    finally:
        if simulators is not None:
            simulators.close()
    return results


def _train(plan: Demo, name: str, algorithm: Algorithm[Any], task: int, data: Path, console: Console) -> Trained:
    out = plan.out / f"{name}-task{task}"
    if (out / "checkpoints" / str(plan.steps)).exists():
        console.print(f"using the run {out}", soft_wrap=True)
        return Trained.open(out, plan.steps)
    log_interval = min(500, plan.steps)
    interval = max(plan.steps // 3 // log_interval, 1) * log_interval
    training = Plan(
        steps=plan.steps,
        seeds=plan.seeds,
        log_interval=log_interval,
        eval_interval=interval,
        eval_episodes=plan.curve_episodes,
        checkpoint_interval=interval,
        workers=plan.workers,
    )
    return train(algorithm, load_dataset(_name(task), data), training, out=out, resume=out.exists())


def _steer(plan: Demo, trained: Trained, task: int, simulators: Simulators) -> Policy:
    """The flow under the guidance whose weight does best on episodes of selection; draws success against the weight."""
    policies = {weight: trained.steered("flow", Sampler(guidance=DenoisedGradient(weight))) for weight in plan.weights}
    policies = {0.0: trained.steered("flow"), **policies}
    success = {
        weight: _success(plan, trained, "flow", policy, task, simulators, Stream.SELECTION_EPISODES)
        for weight, policy in policies.items()
    }
    best = max(success, key=lambda weight: (success[weight].mean, -weight))
    demo_pictures.draw_weights({"QGF": success}, best, _weights_picture(plan, task), _name(task))
    return policies[best]


def _success(
    plan: Demo,
    trained: Trained,
    policy: str,
    using: Policy,
    task: int,
    simulators: Simulators,
    stream: Stream = Stream.REPORTING_EPISODES,
) -> Rate:
    """Success over all seeds, from the rows on disk if they are there."""
    episodes = plan.eval_episodes if stream is Stream.REPORTING_EPISODES else plan.select_episodes
    seeds = set(episode_seeds(0, stream, episodes))
    wanted = {"task": _name(task), "policy": policy, "step": trained.step, **using.columns()}
    found = [row for row in rows.read(trained.run.evaluations) if wanted.items() <= row.items()]
    found = [row for row in found if row["episode_seed"] in seeds]
    if len(found) != episodes * len(trained.seeds):
        found = trained.evaluate(
            policy, using=using, episodes=episodes, simulators=simulators, task=_name(task), stream=stream
        ).rows
    return _rate(found)


def _rate(found: Sequence[rows.Episode]) -> Rate:
    """The success of these episodes, and Wilson's interval of it, which does not see how far seeds differ."""
    successes = sum(row["success"] or 0 for row in found)
    return Rate(successes / len(found), confidence.binomial(round(successes), len(found)))


def _table(plan: Demo, results: list[Result]) -> tuple[list[str], list[list[str]]]:
    """A line for each method: success on each task with its interval, and the mean over tasks."""
    headers = ["method", *(f"task {task}" for task in plan.tasks), *(["mean"] if len(plan.tasks) > 1 else [])]
    lines = []
    for label in LABELS.values():
        cells = [result.success for result in results if result.method == label]
        mean = sum(cell.mean for cell in cells) / len(cells)
        lines.append([label, *map(str, cells), *([f"{mean:.2f}"] if len(cells) > 1 else [])])
    return headers, lines


def _picture(plan: Demo, task: int, results: list[Result]) -> Path:
    """Success against updates, of all methods on one task, and what the table says of them."""
    reported = {result.method: result.success for result in results if result.task == task}
    curves: dict[str, Mapping[int, Rate]] = {}
    for (name, policy), label in LABELS.items():
        run = plan.out / f"{name}-task{plan.tasks[0] if name == 'bc' else task}"
        found = rows.read(Run.open(run).evaluations)
        chosen = [row for row in found if (row["source"], row["policy"]) == ("training", policy)]
        if name != "bc" or task == plan.tasks[0]:
            steps = sorted({row["step"] or 0 for row in chosen})
            curves[label] = {step: _rate([row for row in chosen if row["step"] == step]) for step in steps}
    return demo_pictures.draw(curves, plan.out / f"success-task{task}.png", _name(task), reported=reported)


def _weights_picture(plan: Demo, task: int) -> Path:
    return plan.out / f"weight-task{task}.png"


def _film(plan: Demo, console: Console) -> None:
    """A short film of GFP's actor; without a graphics library, a line that says so."""
    path = plan.out / "gfp-actor.mp4"
    try:
        Trained.open(plan.out / f"gfp-task{plan.tasks[0]}").film(path, "actor", episodes=1)
    except InputError as error:
        console.print(f"no film: {error}", soft_wrap=True)
    else:
        console.print(f"film: {path}", soft_wrap=True)
