"""What `train --dry-run` prints: the dataset, the networks, memory and time.

This module does not know how any of it is measured.
"""

from pathlib import Path
from typing import Any

from guidedflow.parts import Parts
from guidedflow.progress import duration
from guidedflow.training.plan import Plan
from guidedflow.training.rehearsal import Rehearsal


def tell(found: Rehearsal, dataset: Any, plan: Plan, out: Path) -> None:
    """Print a rehearsal, a line for each fact."""
    seen, taken = found.example.observation, found.example.action
    total = sum(found.parameters.values())
    saved = len([step for step in range(1, plan.steps + 1) if step % plan.log_interval == 0 and plan.saves_at(step)])
    speed = 1 / found.seconds_an_update
    lines = {
        "dataset": f"{dataset.name}: {len(dataset):,} transitions, {dataset.episodes:,} episodes",
        "observation": " and ".join(
            f"{f'{name}: ' if name else ''}{'x'.join(map(str, part.shape))} numbers of {part.dtype}"
            for name, part in (seen if isinstance(seen, Parts) else {"": seen}).items()
        ),
        "action": f"{taken.size} numbers" + (f", a chunk of {plan.horizon} steps" if plan.chunk else ""),
        "networks": ", ".join(f"{name} {count:,}" for name, count in found.parameters.items())
        + f": {total:,} parameters a seed",
        "memory": f"{_size(found.data_bytes)} of data and {_size(found.state_bytes)} of networks and optimisers on the "
        "device, and what an update computes",
        "disk": f"{_size(found.state_bytes)} a checkpoint, {min(saved or 1, plan.kept or saved or 1)} of them",
        "time": f"about {duration(found.seconds(plan))}: {found.compile_seconds:.0f}s to compile, {plan.steps:,} "
        f"updates at {speed:,.1f} a second" + (", and evaluations" if plan.eval_interval else ""),
        "run": f"{out}, not written: this was a dry run",
    }
    print("\n".join(f"{name:<12} {told}" for name, told in lines.items()))


def _size(count: float) -> str:
    """Bytes, as people say them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError
