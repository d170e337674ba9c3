"""A sweep on a Ray cluster of several machines, of which one is lost, and whose driver is killed.

The nodes run on this machine (`ray.cluster_utils.Cluster`). Packs without Ray are tested in test_sweep.py.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_data import line

from guidedflow.data.convert import convert
from guidedflow.errors import InputError
from guidedflow.sweeps import cluster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:os.fork"),  # Ray starts its own processes so, from a process that has loaded JAX
    pytest.mark.filterwarnings("ignore:.*Exception ignored in. <function _at_fork"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture
def nodes() -> Iterator[Any]:
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        yield made
    finally:
        made.shutdown()


def start(out: Path, data: Path, address: str) -> "subprocess.Popen[bytes]":
    words = f"sweep --tasks line other --dataset {data} --algorithms bc fql iql --grid learning_rate=1e-3,1e-4"
    words += f" --hidden 4 --seeds 2 --batch-size 4 --log-interval 20 --steps 400 --out {out} --json"
    words += f" --address {address} --ray-tasks 4"
    command = [sys.executable, "-m", "guidedflow", *words.split()]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def checkpoints(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.glob("*/*/*/checkpoints/400/state*"))}


def wait_for(out: Path, number: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 500
    while len(checkpoints(out)) < number and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.5)


@pytest.mark.timeout(1500)
def test_a_machine_and_the_driver_are_lost_and_nothing_runs_twice(tmp_path: Path, nodes: Any) -> None:
    data = convert(line(), tmp_path / "line.npz")
    nodes.add_node(num_cpus=1)
    lost = nodes.add_node(num_cpus=1)

    undisturbed = start(tmp_path / "whole", data, nodes.address)
    told = json.loads(undisturbed.communicate()[0])
    assert (told["runs"], told["done"], told["failed"]) == (24, 24, {})

    killed = start(tmp_path / "killed", data, nodes.address)
    wait_for(tmp_path / "killed", 3, killed)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    time.sleep(10)  # until its tasks have ended with it
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob("*/*/*/checkpoints/400")}
    assert before
    again = start(tmp_path / "killed", data, nodes.address)
    told = json.loads(again.communicate()[0])
    assert (told["done"], told["already"] >= len(before)) == (24, True)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())

    disturbed = start(tmp_path / "lost", data, nodes.address)
    wait_for(tmp_path / "lost", 3, disturbed)
    nodes.remove_node(lost, allow_graceful=False)
    told = json.loads(disturbed.communicate()[0])
    if told["done"] < 24:  # a run whose lock the lost worker still held
        told = json.loads(start(tmp_path / "lost", data, nodes.address).communicate()[0])
    assert told["done"] == 24
    assert checkpoints(tmp_path / "whole") == checkpoints(tmp_path / "killed") == checkpoints(tmp_path / "lost")


def test_a_cluster_that_does_not_answer_is_one_sentence() -> None:
    pytest.importorskip("ray")
    with pytest.raises(InputError, match=r"No Ray cluster answers at 127\.0\.0\.1:1"):
        cluster.connect("127.0.0.1:1")
