"""What `train --dry-run` and `demo --dry-run` print: the dataset, the networks, memory and time.

This module does not know how any of it is measured.
"""

from pathlib import Path
from typing import Any

from guidedflow.parts import Parts
from guidedflow.progress import duration
from guidedflow.results.counts import plural
from guidedflow.studies import demo
from guidedflow.sweeps.estimate import estimate
from guidedflow.sweeps.grid import Planned
from guidedflow.training.plan import Plan
from guidedflow.training.rehearsal import Rehearsal


def tell(found: Rehearsal, dataset: Any, plan: Plan, out: Path) -> None:
    """Print a rehearsal, a line for each fact."""
    seen, taken = found.example.observation, found.example.action
    total = sum(found.parameters.values())
    saved = len([step for step in range(1, plan.steps + 1) if step % plan.log_interval == 0 and plan.saves_at(step)])
    speed = 1 / found.seconds_an_update
    lines = {
        "dataset": f"{dataset.name}: {plural(len(dataset), 'transition')}, {plural(dataset.episodes, 'episode')}",
        "observation": " and ".join(
            f"{f'{name}: ' if name else ''}{'x'.join(map(str, part.shape))} numbers of {part.dtype}"
            for name, part in (seen if isinstance(seen, Parts) else {"": seen}).items()
        ),
        "action": plural(taken.size, "number") + (f", a chunk of {plural(plan.horizon, 'step')}" if plan.chunk else ""),
        "networks": ", ".join(f"{name} {count:,}" for name, count in found.parameters.items())
        + f": {plural(total, 'parameter')} a seed",
        "memory": f"{_size(found.data_bytes)} of data and {_size(found.state_bytes)} of networks and optimisers on the "
        "device, and what an update computes",
        "disk": f"{_size(found.state_bytes)} a checkpoint, {min(saved or 1, plan.kept or saved or 1)} of them",
        "time": f"about {duration(found.seconds(plan))}: {found.compile_seconds:.0f}s to compile, {plan.steps:,} "
        f"updates at {speed:,.1f} a second" + (", and evaluations" if plan.eval_interval else ""),
        "run": f"{out}, not written: this was a dry run",
    }
    print("\n".join(f"{name:<12} {told}" for name, told in lines.items()))


def of_demo(plan: demo.Demo) -> str:
    """What the demo would make and what is there already, a line each, with an estimate of hours."""
    data, runs = demo.dataset_file(plan), list(demo.runs(plan))
    left = [run for run in runs if not run.done]
    planned = [
        Planned(run.task, run.algorithm, Plan(steps=plan.steps, seed=seed), run.out)
        for run in left
        for seed in range(plan.seeds)
    ]
    hours = estimate(planned, 1).hours
    there = (
        "is there already"
        if data.exists()
        else f"would be collected, {plural(plan.episodes, 'episode')} of 1,000 steps"
    )
    lines = [f"{data} {there}"]
    lines += [f"{run.out} {'is there already' if run.done else plural(plan.steps, 'update')}" for run in runs]
    lines.append(
        f"{len(left)} of {plural(len(runs), 'run')} left: about {hours:,.2f} hours of updates, "
        f"{plural(plan.seeds, 'seed')}, without data and evaluations; nothing was written, this was a dry run"
    )
    return "\n".join(lines)


def _size(count: float) -> str:
    """Bytes, as people say them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError
