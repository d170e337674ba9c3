"""A sweep on a Ray cluster of several machines, of which one is lost, and whose driver is killed.

The nodes run on this machine (`ray.cluster_utils.Cluster`). Packs without Ray are tested in test_sweep.py.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_data import line

from guidedflow.data.convert import convert

STEPS = 400
TIMED = ("seconds", "steps_per_second", "hash")
"""What differs between two runs of the same bits."""

HEALTH = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 1000, "health_check_failure_threshold": 10}
"""A lost machine is noticed in seconds, and a slow one is not taken for lost."""


class Nodes:
    """A Ray cluster on this machine. Its head carries nothing out, and the drivers connect to it."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": HEALTH}
        self.cluster = patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
        self.address = self.cluster.address

    def add(self) -> Any:
        """Another machine of one core."""
        return patiently(lambda: self.cluster.add_node(num_cpus=1))


def patiently(start: Callable[[], Any]) -> Any:
    """Start a part of Ray, which gives up where a part of its own is not there after 15 seconds, again if need be."""
    for _ in range(4):
        try:
            return start()
        except Exception as error:  # Ray raises no other
            failed = error
    raise failed


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """A cluster whose machines share compiled programs."""
    pytest.importorskip("ray")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "programs"))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    made = Nodes()
    try:
        yield made
    finally:
        made.cluster.shutdown()


class Driver:
    """`guidedflow sweep` in a process of its own: 24 runs in 6 packs, whose warnings are kept in a file."""

    def __init__(self, out: Path, data: Path, address: str) -> None:
        words = f"sweep --tasks line other --dataset {data} --algorithms bc fql iql --grid learning_rate=1e-3,1e-4"
        words += f" --hidden 4 --seeds 2 --batch-size 4 --log-interval 20 --steps {STEPS} --out {out} --json"
        words += f" --address {address} --ray-tasks 1"
        self.out, self.log = out, out.with_name(f"{out.name}-{time.monotonic_ns()}.log")
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "guidedflow", *words.split()]
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)

    def told(self) -> dict[str, Any]:
        """The one object that it prints in the end."""
        printed = self.process.communicate()[0]
        assert printed, self.log.read_text()
        told: dict[str, Any] = json.loads(printed)
        return told

    def wait_for(self, number: int) -> dict[Path, int]:
        """Wait until so many runs are whole; those that are, with the time of their last checkpoint."""
        deadline = time.monotonic() + 1200
        while len(found := whole(self.out)) < number and self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        assert self.process.poll() is None, self.log.read_text()
        assert number <= len(found) < 24
        return found


def whole(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in sorted(out.glob(f"*/*/*/checkpoints/{STEPS}"))}


def states(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.glob(f"*/*/*/checkpoints/{STEPS}/state*")}


def rows(out: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of each run without its times; a row that was written twice is there twice."""
    found = {}
    for path in out.glob("*/*/*/metrics.jsonl"):
        each = [json.loads(row) for row in path.read_text().splitlines()]
        found[str(path.relative_to(out))] = [{k: v for k, v in row.items() if k not in TIMED} for row in each]
    return found


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore:os.fork")  # Ray starts its own processes so, from a process that has loaded JAX
@pytest.mark.filterwarnings("ignore:.*Exception ignored in. <function _at_fork")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_machine_and_the_driver_are_lost_and_nothing_runs_twice(tmp_path: Path, nodes: Nodes) -> None:
    data = convert(line(), tmp_path / "line.npz")
    nodes.add()
    machine = nodes.add()

    undisturbed = Driver(tmp_path / "undisturbed", data, nodes.address)
    assert undisturbed.told() == {"runs": 24, "done": 24, "already": 0, "failed": {}}
    assert (len(states(undisturbed.out)), len(rows(undisturbed.out))) == (24, 24)
    assert all(len(each) == STEPS // 20 for each in rows(undisturbed.out).values())

    disturbed = Driver(tmp_path / "disturbed", data, nodes.address)
    before = disturbed.wait_for(3)
    nodes.cluster.remove_node(machine, allow_graceful=False)
    assert disturbed.told() == {"runs": 24, "done": 24, "already": 0, "failed": {}}
    assert before.items() <= whole(disturbed.out).items()

    nodes.add()
    killed = Driver(tmp_path / "killed", data, nodes.address)
    before = killed.wait_for(3)
    os.kill(killed.process.pid, signal.SIGKILL)
    killed.process.communicate()
    told = Driver(killed.out, data, nodes.address).told()
    assert (told["done"], told["already"] >= len(before), told["failed"]) == (24, True, {})
    assert before.items() <= whole(killed.out).items()

    assert states(undisturbed.out) == states(killed.out) == states(disturbed.out)
    assert rows(undisturbed.out) == rows(killed.out) == rows(disturbed.out)
