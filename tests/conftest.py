"""Strict arithmetic, checked shapes, and where the tests' data lie."""

import ctypes
import gc
import itertools
import os
import sys
from pathlib import Path

# Tests compile much and compute little: so a program compiles in a third of the time, and runs slower.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)

import jax
import pytest
from jaxtyping import install_import_hook

# Before anything of the library is imported: annotations of shapes and types are checked at each call.
install_import_hook("guidedflow", "typechecker.check")

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

_TESTS = Path(__file__).parent


_TESTS_BETWEEN = 100
_ran = itertools.count(1)


def pytest_runtest_teardown() -> None:
    """Let go of compiled programs now and then: kept to the end, those of all tests take 6 GB a process."""
    if next(_ran) % _TESTS_BETWEEN == 0:
        jax.clear_caches()
        gc.collect()
        if sys.platform == "linux":
            getattr(ctypes.CDLL(None), "malloc_trim", int)(0)  # glibc keeps what was freed


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Published datasets of real size, which are too large for the repository."""
    folder = _TESTS.parents[1] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("published datasets are not here: expected them in ../shared/data, beside the project")
    return folder


@pytest.fixture(scope="session")
def golden() -> Path:
    """Inputs and results of published code."""
    return Path(os.environ.get("GUIDEDFLOW_GOLDEN", _TESTS / "golden"))
