"""Actions from a policy server, for robots: NumPy, websockets and msgpack are all that it needs.

    with Client("127.0.0.1", 8000) as client:
        actions = client.act(observation)            # [steps, numbers]

`AsyncClient` has the same methods as coroutines. Both speak the protocol of openpi's servers. The server remembers no
request, so after a broken connection it is sent again, until its time is over. A client that gives a request up drops
the connection, because the late answer would be taken for the next one's. This module imports no JAX.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any

import numpy as np
import websockets
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection as AsyncConnection
from websockets.asyncio.client import connect as connect_async
from websockets.sync.client import ClientConnection, connect

from guidedflow.serving.codec import pack, unpack
from guidedflow.serving.refusals import Refusal

__all__ = ["AsyncClient", "Client", "Refusal"]

_BROKEN = (OSError, EOFError, websockets.ConnectionClosed, websockets.InvalidMessage, TimeoutError)
"""What may pass by trying again."""
_PAUSE = 0.05
"""Seconds before the first new try; twice as many before each next one, up to a second."""


class _Settings:
    """Where the server is, and how long anything may take."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int | None = 8000,
        *,
        token: str | None = None,
        timeout: float = 10.0,
        retry_busy: bool = True,
        max_size: int = 64 * 2**20,
    ) -> None:
        """Settings of a client; nothing is sent yet.

        `host` may be a whole address, such as `wss://robots.example/policy`. `token` is what the server's token file
        holds. `timeout` is in seconds, of one call with all its tries. A request to a busy server is repeated
        after the time that it names, unless `retry_busy` is False.
        """
        bracketed = f"[{host}]" if ":" in host and not host.startswith("ws") else host
        suffix = "" if port is None else f":{port}"
        self.uri = host if host.startswith(("ws://", "wss://")) else f"ws://{bracketed}{suffix}"
        self.timeout, self.retry_busy = timeout, retry_busy
        self.options: dict[str, Any] = {"compression": None, "max_size": max_size, "proxy": None}
        if token is not None:
            self.options["additional_headers"] = {"Authorization": f"Api-Key {token}"}

    def tries(self, timeout: float | None) -> Iterator[tuple[float, float]]:
        """Seconds that are left and the next pause, as often as there is time."""
        end, pause = time.monotonic() + (self.timeout if timeout is None else timeout), _PAUSE
        while (left := end - time.monotonic()) > 0:
            yield left, min(pause, left)
            pause = min(2 * pause, 1.0)

    def again(self, error: BaseException, pause: float, left: float) -> tuple[BaseException, float]:
        """What is said of a failure after which a call is tried again, and the pause before; raises any other."""
        if isinstance(error, Refusal) and error.kind == "busy" and self.retry_busy:
            return error, min(error.retry_after or pause, left)
        if isinstance(error, websockets.InvalidStatus):
            refusal = _unauthorized(error)
            if refusal.kind == "unauthorized":
                raise refusal from None
            return refusal, pause
        if isinstance(error, Refusal) or not isinstance(error, _BROKEN):
            raise error
        return error, pause


def _metadata(frame: str | bytes) -> dict[str, Any]:
    """The server's first message. Raises `Refusal` for anything else."""
    if isinstance(frame, str):
        raise Refusal.of(frame)
    return unpack(frame)


def _answer(frame: str | bytes) -> dict[str, Any]:
    """The server's answer. Raises `Refusal` for a refusal, and for what no server of this protocol says."""
    if isinstance(frame, str):
        raise Refusal.of(frame)
    return unpack(frame)


def _request(observation: Any, fields: Mapping[str, Any]) -> bytes:
    """The bytes of a request: a map of pieces as it is, anything else as the observation."""
    pieces = dict(observation) if isinstance(observation, Mapping) else {"observation": np.asarray(observation)}
    return pack(pieces | {name: value for name, value in fields.items() if value is not None})


def _actions(answer: Mapping[str, Any]) -> NDArray[Any]:
    actions = answer.get("actions")
    if not isinstance(actions, np.ndarray) or not np.isfinite(actions).all():
        raise Refusal("failed", "the server's answer has no finite actions")
    return actions


def _unauthorized(error: websockets.InvalidStatus) -> Refusal:
    """What a server says that does not let the client in."""
    status = error.response.status_code
    told = (error.response.body or b"").decode(errors="replace").strip()
    return Refusal("unauthorized" if status in (401, 403) else "busy", told or f"the server answered {status}")


