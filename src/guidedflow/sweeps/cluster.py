"""Packs on a Ray cluster: one task a pack, whose worker is a process of its own.

Ray only schedules. The truth is in the folders of the runs, on a disk that all machines share, so a task that is lost
with its machine is started again elsewhere and goes on from the checkpoints, and a driver that dies is started again.
"""

import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from guidedflow import files
from guidedflow.errors import InputError
from guidedflow.sweeps.packs import Outcome, Pack

RETRIES = 5
"""How often a pack is started again after its machine was lost."""


def connect(address: str | None) -> Any:
    """Ray, connected to the cluster at `address`, or to one that is started here. Raises `InputError` otherwise."""
    try:
        import ray
    except ImportError as error:
        raise InputError(
            f"A sweep on a cluster needs the package ray ({error}); install it: pip install 'guidedflow[ray]'."
        ) from error
    _check_answer(address)
    try:
        if not ray.is_initialized():
            ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = "here" if address is None else f"at {address}"
        raise InputError(f"No Ray cluster answers {where}: {str(error).splitlines()[0]}") from error
    return ray


def _check_answer(address: str | None) -> None:
    """Raises `InputError` where nothing listens at HOST:PORT, for which Ray itself waits minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise InputError(f"No Ray cluster answers at {address}: {files.reason(error)}.") from error


def carry_out(
    packs: Sequence[Pack],
    address: str | None,
    report: Callable[[Outcome], None],
    watch: Callable[[int], None] = lambda running: None,
    *,
    cpus: float = 1,
    gpus: float = 0,
) -> None:
    """Carry out packs as tasks of `cpus` cores and `gpus` accelerators each, and report each run that ends.

    A fraction of an accelerator gets the same fraction of its memory. `watch` is called with the number of tasks.
    """
    ray = connect(address)
    variables = {} if not 0 < gpus < 1 else {"XLA_CLIENT_MEM_FRACTION": f"{0.9 * gpus:.3f}"}
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES)(_work)
    waiting = {task.remote(json.dumps(pack.plain()), int(cpus), variables): pack for pack in packs}
    while waiting:
        done, _ = ray.wait(list(waiting), num_returns=1, timeout=1.0)
        for reference in done:
            pack = waiting.pop(reference)
            for outcome in _result(ray, reference, pack):
                report(outcome)
        watch(len(waiting))


def _result(ray: Any, reference: Any, pack: Pack) -> list[Outcome]:
    """How the runs of a pack ended; those of a task that Ray gave up have its reason."""
    try:
        found, status, last = ray.get(reference)
    except ray.exceptions.RayError as error:
        return [Outcome(str(run.out), f"its task was lost: {str(error).splitlines()[0]}") for run in pack.runs]
    outcomes = [Outcome(each["out"], each["error"]) for each in found]
    told = {outcome.out for outcome in outcomes}
    lost = f"its process ended with status {status}" + (f": {last}" if last else "")
    return [*outcomes, *(Outcome(str(run.out), lost) for run in pack.runs if str(run.out) not in told)]


def _work(pack: str, cores: int, variables: dict[str, str]) -> tuple[list[dict[str, Any]], int, str]:
    """On a machine of the cluster: carry out a pack in a process of its own, pinned to cores that no other task has."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pack.json"
        path.write_text(pack, encoding="utf-8")
        own = [str(core) for core in _cores(cores)]
        command = [sys.executable, "-m", "guidedflow.sweeps.worker", str(path), *own]
        ended = subprocess.run(command, capture_output=True, env={**os.environ, **variables}, check=False)
    found = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith(b"{")]
    lines = ended.stderr.decode(errors="replace").strip().splitlines()
    return found, ended.returncode, lines[-1] if lines and ended.returncode else ""


def _cores(number: int) -> list[int]:
    """So many of the cores of this machine, others for each process that asks at the same time."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    start = os.getpid() * number % max(len(cores), 1)
    return [cores[(start + i) % len(cores)] for i in range(min(number, len(cores)))]
