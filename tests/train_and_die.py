"""Train a small run in a process of its own, which kills itself where it is told; see test_training.py.

    python train_and_die.py ALGORITHM FOLDER [MOMENT COUNT]

MOMENT is the name of a function that dies at its COUNT-th call, before it does anything. Where a folder
`data` is beside FOLDER, it is the dataset, read in windows of 20 updates.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from tiny_data import line

from guidedflow import files
from guidedflow.algorithms import ALGORITHMS
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.sampling.windows import Window, Windows
from guidedflow.runs import checkpoint, tracking
from guidedflow.training.loop import train
from guidedflow.training.plan import Plan

MOMENTS = {
    "read": (Windows, "window"),  # in the thread that reads what comes next
    "metrics": (tracking.Tracker, "log"),  # an interval is computed, nothing of it is written
    "save": (checkpoint, "save"),  # its metrics are written, its checkpoint is not
    "write": (files, "write_synced"),  # inside a save: one file of two is there
    "sync": (files, "sync"),  # inside a save: before or after the rename
}


def die_at(moment: str, count: int) -> None:
    owner, name = MOMENTS[moment]
    function, calls = getattr(owner, name), iter(range(1, 1000))

    def deadly(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    setattr(owner, name, deadly)


def run(algorithm: str, out: Path) -> None:
    plan = Plan(steps=50, seeds=2, batch_size=8, discount=0.9, log_interval=10, checkpoint_interval=20)
    on_disk = out.with_name("data")
    data = Mapped.open(on_disk) if on_disk.exists() else line()
    train(
        ALGORITHMS[algorithm](hidden=(8, 8), flow_steps=2),
        data,
        plan,
        out=out,
        resume=out.exists(),
        window=Window(40, updates=20, blocks=4),
    )


if __name__ == "__main__":
    algorithm, out, *fate = sys.argv[1:]
    if fate:
        die_at(fate[0], int(fate[1]))
    run(algorithm, Path(out))
