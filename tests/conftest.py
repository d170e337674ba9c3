"""Strict arithmetic, checked shapes, and where the tests' data lie."""

import ctypes
import gc
import os
import resource
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


_LONGEST = (
    "test_algorithms.py", "test_training.py", "test_examples.py", "test_golden.py", "test_sweep.py", "test_export.py",
    "test_policy.py", "test_environments.py", "test_cli.py", "test_server.py", "test_camera.py",
    "test_golden_related.py", "test_ensemble.py", "test_rollout.py", "test_catalogue.py", "test_docs.py",
)  # fmt: skip
"""Files that take more than ten seconds of a core."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that all processes end at about the same time."""
    places = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


_MOST = 2.5e9
"""Bytes of memory that compiled programs may take a process, before they are let go of."""


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Let go of compiled programs between two files; kept to the end, those of all tests take 6 GB a process."""
    if nextitem is not None and nextitem.path != item.path and _memory() > _MOST:
        jax.clear_caches()
        gc.collect()
        if sys.platform == "linux":
            getattr(ctypes.CDLL(None), "malloc_trim", int)(0)  # glibc keeps what was freed


def _memory() -> float:
    """Bytes of memory that this process takes; where that is not known, the most that it took."""
    if sys.platform == "linux":
        return float(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


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
