"""The policy server under load on this machine alone: wrong answers, latency, throughput and memory.

    python benchmarks/serving.py [--json] [--clients 64] [--requests 200] [--batch 1 32] [--layers 4x512] [--guided]

Every answer is compared with the policy's own, computed beforehand; with one row a call, bit by bit. The floor is the
bare policy at the same batch, call after call in this process. Clients and server are two processes, with one core
each where there are two. Memory is the server's, after a tenth of the requests and at the end. The long form is
--requests 10000. The number of requests is bounded by --seconds as well.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from guidedflow import QGF, DenoisedGradient, Sampler
from guidedflow.policies.policy import Policy
from guidedflow.results import tables
from guidedflow.serving.client import AsyncClient
from guidedflow.serving.export import write_export
from guidedflow.serving.programs import interface_of
from guidedflow.serving.sources import ExportSource
from guidedflow.types import Transition

OBSERVATION, ACTION = 28, 5
KNOWN = 256
"""Different observations, each with a seed of its own."""


def untrained(hidden: tuple[int, ...], guided: bool) -> Policy:
    """The flow of QGF before its first update; what an action costs does not depend on what was learned."""
    seen, action, number = jnp.zeros(OBSERVATION), jnp.zeros(ACTION), jnp.zeros(())
    algorithm = QGF(hidden=hidden)
    state = algorithm.init(Transition(seen, action, number, number, seen, action), jax.random.key(0))
    sampler = Sampler(guidance=DenoisedGradient(0.1), candidates=4) if guided else Sampler()
    return algorithm.policies(state)["flow"].with_sampler(sampler)


def answers(folder: Path, batches: list[int]) -> tuple[NDArray[Any], NDArray[Any], dict[int, float]]:
    """Observations, the exported policy's actions at them under their number as seed, and rows a second by batch."""
    opened = ExportSource(folder).open()
    (program,) = opened.programs.values()
    observations = np.random.default_rng(0).standard_normal((KNOWN, OBSERVATION)).astype(np.float32)
    weights = np.array([[*opened.interface.weights.values()]], np.float32).reshape(1, -1)

    def act(i: int) -> NDArray[Any]:
        return program(observations[i : i + 1], np.array([i], np.uint32), weights)[0]

    actions = np.stack([act(i) for i in range(KNOWN)])
    speeds = {}
    for batch in batches:
        rows = np.arange(batch) % KNOWN
        given = observations[rows], rows.astype(np.uint32), np.repeat(weights, batch, axis=0)
        program(*given)
        begun, calls = time.perf_counter(), 0
        while time.perf_counter() - begun < 2:
            program(*given)
            calls += 1
        speeds[batch] = batch * calls / (time.perf_counter() - begun)
    return observations, actions, speeds


class Load:
    """What all clients saw."""

    def __init__(self) -> None:
        self.taken: list[float] = []
        self.wrong, self.apart = 0, 0.0

    async def robot(
        self, port: int, number: int, requests: int, known: tuple[NDArray[Any], NDArray[Any]], end: float
    ) -> None:
        """One client, one request after the other."""
        observations, actions = known
        async with AsyncClient(port=port, timeout=120) as client:
            await client.metadata()
            for step in range(requests):
                if time.monotonic() > end:
                    return
                i = (number * 7919 + step) % KNOWN
                begun = time.perf_counter()
                found = await client.act(observations[i], seed=i)
                self.taken.append(1000 * (time.perf_counter() - begun))
                apart = float(np.abs(found - actions[i]).max())
                self.apart = max(self.apart, apart)
                self.wrong += apart > 1e-5


def resident(process: int) -> int:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure(
    folder: Path, batch: int, clients: int, requests: int, known: tuple[NDArray[Any], NDArray[Any]], seconds: float
) -> dict[str, Any]:
    """One server, and the load on it until it is told to stop."""
    log = folder.parent / f"log-{batch}"
    command = [sys.executable, "-m", "guidedflow", "serve", str(folder), "--port", "0", "--batch", str(batch)]
    with log.open("w") as file:
        process = subprocess.Popen([*command, "--queue", "256", "--deadline", "120"], stderr=file)
    try:
        while not (lines := [line for line in log.read_text().splitlines() if line.startswith("serving ")]):
            if process.poll() is not None:
                raise SystemExit(log.read_text())
            time.sleep(0.1)
        port = int(lines[0].rpartition(":")[2])
        load = Load()

        async def work(share: int) -> None:
            end = time.monotonic() + seconds
            await asyncio.gather(*(load.robot(port, number, share, known, end) for number in range(clients)))

        asyncio.run(work(max(1, requests // 10)))
        before, begun, done = resident(process.pid), time.perf_counter(), len(load.taken)
        asyncio.run(work(requests - requests // 10))
        spent, after = time.perf_counter() - begun, resident(process.pid)
        process.send_signal(signal.SIGTERM)
        begun = time.perf_counter()
        process.wait(30)
        stopped = time.perf_counter() - begun
    finally:
        if process.poll() is None:
            process.kill()
    taken = np.array(load.taken[done:])
    return {
        "batch": batch,
        "answers": len(load.taken),
        "wrong": load.wrong,
        "largest_difference": load.apart,
        "p50_ms": float(np.percentile(taken, 50)),
        "p99_ms": float(np.percentile(taken, 99)),
        "per_second": len(taken) / spent,
        "memory_growth": after / before - 1,
        "seconds_to_stop": stopped,
        "status": process.returncode,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="The policy server under load on this machine.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=200, help="requests of each client")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32], help="most requests in one call")
    parser.add_argument("--layers", default="4x512", help="depth x width of every network")
    parser.add_argument("--guided", action="store_true", help="guide, and take the best of 4")
    parser.add_argument("--seconds", type=float, default=600, help="longest time of one load")
    options = parser.parse_args()
    depth, width = map(int, options.layers.split("x"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "export"
        policy = untrained((width,) * depth, options.guided)
        write_export(policy, interface_of(policy), folder)
        observations, actions, bare = answers(folder, options.batch)
        known = observations, actions
        rows = [measure(folder, n, options.clients, options.requests, known, options.seconds) for n in options.batch]
    told = {"clients": options.clients, "layers": options.layers, "guided": options.guided, "bare_per_second": bare}
    if options.json:
        print(json.dumps({**told, "rows": rows}))
        return
    lines = [
        (
            str(row["batch"]),
            f"{bare[row['batch']]:.0f}",
            f"{row['answers']:,}",
            str(row["wrong"]),
            f"{row['largest_difference']:.1e}",
            f"{row['p50_ms']:.1f}",
            f"{row['p99_ms']:.1f}",
            f"{row['per_second']:.0f}",
            f"{row['per_second'] / bare[row['batch']]:.2f}",
            f"{row['memory_growth']:+.1%}",
            f"{row['seconds_to_stop']:.1f}",
        )
        for row in rows
    ]
    headers = ("batch", "bare /s", "answers", "wrong", "apart", "p50", "p99", "/s", "x bare", "memory", "stop")
    kind = "guided, best of 4" if options.guided else "flow"
    title = f"{options.clients} clients, {kind}, {options.layers}"
    Console().print(tables.table(headers, lines, title))


if __name__ == "__main__":
    main()
