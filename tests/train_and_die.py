"""Train or fine-tune a small run in a process of its own, which kills itself where it is told; see `training/`.

    python train_and_die.py WHAT FOLDER [MOMENT COUNT]

WHAT is an algorithm, whose run is FOLDER, or a protocol of fine-tuning, whose run is FOLDER/online and goes on from
FOLDER/offline. MOMENT is the name of a function that dies at its COUNT-th call, before it does anything. Where a folder
`data` is beside the FOLDER of an algorithm, it is the dataset, read in windows of 20 updates.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from tiny_data import line
from tiny_environment import Destination

from guidedflow import files
from guidedflow.algorithms import ALGORITHMS
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.sampling.windows import Window, Windows
from guidedflow.runs import checkpoint, tracking
from guidedflow.runs.trained import Trained
from guidedflow.training.loop import train
from guidedflow.training.online import Online, finetune
from guidedflow.training.plan import Plan
from guidedflow.training.playing import Player

MOMENTS = {
    "step": (Player, "step"),  # in the middle of an episode and of an interval
    "read": (Windows, "window"),  # in the thread that reads what comes next
    "metrics": (tracking.Tracker, "log"),  # an interval is computed, nothing of it is written
    "save": (checkpoint, "save"),  # its metrics or its replay buffer are written, its checkpoint is not
    "write": (files, "write_synced"),  # inside a save: one file of two is there
    "sync": (files, "sync"),  # inside a save: before or after the rename
}

PROTOCOLS = {
    "buffer": Online(60, log_interval=10, checkpoint_interval=20, capacity=30, on_disk=True),
    "balanced": Online(60, "balanced", (0.5, 0.0), warmup=15, log_interval=10, checkpoint_interval=20, capacity=30),
}
"""A capacity of 30 rows, so that the ring goes round before the end."""


def die_at(moment: str, count: int) -> None:
    owner, name = MOMENTS[moment]
    function, calls = getattr(owner, name), iter(range(1, 1000))

    def deadly(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    setattr(owner, name, deadly)


def run(what: str, folder: Path) -> Trained:
    return finetuned(what, folder) if what in PROTOCOLS else trained(what, folder)


def finetuned(protocol: str, folder: Path) -> Trained:
    out = folder / "online"
    begun = Trained.open(folder / "offline")
    return finetune(begun, line(), PROTOCOLS[protocol], out=out, env=Destination, resume=out.exists())


def trained(algorithm: str, out: Path) -> Trained:
    plan = Plan(steps=50, seeds=2, batch_size=8, discount=0.9, log_interval=10, checkpoint_interval=20)
    on_disk = out.with_name("data")
    return train(
        ALGORITHMS[algorithm](hidden=(8, 8), flow_steps=2),
        Mapped.open(on_disk) if on_disk.exists() else line(),
        plan,
        out=out,
        resume=out.exists(),
        window=Window(40, updates=20, blocks=4),
    )


if __name__ == "__main__":
    what, folder, *fate = sys.argv[1:]
    if fate:
        die_at(fate[0], int(fate[1]))
    run(what, Path(folder))
