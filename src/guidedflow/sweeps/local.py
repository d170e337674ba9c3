"""Packs on this machine: one process a core or an accelerator, each pinned to its own."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from guidedflow.sweeps.packs import Outcome, Pack

PATIENCE = 120.0
"""Seconds that workers have to save what they do when a sweep is interrupted."""


@dataclass(frozen=True)
class Slot:
    """Where one worker runs: its cores, and the variables that show it an accelerator."""

    cores: tuple[int, ...]
    variables: dict[str, str] = field(default_factory=dict)


@dataclass
class Worker:
    """A process that carries out one pack."""

    pack: Pack
    slot: Slot
    process: subprocess.Popen[bytes]
    file: Path
    log: IO[bytes]
    seen: set[str] = field(default_factory=set)


def slots(workers: int | None = None) -> list[Slot]:
    """A place for each worker: an accelerator with its share of the cores, or else one core."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    accelerators = sorted(Path("/dev").glob("nvidia[0-9]*"))
    if accelerators and os.environ.get("JAX_PLATFORMS", "cuda") != "cpu":
        share = max(1, len(cores) // len(accelerators))
        own = [tuple(cores[i * share : (i + 1) * share] or cores) for i in range(len(accelerators))]
        found = [Slot(each, {"CUDA_VISIBLE_DEVICES": str(i)}) for i, each in enumerate(own)]
    else:
        found = [Slot((core,)) for core in cores]
    return (found * (workers or 1))[: workers or len(found)]


def carry_out(
    packs: Sequence[Pack],
    places: Sequence[Slot],
    logs: Path,
    report: Callable[[Outcome], None],
    watch: Callable[[int], None] = lambda running: None,
) -> None:
    """Carry out packs, as many at a time as there are places, and report each run that ends.

    `watch` is called a few times a second with the number of workers. What a worker prints on standard error goes into
    a file in `logs`. An interrupt lets the workers save what they do, and is raised again.
    """
    waiting, free = list(packs), list(places)
    running: list[Worker] = []
    with _stopping(running):
        while waiting or running:
            while waiting and free:
                running.append(_start(waiting.pop(0), free.pop(0), logs))
            for worker in list(running):
                for outcome in _outcomes(worker):
                    report(outcome)
                if worker.process.poll() is not None:
                    for outcome in [*_outcomes(worker), *_unreported(worker)]:
                        report(outcome)
                    _close(worker)
                    running.remove(worker)
                    free.append(worker.slot)
            watch(len(running))
            time.sleep(0.2)


def _start(pack: Pack, slot: Slot, logs: Path) -> Worker:
    descriptor, name = tempfile.mkstemp(suffix=".json", prefix="pack-")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(pack.plain(), file)
    logs.mkdir(parents=True, exist_ok=True)
    log = (logs / f"{Path(name).stem}.log").open("wb")
    command = [sys.executable, "-m", "guidedflow.sweeps.worker", name, *map(str, slot.cores)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,  # closes with this process, however it ends: then the worker saves and ends
        stdout=subprocess.PIPE,
        stderr=log,
        env={**os.environ, **slot.variables},
        start_new_session=True,  # an interrupt at the terminal is this process's to pass on
    )
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    return Worker(pack, slot, process, Path(name), log)


def _outcomes(worker: Worker) -> Iterator[Outcome]:
    """What a worker has reported since it was last asked."""
    assert worker.process.stdout is not None
    for line in worker.process.stdout:
        with suppress(ValueError, KeyError):
            found = json.loads(line)
            worker.seen.add(found["out"])
            yield Outcome(found["out"], found["error"])


def _unreported(worker: Worker) -> Iterator[Outcome]:
    """The runs of a worker that ended without a word, with the last line that it printed."""
    left = [str(run.out) for run in worker.pack.runs if str(run.out) not in worker.seen]
    if left:
        worker.log.flush()
        lines = Path(worker.log.name).read_text(errors="replace").strip().splitlines()
        last = f": {lines[-1]}" if lines else ""
        for out in left:
            yield Outcome(out, f"its process ended with status {worker.process.returncode}{last}")


def _close(worker: Worker) -> None:
    for pipe in (worker.process.stdin, worker.process.stdout):
        assert pipe is not None
        pipe.close()
    worker.log.close()
    worker.file.unlink(missing_ok=True)
    log = Path(worker.log.name)
    if worker.process.returncode == 0:
        log.unlink(missing_ok=True)


@contextmanager
def _stopping(running: list[Worker]) -> Iterator[None]:
    """Within it no worker outlives this process: where it is left early, they save and end."""
    try:
        yield
    except BaseException:
        for worker in running:
            worker.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        for worker in running:
            with suppress(subprocess.TimeoutExpired):
                worker.process.wait(max(deadline - time.monotonic(), 0.1))
            worker.process.kill()
            worker.process.wait()
            _close(worker)
        raise
