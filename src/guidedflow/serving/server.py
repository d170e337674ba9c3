"""`guidedflow serve`: policies behind a websocket, in the protocol that openpi's clients speak.

The server sends its metadata first. Then a client sends one observation a message and gets one message back: actions,
or a refusal as text. Requests of all clients wait in one bounded queue; see `dispatch`. This module does not know how
actions are computed.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import websockets
from websockets.asyncio.server import Server as WebsocketServer
from websockets.asyncio.server import ServerConnection, serve

from guidedflow.errors import InputError
from guidedflow.files import reason
from guidedflow.serving import replies
from guidedflow.serving.admission import Admission
from guidedflow.serving.codec import pack, unpack
from guidedflow.serving.conversation import Conversation
from guidedflow.serving.dispatch import Dispatcher
from guidedflow.serving.interface import observation_bytes
from guidedflow.serving.metrics import Metrics
from guidedflow.serving.recorder import Recorder
from guidedflow.serving.refusals import Refusal
from guidedflow.serving.reloading import watch
from guidedflow.serving.requests import Request, parse
from guidedflow.serving.sources import Source

_LOG = logging.getLogger(__name__)

LOCAL = ("127.0.0.1", "::1", "localhost")
SLOWEST_SEND = 10.0
"""Seconds that a client may take to read an answer."""


@dataclass(frozen=True)
class Limits:
    """How much a server takes on."""

    queue: int = 64
    """Requests that may wait."""
    batch: int = 1
    """Requests in one call, a power of two."""
    deadline: float = 10.0
    """Seconds after which a request is refused, unless it says less."""
    drain: float = 5.0
    """Seconds after SIGTERM in which pending requests are answered."""
    reload: float = 2.0
    """Seconds between looks at the disk for something newer; 0 never looks."""
    connections: int = 256
    """Clients at once."""


class Server:
    """Policies by name on one port; the first is the default."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        token: str | None = None,
        limits: Limits = Limits(),
        seed: int = 0,
        record: Path | None = None,
        log_requests: bool = False,
    ) -> None:
        """Open every source. Raises `InputError` for one that cannot be used, and for a public host without a token."""
        if host not in LOCAL and token is None:
            raise InputError(
                f"--host {host} lets other machines in, so it needs --token-file FILE; leave it out to serve this "
                "machine alone."
            )
        if record is not None and len(sources) > 1:
            raise InputError("--record takes the episodes of one policy; serve one of them in this process.")
        self.sources = dict(sources)
        self._policies = {name: source.open() for name, source in self.sources.items()}
        self._host, self._port, self._limits, self._seed = host, port, limits, seed
        self._metrics = Metrics()
        self._recorder = None if record is None else Recorder(record)
        self._log_requests = log_requests
        self._admission = Admission(token, self._metrics, lambda: self.ready, limits.connections)
        self._connected = 0
        self.ready = False
        self.port: int | None = None
        """The port in use, once the server listens."""

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        asyncio.run(self.serve())

    async def serve(self, stop: asyncio.Event | None = None) -> None:
        """Serve until `stop` is set, by default by SIGTERM or SIGINT; then answer pending requests and return.

        Raises `InputError` for a port that is in use.
        """
        self._stop = stop or _on_signals()
        self._dispatcher = Dispatcher(self._policies, self._metrics, self._limits.queue, self._limits.batch)
        listening = await self._listen()
        self.port = next(iter(listening.sockets)).getsockname()[1]
        working = asyncio.create_task(self._work())
        try:
            stopped = asyncio.create_task(self._stop.wait())
            await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if working.done():  # which it never is unless it failed
                await working
        finally:
            self.ready = False
            self._stop.set()
            await self._drain(listening)
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            self._dispatcher.close()
            if self._recorder is not None:
                self._recorder.close()

    @property
    def stuck(self) -> bool:
        """Whether a call of a policy still goes on."""
        return not self._dispatcher.idle

    async def _work(self) -> None:
        """Compile every program, then answer requests and look for newer versions."""
        for opened in self._policies.values():
            await self._dispatcher.warm(opened)
        self.ready = True
        _LOG.info("serving %s on %s:%s", ", ".join(self.sources), self._host, self.port)
        changes = watch(self.sources, self._policies, self._dispatcher, self._metrics, self._limits.reload)
        await asyncio.gather(self._dispatcher.run(), changes)

    async def _listen(self) -> WebsocketServer:
        """Open the port."""
        largest = 4 * max(observation_bytes(opened.interface) for opened in self._policies.values()) + 2**16
        try:
            return await serve(
                self._handle,
                self._host,
                self._port,
                process_request=self._admission,
                compression=None,
                max_size=largest,
                max_queue=2,
                ping_timeout=60,
                close_timeout=2,
                server_header=None,
                logger=logging.getLogger(f"{__name__}.websockets"),
            )
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else reason(error)
            raise InputError(
                f"Port {self._port} of {self._host} cannot be used: {why}; choose another --port."
            ) from None

    async def _drain(self, listening: WebsocketServer) -> None:
        """Take no new connection, let every handler answer what it has read, and end those that are left."""
        listening.close(close_connections=False)
        try:
            await asyncio.wait_for(asyncio.shield(listening.wait_closed()), self._limits.drain)
        except TimeoutError:
            _LOG.warning("some requests were not answered within %g s and are lost", self._limits.drain)
            for connection in listening.connections:
                connection.transport.abort()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(listening.wait_closed(), 1)

    @property
    def metadata(self) -> dict[str, Any]:
        """The first message to a client."""
        return replies.metadata(self._policies, self._limits.deadline)

    async def _handle(self, connection: ServerConnection) -> None:
        """One client, from its metadata to its end."""
        self._connected += 1
        self._metrics.connections.inc()
        session = None if self._recorder is None else self._recorder.session()
        closed = asyncio.ensure_future(connection.wait_closed())
        stop = asyncio.ensure_future(self._stop.wait())
        client = Conversation(connection, closed, stop, self._connected, session)
        try:
            await connection.send(pack(self.metadata))
            while (message := await client.next()) is not None:
                frame = await self._frame(client, message)
                if frame is None:
                    break
                await asyncio.wait_for(connection.send(frame), SLOWEST_SEND)
            await connection.close(1001, "the server is going down")
        except TimeoutError:
            connection.transport.abort()
        except websockets.ConnectionClosed:
            pass
        finally:
            closed.cancel()
            stop.cancel()
            self._metrics.connections.dec()
            if session is not None:
                session.close()

    async def _frame(self, client: Conversation, message: str | bytes) -> str | bytes | None:
        """The answer to a message, or a refusal; None where the client has left."""
        begun, request, outcome = time.monotonic(), None, "ok"
        answer = None
        try:
            if isinstance(message, str):
                raise Refusal("malformed", "a request must be a binary message of msgpack, found text")
            request = self._parsed(unpack(message))
            if request.outcome.over:
                return self._ended(client, request)
            answer = await client.answer(self._dispatcher.submit(request, client.seed(self._seed, request)), request)
            if answer is None:
                outcome = "left"
                return None
            if client.session is not None:
                client.session.add(request.observation, answer.actions, answer.seed, request.outcome)
            return pack(replies.answered(request, answer))
        except Refusal as refusal:
            outcome = refusal.kind
            return refusal.frame()
        except Exception:  # a defect here: its words are for the log alone
            _LOG.exception("a request failed")
            outcome = "failed"
            return Refusal("failed", "the server failed at this request; its log says why").frame()
        finally:
            name = "-" if request is None else request.policy
            took = time.monotonic() - begun
            self._metrics.requests.labels(name, outcome).inc()
            self._metrics.latency.labels(name).observe(took)
            if self._log_requests:
                line = replies.line(client.number, client.step, name, outcome, took, answer)
                print(line, file=sys.stderr, flush=True)

    def _parsed(self, message: Mapping[str, Any]) -> Request:
        interfaces = {name: opened.interface for name, opened in self._policies.items()}
        candidates = {name: tuple(opened.programs) for name, opened in self._policies.items()}
        realtime = {name for name, opened in self._policies.items() if opened.bound}
        return parse(message, interfaces, candidates, self._limits.deadline, realtime)

    def _ended(self, client: Conversation, request: Request) -> bytes:
        """The answer to the observation that ends an episode, at which nothing is done."""
        if client.session is not None:
            client.session.end(request.observation, request.outcome)
        return pack(replies.ended(request))


def _on_signals() -> asyncio.Event:
    """An event that SIGTERM or SIGINT sets."""
    event, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, event.set)
    return event
