"""Processes of our own: how many, and the surroundings in which they start.

This module does not know what they do.
"""

import contextlib
import os
import sys
import types
from collections.abc import Iterator

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def available_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
