"""Fine-tune a small run in a process of its own, which kills itself where it is told; see training/test_online.py.

    python finetune_and_die.py FOLDER PROTOCOL [MOMENT COUNT]

FOLDER holds the run `offline`; the new run is `online`. MOMENT is the name of a function that dies at its COUNT-th
call, before it does anything.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from tiny_data import line
from tiny_environment import Destination

from guidedflow import files
from guidedflow.runs import checkpoint
from guidedflow.runs.trained import Trained
from guidedflow.training.online import Online, finetune
from guidedflow.training.playing import Player

MOMENTS = {
    "step": (Player, "step"),  # in the middle of an episode and of an interval
    "save": (checkpoint, "save"),  # the replay buffer is saved, its checkpoint is not
    "sync": (files, "sync"),  # inside the saving of either
}

SETTINGS = {
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


def run(folder: Path, protocol: str) -> Trained:
    out = folder / "online"
    trained = Trained.open(folder / "offline")
    return finetune(trained, line(), SETTINGS[protocol], out=out, env=Destination, resume=out.exists())


if __name__ == "__main__":
    folder, protocol, *fate = sys.argv[1:]
    if fate:
        die_at(fate[0], int(fate[1]))
    run(Path(folder), protocol)
