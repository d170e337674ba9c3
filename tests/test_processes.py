"""Sums have the same bits on any number of cores where that is asked for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from guidedflow import processes
from guidedflow.errors import InputError

HERE = Path(__file__).parent


def test_the_flag_is_set_once_beside_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    assert not processes.sums_alike()
    for _ in range(2):
        processes.sum_alike()
        assert processes.sums_alike()
        assert os.environ["XLA_FLAGS"] == f"--xla_cpu_multi_thread_eigen=false {processes.SAME_SUMS}"


def test_another_jaxlib_is_refused_before_it_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "version", lambda package: "0.99.0")
    with pytest.raises(
        InputError, match=r"need jaxlib 0\.10\.x, but 0\.99\.0 is installed; pin the process to one core"
    ):
        processes.sum_alike()


BITS = """
import hashlib, os, sys, tempfile
from pathlib import Path
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[1])])
import guidedflow.cli.train  # as a command does, before it knows its flags
from guidedflow.processes import sum_alike
if sys.argv[2] == "alike":
    sum_alike()
import jax, numpy as np
from tiny_data import line
from guidedflow import GFP, Plan, train
plan = Plan(steps=100, batch_size=256, log_interval=100)
trained = train(GFP(hidden=(256,) * 3, flow_steps=2), line(20, 50), plan, out=Path(tempfile.mkdtemp()) / "run")
print(hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(trained.state))).hexdigest())
"""


def bits(cores: int, how: str) -> str:
    path = os.pathsep.join([str(HERE), str(Path(processes.__file__).parents[1])])
    told = {**os.environ, "PYTHONPATH": path, "XLA_FLAGS": ""}
    command = [sys.executable, "-c", BITS, str(cores), how]
    return subprocess.run(command, env=told, capture_output=True, text=True, check=True, timeout=550).stdout


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(processes.available_cores() < 2, reason="needs two cores")
def test_a_run_has_the_same_bits_on_one_core_and_on_two() -> None:
    assert bits(1, "alike") == bits(2, "alike")
