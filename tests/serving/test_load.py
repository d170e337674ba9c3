"""Many robots at once, and frames that no robot sends: nothing is mixed up, nothing falls over.

The short forms take seconds; the long ones are `slow`, and `benchmarks/serving.py` measures.
"""

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import websockets
from serving_helpers import Known, known, listening
from websockets.asyncio.client import connect

from guidedflow.serving.client import AsyncClient, Client
from guidedflow.serving.codec import pack, unpack
from guidedflow.serving.server import Limits

ROOT = Path(__file__).parents[2]


async def robots(port: int, clients: int, requests: int) -> int:
    """How many answers are wrong, of clients that each ask about observations of their own."""

    async def robot(number: int) -> int:
        wrong, draws = 0, np.random.default_rng(number)
        async with AsyncClient(port=port, timeout=60) as client:
            for seed in range(requests):
                observation, weight = draws.normal(size=3).astype(np.float32), float(number)
                actions = await client.act(observation, seed=seed, weight=weight)
                expected = known(observation[None], np.array([seed]), np.array([[weight]], np.float32))[0]
                wrong += not np.array_equal(actions, expected)
        return wrong

    return sum(await asyncio.gather(*map(robot, range(clients))))


@pytest.mark.parametrize("batch", [1, 16])
def test_no_answer_is_wrong_or_another_robots(batch: int) -> None:
    with listening({"flow": Known()}, limits=Limits(batch=batch)) as server:
        assert asyncio.run(robots(server.port or 0, 16, 40)) == 0


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read as Linux tells it")
def test_64_robots_ask_ten_thousand_times_each(tmp_path: Path) -> None:
    """And the memory of the process grows by less than 5 %."""
    with listening({"flow": Known()}) as server:
        assert asyncio.run(robots(server.port or 0, 64, 300)) == 0
        before = resident()
        for _ in range(4):
            assert asyncio.run(robots(server.port or 0, 64, 2500)) == 0
        assert resident() < 1.05 * before


def frames(count: int, seed: int = 0) -> list[bytes]:
    """Frames that are wrong in ways of their own: cut, flipped, nested, announced larger than they are."""
    draw = random.Random(seed)
    whole = pack({"observation": np.ones(3, np.float32), "seed": 1, "weight": 0.5})
    array = {b"__ndarray__": True, b"data": bytes(12), b"dtype": "<f4", b"shape": [3]}
    made = []
    for _ in range(count):
        kind = draw.randrange(10)
        if kind == 0:
            made.append(whole[: draw.randrange(len(whole))])
        elif kind == 1:
            flipped = bytearray(whole)
            for _ in range(draw.randrange(1, 6)):
                flipped[draw.randrange(len(flipped))] = draw.randrange(256)
            made.append(bytes(flipped))
        elif kind == 2:
            made.append(b"\x81\xa1a" + b"\x91" * draw.randrange(1, 3000))
        elif kind == 3:
            shape = [draw.choice([-1, 2**40, 2**63 - 1, 0, 3, True, 1.5]) for _ in range(draw.randrange(6))]
            made.append(msgpack.packb({"observation": array | {b"shape": shape}}))
        elif kind == 4:
            dtype = draw.choice(["|O", "O", "<M8[s]", "|V8", ">f4", "f4", "<c16", "<f2", ""])
            made.append(msgpack.packb({"observation": array | {b"dtype": dtype}}))
        elif kind == 5:
            value = draw.choice([np.nan, np.inf, -np.inf])
            made.append(pack({"observation": np.array([0, value, 1])}))
        elif kind == 6:
            made.append(draw.randbytes(draw.randrange(200)))
        elif kind == 7:
            made.append(b"\xdf" + draw.randbytes(4) + draw.randbytes(20))
        elif kind == 8:
            made.append(pack({"observation": np.zeros(draw.randrange(9)), draw.choice("abc"): 1}))
        else:
            made.append(msgpack.packb({"observation": array | {b"data": bytes(draw.randrange(40))}}))
    return made


