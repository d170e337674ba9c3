"""The client, and clients of others that speak the same protocol."""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from serving_helpers import Known, known, listening
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from guidedflow.serving.client import AsyncClient, Client, Refusal
from guidedflow.serving.codec import pack
from guidedflow.serving.interface import Interface, Part
from guidedflow.serving.sources import Opened

EXPECTED = known(np.ones((1, 3)), np.array([3]), np.array([[0.5]]))[0]


def test_it_needs_numpy_websockets_and_msgpack_alone() -> None:
    code = """
import importlib.abc, sys
allowed = {"numpy", "websockets", "msgpack", "guidedflow"}
class Only(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        first = name.partition(".")[0]
        if first not in allowed and first not in sys.stdlib_module_names and not first.startswith("_"):
            raise ImportError(f"{name} is not on this robot")
sys.meta_path.insert(0, Only())
import guidedflow.serving.client
print(sorted({name.partition(".")[0] for name in sys.modules} & (allowed | {"jax", "equinox", "jaxtyping"})))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert found.stdout == "['guidedflow', 'msgpack', 'numpy', 'websockets']\n", found.stderr


def test_the_same_from_coroutines() -> None:
    async def work(port: int) -> None:
        async with AsyncClient(port=port) as client:
            assert (await client.metadata())["default_policy"] == "flow"
            assert np.array_equal(await client.act(np.ones(3), seed=3), EXPECTED)
            several = await asyncio.gather(*(client.act(np.ones(3), seed=3) for _ in range(5)))
            assert all(np.array_equal(actions, EXPECTED) for actions in several)
            with pytest.raises(Refusal, match="shape"):
                await client.act(np.ones(4))
            await client.end(np.ones(3), terminated=True)

    with listening({"flow": Known()}) as server:
        asyncio.run(work(server.port or 0))


def test_an_interrupted_call_leaves_no_answer_behind() -> None:
    source = Known()

    async def work(port: int) -> None:
        async with AsyncClient(port=port) as client:
            await client.metadata()
            source.hold.clear()
            call = asyncio.create_task(client.act(np.zeros(3) + 9, seed=9))
            await asyncio.sleep(0.2)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            source.hold.set()
            assert np.array_equal(await client.act(np.ones(3), seed=3), EXPECTED)

    with listening({"flow": source}) as server:
        asyncio.run(work(server.port or 0))
        source.hold.clear()
        with Client(port=server.port) as client:
            with pytest.raises(TimeoutError, match="gave no answer in time"):
                client.act(np.zeros(3) + 9, seed=9, timeout=0.3)
            source.hold.set()
            assert np.array_equal(client.act(np.ones(3), seed=3), EXPECTED)


@contextmanager
def answering(frames: list[Any]) -> Iterator[int]:
    """A server that says what it is to say, a list of frames a connection: None breaks the connection."""

    def handle(connection: ServerConnection) -> None:
        for i, frame in enumerate(frames.pop(0)):
            if i:
                connection.recv()
            if frame is None:
                connection.socket.shutdown(socket.SHUT_RDWR)
                return
            connection.send(frame)
        connection.recv(timeout=5)

    with serve(handle, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.socket.getsockname()[1]
        finally:
            server.shutdown()
            thread.join()


def test_it_connects_again_where_a_connection_breaks() -> None:
    metadata, answer = pack({"server": "another"}), pack({"actions": EXPECTED})
    with answering([[metadata, None], [None], [metadata, answer]]) as port, Client(port=port) as client:
        assert np.array_equal(client.act(np.ones(3)), EXPECTED)
    with answering([[metadata, None], [metadata, answer]]) as port:

        async def work() -> None:
            async with AsyncClient(port=port) as client:
                assert np.array_equal(await client.act(np.ones(3)), EXPECTED)

        asyncio.run(work())


def test_it_waits_for_a_server_that_is_not_there_yet() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with pytest.raises(TimeoutError, match=f"ws://127.0.0.1:{port} gave no answer in time"):
        Client(port=port).act(np.ones(3), timeout=0.3)


@pytest.mark.parametrize(
    "frame",
    [
        "Traceback (most recent call last): ...",
        pack({"actions": "none"}),
        pack({}),
        pack({"actions": np.array([np.nan])}),
        msgpack.packb({"actions": {b"__ndarray__": True, b"data": bytes(8), b"dtype": "|O", b"shape": [1]}}),
        b"\x80\x04\x95",
    ],
)
def test_it_distrusts_its_server(frame: Any) -> None:
    with answering([[pack({}), frame]]) as port, Client(port=port) as client, pytest.raises(Refusal):
        client.act(np.ones(3))


def openpi_pack(value: Any) -> Any:
    """Arrays as openpi's client writes them: maps with keys of bytes, the shape as it is."""
    if isinstance(value, np.ndarray):
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    raise TypeError(value)


