"""Processes of our own: how many, the surroundings in which they start, and what makes their bits.

This module does not know what they do.
"""

import contextlib
import os
import sys
import types
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from guidedflow.errors import InputError

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def available_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory() -> int | None:
    """Bytes of memory that programs may still take; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None


SAME_SUMS = "--xla_cpu_experimental_ynn_fusion_type=-reduce"
"""XLA's flag that takes sums away from YNNPACK, which alone splits them over the cores that there are."""

KNOWS_SAME_SUMS = "0.10."
"""Versions of jaxlib that were seen to know the flag; XLA ends the process for a flag that it does not know."""


def sum_alike() -> None:
    """Let every sum of this process have the same bits on any number of cores; call it before JAX computes anything.

    Raises `InputError` for another jaxlib than those that are known to have the setting.
    """
    if not (found := version("jaxlib")).startswith(KNOWS_SAME_SUMS):
        raise InputError(
            f"the same bits on any number of cores need jaxlib {KNOWS_SAME_SUMS}x, but {found} is installed; pin the "
            "process to one core instead, such as by taskset -c 0."
        )
    if not sums_alike():
        os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), SAME_SUMS]).strip()


def sums_alike() -> bool:
    """Whether sums are to have the same bits on any number of cores."""
    return SAME_SUMS in os.environ.get("XLA_FLAGS", "").split()


@contextlib.contextmanager
def launching(graphics: str | None = None) -> Iterator[None]:
    """The surroundings in which workers start: one mathematics thread each, no part of the user's script.

    A spawned process imports the script that spawned it; without one to import, scripts need no `__main__` guard and
    the JAX that they import stays out of the workers.
    """
    variables = dict.fromkeys(_ONE_THREAD, "1")
    if graphics is not None:
        variables["MUJOCO_GL"] = graphics
    before = {name: os.environ.get(name) for name in variables}
    script = sys.modules["__main__"]
    os.environ.update(variables)
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
