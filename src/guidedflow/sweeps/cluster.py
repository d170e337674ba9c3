"""Packs on a Ray cluster: one task a pack, whose worker is a process of its own.

Ray only schedules. The truth is in the folders of the runs, on a disk that all machines share, so a task that is lost
with its machine is started again elsewhere and goes on from the checkpoints, and a driver that dies is started again.
"""

import contextlib
import json
import logging
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from guidedflow import files
from guidedflow.errors import InputError
from guidedflow.sweeps.packs import Outcome, Pack

RETRIES = 5
"""How often a pack is started again after its machine was lost."""


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, connected to the cluster at `address`, or to one that is started here.

    What Ray prints meanwhile, such as which machine was lost, goes to standard error: standard output is for results.
    Raises `InputError` where the package is missing and where no cluster answers.
    """
    _check_answer(address)
    if address is not None:
        os.environ.setdefault(
            "RAY_NUM_REDIS_GET_RETRIES", "1"
        )  # else Ray asks what is no cluster for a quarter of an hour
    try:
        import ray
    except ImportError as error:
        raise _missing("ray", error) from error
    with contextlib.redirect_stdout(sys.stderr):
        before = ray.is_initialized()
        if not before:
            _join(ray, address)
        try:
            yield ray
        finally:
            if not before:
                ray.shutdown()


def _join(ray: Any, address: str | None) -> None:
    """Connect this process. Raises `InputError` where that fails."""
    try:
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except ImportError as error:
        raise _missing("ray[client]", error) from error
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        where = "here" if address is None else f"at {address}"
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
        raise InputError(f"No Ray cluster answers {where}: {reason}.") from error


def _missing(package: str, error: ImportError) -> InputError:
    reason = str(error).splitlines()[0].rstrip(".")
    return InputError(
        f"A sweep on a cluster needs the package {package} ({reason}); install it: pip install 'guidedflow[ray]'."
    )


def _check_answer(address: str | None) -> None:
    """Raises `InputError` where nothing listens at HOST:PORT, for which Ray itself waits minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            reason = files.reason(error) if isinstance(error, OSError) else str(error)
            raise InputError(f"No Ray cluster answers at {address}: {reason}.") from error


@dataclass(frozen=True)
class Shared:
    """A file on the disk that all machines share, by which a machine knows that it sees that disk."""

    folder: str
    """Where the driver runs, from where relative paths lead on."""
    mark: str
    content: str


@contextlib.contextmanager
def _shared(packs: Sequence[Pack]) -> Iterator[Shared]:
    """Within it the mark lies in the folder that all runs have in common."""
    common = os.path.commonpath([run.out.absolute().parent for pack in packs for run in pack.runs])
    made = Shared(os.getcwd(), os.path.join(common, ".cluster"), secrets.token_hex())
    with files.folders_above(Path(made.mark)):
        Path(made.mark).write_text(made.content, encoding="utf-8")
        try:
            yield made
        finally:
            Path(made.mark).unlink(missing_ok=True)


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
    Raises `InputError` where no cluster answers, and where a machine of it does not share the disk of the runs.
    """
    variables = {} if not 0 < gpus < 1 else {"XLA_CLIENT_MEM_FRACTION": f"{0.9 * gpus:.3f}"}
    with connected(address) as ray, _shared(packs) as shared:
        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES)(_work)
        plain = asdict(shared)
        waiting = {task.remote(json.dumps(pack.plain()), max(int(cpus), 1), variables, plain): pack for pack in packs}
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
    if status is None:
        raise InputError(last)
    outcomes = [Outcome(each["out"], each["error"]) for each in found]
    told = {outcome.out for outcome in outcomes}
    lost = f"its process ended with status {status}" + (f": {last}" if last else "")
    return [*outcomes, *(Outcome(str(run.out), lost) for run in pack.runs if str(run.out) not in told)]


def _work(
    pack: str, cores: int, variables: dict[str, str], shared: dict[str, str]
) -> tuple[list[dict[str, Any]], int | None, str]:
    """On a machine of the cluster: carry out a pack in a process of its own, pinned to cores that no other task has.

    Returns the outcomes, the status of the process, and the last line that it printed. A machine that does not see the
    runs' disk starts no process, and returns a sentence with the status None.
    """
    disk = Shared(**shared)
    if not _sees(disk):
        where = os.path.dirname(disk.mark)
        return [], None, (
            f"{socket.gethostname()}, a machine of the cluster, does not see the runs in {where}; share that folder "
            "with all machines under the same path, and give the command again."
        )  # fmt: skip
    hold, held = os.pipe()  # closes with this process, however it ends: then the worker saves and ends
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pack.json"
            path.write_text(pack, encoding="utf-8")
            own = [str(core) for core in _cores(cores)]
            command = [sys.executable, "-m", "guidedflow.sweeps.worker", str(path), *own]
            ended = subprocess.run(
                command, stdin=hold, capture_output=True, env={**os.environ, **variables}, cwd=disk.folder, check=False
            )
    finally:
        os.close(hold)
        os.close(held)
    found = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith(b"{")]
    lines = ended.stderr.decode(errors="replace").strip().splitlines()
    return found, ended.returncode, lines[-1] if lines and ended.returncode else ""


def _sees(disk: Shared) -> bool:
    """Whether this machine sees the disk that the driver sees, under the same paths."""
    try:
        return Path(disk.mark).read_text(encoding="utf-8") == disk.content and os.path.isdir(disk.folder)
    except OSError:
        return False


def _cores(number: int) -> list[int]:
    """So many of the cores of this machine, others for each process that asks at the same time."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    start = os.getpid() * number % max(len(cores), 1)
    return [cores[(start + i) % len(cores)] for i in range(min(number, len(cores)))]