def openpi_unpack(found: dict[Any, Any]) -> Any:
    if b"__ndarray__" in found:
        return np.ndarray(buffer=found[b"data"], dtype=np.dtype(found[b"dtype"]), shape=found[b"shape"])
    return found


def test_a_client_of_openpi_gets_actions() -> None:
    """From its protocol: metadata, then in turn one packed observation and one packed answer; text means an error."""
    headers = {"Authorization": "Api-Key 0123456789abcdef"}
    with listening({"flow": Known()}, token="0123456789abcdef") as server:
        uri = f"ws://127.0.0.1:{server.port}"
        with connect(uri, compression=None, max_size=None, additional_headers=headers) as connection:
            metadata = msgpack.unpackb(connection.recv(), object_hook=openpi_unpack)
            assert isinstance(metadata, dict)
            for _ in range(3):
                observation = {"observation": np.ones(3, np.float32), "prompt": "reach the cube", "seed": 3}
                connection.send(msgpack.packb(observation, default=openpi_pack))
                answer = connection.recv()
                assert not isinstance(answer, str)
                actions = msgpack.unpackb(answer, object_hook=openpi_unpack)
                chunk = {name: value for name, value in actions.items() if isinstance(value, np.ndarray)}
                assert list(chunk) == ["actions"]  # a broker of chunks slices every array of an answer
                assert np.array_equal(chunk["actions"], EXPECTED)
                assert "infer_ms" in actions["server_timing"]
            connection.send(msgpack.packb({"state": np.ones(3)}, default=openpi_pack))
            assert isinstance(connection.recv(), str)


def test_arrays_of_msgpack_numpy_are_understood() -> None:
    written = {b"nd": True, b"type": "<f8", b"kind": b"", b"shape": (3,), b"data": np.ones(3).tobytes()}
    with listening({"flow": Known()}) as server, connect(f"ws://127.0.0.1:{server.port}") as connection:
        connection.recv()
        connection.send(msgpack.packb({"observation": written, "seed": 3}))
        answer = msgpack.unpackb(connection.recv(), object_hook=openpi_unpack)
        assert np.array_equal(answer["actions"], EXPECTED)


def test_a_socket_that_says_nothing_hinders_nobody() -> None:
    with listening({"flow": Known()}) as server:
        silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(8)]
        for each in silent[:4]:
            each.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        with Client(port=server.port) as client:
            assert np.array_equal(client.act(np.ones(3), seed=3), EXPECTED)
        for each in silent:
            each.close()


class Swinging(Known):
    """Torques for Pendulum-v1, two steps at a time."""

    interface = Interface((3,), "float32", (Part("observation", (3,)),), 2, 1, (1, 1), "newton metres", weight=0.5)

    def open(self) -> Opened:
        opened = super().open()
        inner = opened.programs[1]
        opened.programs[1] = lambda *given: inner(*given)[:, :, :1]
        return opened


def test_the_example_steps_an_environment_at_its_rate() -> None:
    """At 100 steps a second for half a second, with chunks of two."""
    script = Path(__file__).parents[2] / "examples" / "robot_loop.py"
    assert len(script.read_text().splitlines()) < 60
    source = Swinging()
    with listening({"flow": source}) as server:
        command = [sys.executable, "-W", "error", script, "--env", "gymnasium:Pendulum-v1", "--port", str(server.port)]
        found = subprocess.run([*command, "--rate", "100", "--steps", "50"], capture_output=True, text=True, timeout=60)
        assert found.stdout.startswith("50 steps at 100 Hz: "), found.stderr
        assert source.calls == 27  # one to warm up, one to connect, and 25 chunks
        command[command.index("gymnasium:Pendulum-v1")] = "gymnasium:CartPole-v1"
        wrong = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert "takes observations of shape [3], but the environment gives [4]" in wrong.stderr
