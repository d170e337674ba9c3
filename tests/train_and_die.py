"""Train or fine-tune a small run in a process of its own, which kills itself where it is told; see `training/`.

    python train_and_die.py WHAT FOLDER [MOMENT COUNT]
    python train_and_die.py forks

WHAT is an algorithm, whose run is FOLDER, or a protocol of fine-tuning, whose run is FOLDER/online and goes on from
FOLDER/offline. MOMENT is the name of a function that dies at its COUNT-th call, before it does anything. Where a folder
`data` is beside the FOLDER of an algorithm, it is the dataset, read in windows of 20 updates.

As `forks` it reads a line `WHAT FOLDER STEPS COUNT` after another, and forks a process for each, which trains a run
that is evaluated on the way (`watched`). It prints the number of that process, and its status once it has ended. The
process dies before its COUNT-th call that changes the disk, if that is not 0.
"""

import os
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

from tiny_data import line
from tiny_environment import Destination, Peaceful

from guidedflow import files
from guidedflow.algorithms import ALGORITHMS
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.sampling.windows import Window, Windows
from guidedflow.environments import vector
from guidedflow.environments.pool import Pool
from guidedflow.environments.worker import Environments
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


CHANGES: tuple[tuple[Any, str], ...] = (
    *((os, name) for name in ("fsync", "rename", "replace", "mkdir", "unlink", "rmdir", "ftruncate", "pwrite")),
    (files, "open"),
    (Path, "write_bytes"),
)
"""Every call by which a run changes the disk: it writes, syncs, renames, makes and removes."""


def before_changes(do: Callable[[], None], patch: Callable[[Any, str, Any], None] = setattr) -> None:
    """Call a function before each call that changes the disk; one at a time, whichever thread they come from."""
    alone = threading.RLock()

    def after_it(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with alone:
                do()
                return real(*args, **kwargs)

        return call

    for owner, name in CHANGES:
        patch(owner, name, after_it(getattr(owner, name, open)))


class Near(Pool):
    """One worker that is no process, so that none is left when this one is killed."""

    def start(self, first: Callable[[int], object], graphics: str | None) -> list[Any]:
        _, factory, numbers, success = first(0)  # type: ignore[misc]
        self._here, self._answers = Environments(factory, numbers, success), deque[Any]()
        return [self._here.cast()]

    def send(self, worker: int, message: Any) -> None:
        self._answers.append(getattr(self._here, message[0])(*message[1:]))

    def answer(self, worker: int) -> Any:
        return self._answers.popleft()


def near(factory: Callable[[], Any], number: int) -> vector.Simulators:
    """So many environments in this process."""
    with mock.patch.object(vector, "Pool", Near):
        return vector.Simulators(factory, number, 1)


def watched(algorithm: str, out: Path, steps: int) -> Trained:
    """A run of an interval, a checkpoint and rows every 4 updates, and an evaluation every 8."""
    plan = Plan(
        steps=steps, seeds=2, batch_size=4, log_interval=4, checkpoint_interval=4, keep_checkpoints=2, eval_interval=8,
        eval_episodes=2,
    )  # fmt: skip
    tiny: Any = ALGORITHMS[algorithm](hidden=(4,))
    tiny = replace(tiny, flow_steps=1) if hasattr(tiny, "flow_steps") else tiny
    with near(partial(Peaceful, 5), 2) as simulators:
        return train(tiny, line(), plan, out=out, resume=out.exists(), simulators=simulators)


def forked(algorithm: str, out: str, steps: str, count: str) -> NoReturn:
    """Train in this process, which was forked, and end it."""
    calls, last = iter(range(1, 10_000)), int(count)

    def die() -> None:
        if next(calls) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        if last:
            before_changes(die)
        watched(algorithm, Path(out), int(steps))
    except SystemExit as left:
        os._exit(int(left.code or 0))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def forks() -> None:
    for order in sys.stdin:
        child = os.fork()
        if child == 0:
            forked(*order.split())
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)


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
    if sys.argv[1:] == ["forks"]:
        forks()
    else:
        what, folder, *fate = sys.argv[1:]
        if fate:
            die_at(fate[0], int(fate[1]))
        run(what, Path(folder))