async def attacked(port: int, every: list[bytes]) -> None:
    """Send frames, one after the other, beside a robot that is not to notice; each gets a refusal or actions."""
    robot = asyncio.create_task(robots(port, 2, max(20, len(every) // 20)))
    async with connect(f"ws://127.0.0.1:{port}") as connection:
        await connection.recv()
        for frame in every:
            await connection.send(frame)
            answer = await asyncio.wait_for(connection.recv(), 10)
            if isinstance(answer, str):
                assert '"status": 4' in answer
                assert "Traceback" not in answer
                assert ".py" not in answer  # no path
            else:
                assert unpack(answer)["actions"].shape == (2, 2)
    assert await robot == 0


def test_frames_that_are_wrong_get_a_refusal_each() -> None:
    with listening({"flow": Known()}) as server:
        asyncio.run(attacked(server.port or 0, frames(400)))


@pytest.mark.slow
def test_ten_thousand_frames_that_are_wrong_get_a_refusal_each() -> None:
    with listening({"flow": Known()}) as server:
        asyncio.run(attacked(server.port or 0, frames(10_000, seed=1)))


async def left(port: int, clients: int, seed: int) -> None:
    """Clients that leave at any moment: before the metadata, with a request under way, in mid-frame."""
    draw = random.Random(seed)

    async def guest() -> None:
        with contextlib.suppress(websockets.ConnectionClosed, OSError):
            connection = await connect(f"ws://127.0.0.1:{port}")
            kind = draw.randrange(4)
            if kind:
                await connection.recv()
            if kind > 1:
                await connection.send(pack({"observation": np.ones(3)}))
            if kind > 2:
                connection.transport.write(b"\x82\xff\x00\x00")
                await asyncio.sleep(0.002)
            connection.transport.abort()

    await asyncio.gather(*(guest() for _ in range(clients)), robots(port, 2, 30))


def test_clients_that_vanish_leave_nothing_behind() -> None:
    with listening({"flow": Known(seconds=0.001)}) as server:
        asyncio.run(left(server.port or 0, 60, 1))
        with Client(port=server.port) as client:
            client.act(np.ones(3))
        assert "guidedflow_queue 0.0" in server._metrics.text()


async def unread(port: int) -> None:
    """A client that asks and asks and reads no answer, beside robots that do."""
    async with connect(f"ws://127.0.0.1:{port}", max_queue=1) as connection:
        asking = asyncio.create_task(_ask_for_ever(connection))
        assert await robots(port, 2, 50) == 0
        asking.cancel()
        connection.transport.abort()


async def _ask_for_ever(connection: Any) -> None:
    with contextlib.suppress(websockets.ConnectionClosed):
        for _ in range(5000):
            await connection.send(pack({"observation": np.ones(3)}))


def test_a_client_that_reads_nothing_hinders_nobody() -> None:
    with listening({"flow": Known()}) as server:
        asyncio.run(unread(server.port or 0))


def test_the_command_serves_a_run_and_answers_before_it_stops(run: Path, tmp_path: Path) -> None:
    """As a process: SIGTERM under load; every answer is the policy's, and the process ends within 5 s."""
    (tmp_path / "token").write_text("0123456789abcdef\n")
    log = tmp_path / "log"
    command = [sys.executable, "-W", "error", "-m", "guidedflow", "serve", f"arm={run}", "--port", "0", "--guidance"]
    command += ["denoised", "--weight", "0.3", "--token-file", str(tmp_path / "token"), "--log-requests"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with log.open("w") as file:
        process = subprocess.Popen(command, stderr=file, env=environment, cwd=tmp_path)
    try:
        port = _port(process, log)
        asyncio.run(_until_it_stops(process, port, run))
        assert process.returncode == 0
        assert "Traceback" not in log.read_text()
        assert '"policy": "arm", "outcome": "ok"' in log.read_text()
    finally:
        if process.poll() is None:
            process.kill()


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    for _ in range(600):
        for line in log.read_text().splitlines():
            if line.startswith("serving "):
                return int(line.rpartition(":")[2])
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(log.read_text())


async def _until_it_stops(process: subprocess.Popen[bytes], port: int, run: Path) -> None:
    import jax

    from guidedflow import DenoisedGradient, Sampler
    from guidedflow.runs.trained import Trained

    policy = Trained.open(run).policy("flow").with_sampler(Sampler(steps=3, guidance=DenoisedGradient(0.3)))
    answered: list[tuple[Any, int, Any]] = []

    async def robot(number: int) -> None:
        async with AsyncClient(port=port, token="0123456789abcdef", timeout=0.5) as client:
            with contextlib.suppress(TimeoutError):
                for step in range(10_000):
                    observation, seed = np.full(3, number / 10), number + 100 * step
                    answered.append((observation, seed, await client.act(observation, seed=seed)))

    tasks = [asyncio.create_task(robot(number)) for number in range(8)]
    while len(answered) < 100:
        await asyncio.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    await asyncio.to_thread(process.wait, 30)
    assert time.monotonic() - begun < 15  # 5 s, and the end of an interpreter on a machine that others use too
    await asyncio.gather(*tasks)
    for observation, seed, actions in answered[:20] + answered[-20:]:
        assert np.array_equal(actions[0], policy(observation, jax.random.key(seed)))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("serve RUN --host 0.0.0.0", "lets other machines in, so it needs --token-file"),
        ("serve RUN --token-file EMPTY", "must hold at least 16 printable characters"),
        ("serve RUN --token-file nowhere", "--token-file nowhere cannot be read"),
        ("serve RUN --batch 3", "--batch must be a power of two, but is 3"),
        ("serve RUN --policy actor", "has no policy 'actor'"),
        ("serve RUN RUN", "Two policies would be served as 'run'"),
        ("serve a=RUN --policy flow guided", "names one policy, but --policy names 2"),
        ("serve RUN --policy flow guided --record x.npz", "--record takes the episodes of one policy"),
        ("serve RUN --weight 1", "--weight changes nothing without a guidance"),
        ("serve nowhere", "There is no run at nowhere"),
        ("serve", "missing argument RUN"),
        ("serve EXPORT --weight 1 --guidance denoised", "is an export, which acts as it was written"),
        ("serve RUN --port 99999", "port must be between 0 and 65535"),
        ("serve RUN --port TAKEN", "cannot be used: Address already in use; choose another --port"),
    ],
)
def test_a_mistake_gets_a_sentence(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: str, sentence: str
) -> None:
    from guidedflow.cli import main

    (tmp_path / "EMPTY").write_text("")
    (tmp_path / "EXPORT").mkdir()
    (tmp_path / "EXPORT" / "policy.json").write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        places = {
            "RUN": run,
            "EMPTY": tmp_path / "EMPTY",
            "EXPORT": tmp_path / "EXPORT",
            "TAKEN": taken.getsockname()[1],
        }
        for name, place in places.items():
            arguments = arguments.replace(name, str(place))
        with pytest.raises(SystemExit) as failed:
            main(arguments.split())
    told = capsys.readouterr().err
    assert failed.value.code == 2
    assert sentence in told
    assert told.count("\n") == 1
