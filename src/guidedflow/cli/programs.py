"""Compiled programs are kept on disk, so that a command that was run before starts without compiling again.

`GUIDEDFLOW_CACHE` names another folder, or is `off`. JAX's own `JAX_COMPILATION_CACHE_DIR` wins. Programs are those
that would be compiled, so results are the same to the bit.
"""

import hashlib
import os
import platform
from importlib.metadata import version
from pathlib import Path

import jax

from guidedflow.processes import available_cores

VARIABLE = "GUIDEDFLOW_CACHE"
"""The environment variable that moves or switches off the cache."""

OFF = ("off", "0", "no", "none", "false", "")


def keep() -> Path | None:
    """Let JAX keep compiled programs, here and in processes that are started; the folder, or None where they are not.

    A folder that cannot be made or written is no error: then every program is compiled.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or os.environ.get(VARIABLE, "on").lower() in OFF:
        return None
    chosen = folder()
    try:
        chosen.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    if not os.access(chosen, os.W_OK | os.X_OK):
        return None
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(chosen)
    jax.config.update("jax_compilation_cache_dir", str(chosen))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_raise_persistent_cache_errors", False)
    return chosen


def folder() -> Path:
    """Where programs are kept: a folder for each version of XLA, kind of processor and number of cores.

    Programs for other processors may not run, and sums are split over the cores that a program was compiled for.
    """
    named = os.environ.get(VARIABLE)
    above = Path(named).expanduser() if named else _caches() / "guidedflow" / "programs"
    return above / f"jaxlib-{version('jaxlib')}-{_processor()}-{available_cores()}-cores"


def _caches() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()


def _processor() -> str:
    """A short name of what the processor can do."""
    told = platform.machine() + platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        told += next((line for line in lines if line.startswith(("flags", "Features"))), "")
        told += next((line for line in lines if line.startswith("model name")), "")
    except OSError:
        pass
    return hashlib.sha256(told.encode()).hexdigest()[:12]
