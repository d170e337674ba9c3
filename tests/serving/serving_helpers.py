"""Servers in a thread of their own, of a policy with known answers."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidedflow.serving.interface import Interface, Part
from guidedflow.serving.server import Server
from guidedflow.serving.sources import Opened, Source

SIZE = 3


def known(observations: NDArray[Any], seeds: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.float32]:
    """Actions that a test can compute: [rows, 2, 2] from observation, seed and weight."""
    first = observations[:, 0] * 2 + seeds % 97
    second = observations[:, 1] - observations[:, 2] * weights[:, 0]
    return np.stack([np.stack([first, second], 1), np.stack([second, first], 1)], 1).astype(np.float32)


class Known(Source):
    """A policy of three numbers whose actions are `known`, after `seconds`; its version may be changed."""

    interface = Interface((SIZE,), "float32", (Part("observation", (SIZE,)),), 2, 2, (1, 2), "none", weight=0.5)

    def __init__(self, seconds: float = 0.0, parts: tuple[Part, ...] = ()) -> None:
        self.seconds, self.now, self.calls = seconds, "1", 0
        self.fail = False
        self.hold = threading.Event()
        self.hold.set()
        if parts:
            self.interface = Interface((SIZE,), "float32", parts, 2, 2, (1, 2), "none", weight=0.5)

    def version(self) -> str | None:
        return self.now

    def open(self) -> Opened:
        version = self.now

        def program(observations: NDArray[Any], seeds: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.float32]:
            self.calls += 1
            if weights[0, 0] != 0.5 or observations.any():  # not while it is warmed up
                self.hold.wait(self.seconds or 30)
            if self.fail:
                raise RuntimeError("the wires are hot")
            return known(observations, seeds, weights) + np.float32(version == "2") * 1000

        return Opened(self.interface, version, {1: program}, {"task": "none", "sampler": "known"})


@contextmanager
def listening(sources: Mapping[str, Source], **settings: Any) -> Iterator[Server]:
    """A server in a thread, on a free port, until the end of the context."""
    server = Server(sources, port=0, **settings)
    loop, stop, failed = asyncio.new_event_loop(), asyncio.Event(), []

    def work() -> None:
        try:
            loop.run_until_complete(server.serve(stop))
        except BaseException as error:
            failed.append(error)
        finally:
            loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    server.stop = lambda: loop.call_soon_threadsafe(stop.set)  # type: ignore[attr-defined]
    try:
        waited(lambda: server.ready or bool(failed))
        assert not failed, failed
        yield server
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        assert not thread.is_alive()
    assert not failed, failed


def waited(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until a condition holds."""
    pause = threading.Event()
    for _ in range(int(seconds * 100)):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it never came to be")