class Client:
    """A connection to a policy server, made at the first call and made again when it breaks; for one thread."""

    def __init__(self, host: str = "127.0.0.1", port: int | None = 8000, **settings: Any) -> None:
        self._settings = _Settings(host, port, **settings)
        self._connection: ClientConnection | None = None
        self._metadata: dict[str, Any] = {}

    def metadata(self, timeout: float | None = None) -> dict[str, Any]:
        """What the server says of itself and of its policies. Raises `TimeoutError` where none answers."""
        self._with_tries(lambda connection, left: None, timeout)
        return self._metadata

    def act(self, observation: Any, *, timeout: float | None = None, **fields: Any) -> NDArray[Any]:
        """Actions [steps, numbers] at an observation, or at a map of its pieces; `fields` as in `infer`."""
        return _actions(self.infer(observation, timeout=timeout, **fields))

    def infer(self, observation: Any, *, timeout: float | None = None, **fields: Any) -> dict[str, Any]:
        """The whole answer: `actions`, and from this server also policy, version, seed and times.

        `fields` are policy, weight, condition, candidates, seed, deadline_ms, reward and reset. Raises `Refusal` where
        the server refuses, and `TimeoutError` where it does not answer.
        """
        return self._ask(_request(observation, fields), timeout)

    def end(self, observation: Any, *, reward: float = 0.0, terminated: bool = False) -> None:
        """Tell the server the last observation of an episode, which it may record; else it was cut off."""
        self._ask(
            _request(observation, {"reward": reward, "terminated": terminated, "truncated": not terminated}), None
        )

    def close(self) -> None:
        """Leave; the next call connects again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*_BROKEN):
                connection.close()

    def _ask(self, request: bytes, timeout: float | None) -> dict[str, Any]:
        def ask(connection: ClientConnection, left: float) -> dict[str, Any]:
            connection.send(request)
            return _answer(connection.recv(timeout=left))

        return self._with_tries(ask, timeout)

    def _with_tries(self, call: Callable[[ClientConnection, float], Any], timeout: float | None) -> Any:
        last: BaseException | None = None
        for left, pause in self._settings.tries(timeout):
            try:
                return call(self._connected(left), left)
            except BaseException as error:
                if not isinstance(error, Refusal):
                    self._drop()
                last, pause = self._settings.again(error, pause, left)
            time.sleep(pause)
        raise TimeoutError(f"{self._settings.uri} gave no answer in time ({last or 'no time was left'})")

    def _connected(self, left: float) -> ClientConnection:
        if self._connection is None:
            opening = connect(self._settings.uri, open_timeout=left, close_timeout=1, **self._settings.options)
            connection = opening.__enter__()  # the only way in since websockets 17; closing it is the way out
            try:
                self._metadata = _metadata(connection.recv(timeout=left))
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _drop(self) -> None:
        """Forget a connection whose next message would answer an earlier request."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*_BROKEN):
                connection.close_socket()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient:
    """As `Client`, with coroutines; one call at a time, the others wait."""

    def __init__(self, host: str = "127.0.0.1", port: int | None = 8000, **settings: Any) -> None:
        self._settings = _Settings(host, port, **settings)
        self._connection: AsyncConnection | None = None
        self._metadata: dict[str, Any] = {}
        self._turn = asyncio.Lock()

    async def metadata(self, timeout: float | None = None) -> dict[str, Any]:
        """What the server says of itself and of its policies. Raises `TimeoutError` where none answers."""
        await self._ask(None, timeout)
        return self._metadata

    async def act(self, observation: Any, *, timeout: float | None = None, **fields: Any) -> NDArray[Any]:
        """Actions [steps, numbers] at an observation, or at a map of its pieces; `fields` as in `infer`."""
        return _actions(await self.infer(observation, timeout=timeout, **fields))

    async def infer(self, observation: Any, *, timeout: float | None = None, **fields: Any) -> dict[str, Any]:
        """The whole answer, as `Client.infer` returns it."""
        return await self._ask(_request(observation, fields), timeout)

    async def end(self, observation: Any, *, reward: float = 0.0, terminated: bool = False) -> None:
        """Tell the server the last observation of an episode, which it may record; else it was cut off."""
        fields = {"reward": reward, "terminated": terminated, "truncated": not terminated}
        await self._ask(_request(observation, fields), None)

    async def close(self) -> None:
        """Leave; the next call connects again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*_BROKEN):
                await connection.close()

    async def _ask(self, request: bytes | None, timeout: float | None) -> dict[str, Any]:
        """The answer to a request, or an empty one as soon as there is a connection."""
        last: BaseException | None = None
        async with self._turn:
            for left, pause in self._settings.tries(timeout):
                try:
                    async with asyncio.timeout(left):
                        connection = await self._connected(left)
                        if request is None:
                            return {}
                        await connection.send(request)
                        return _answer(await connection.recv())
                except BaseException as error:
                    if not isinstance(error, Refusal):
                        self._drop()
                    last, pause = self._settings.again(error, pause, left)
                await asyncio.sleep(pause)
        raise TimeoutError(f"{self._settings.uri} gave no answer in time ({last or 'no time was left'})")

    async def _connected(self, left: float) -> AsyncConnection:
        if self._connection is None:
            connection = await connect_async(
                self._settings.uri, open_timeout=left, close_timeout=1, **self._settings.options
            )
            try:
                self._metadata = _metadata(await connection.recv())
            except BaseException:
                connection.transport.abort()
                raise
            self._connection = connection
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.transport.abort()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
