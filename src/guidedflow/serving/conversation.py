"""One client's connection: its next message, and its wait for an answer.

This module does not know what a message means.
"""

import asyncio
import hashlib
from typing import Any

from websockets.asyncio.server import ServerConnection

from guidedflow.serving.dispatch import Answer
from guidedflow.serving.recorder import Session
from guidedflow.serving.refusals import Refusal
from guidedflow.serving.requests import Request

LINGER = 0.05
"""Seconds in which a request that was sent before the server was to stop may still arrive."""


class Conversation:
    """A connection, and where it is in its requests."""

    def __init__(
        self,
        connection: ServerConnection,
        closed: asyncio.Future[Any],
        stop: asyncio.Future[Any],
        number: int,
        session: Session | None,
    ) -> None:
        self.connection, self.number, self.session = connection, number, session
        self._closed, self._stop = closed, stop
        self.step = 0
        self._lingered = False

    def seed(self, root: int, request: Request) -> int:
        """The seed of the request, or one drawn for this server, connection and request."""
        if request.seed is not None:
            return request.seed
        digest = hashlib.blake2b(f"{root}.{self.number}.{self.step}".encode(), digest_size=4).digest()
        return int.from_bytes(digest, "little") >> 1

    async def next(self) -> str | bytes | None:
        """The next message; None when the server is to stop and none is on its way."""
        receiving = asyncio.ensure_future(self.connection.recv())
        try:
            await asyncio.wait({receiving, self._stop}, return_when=asyncio.FIRST_COMPLETED)
            if not receiving.done() and not self._lingered:
                self._lingered = True
                await asyncio.wait({receiving}, timeout=LINGER)
            if receiving.done():
                self.step += 1
                return await receiving
            return None
        finally:
            receiving.cancel()

    async def answer(self, future: asyncio.Future[Answer], request: Request) -> Answer | None:
        """What comes of a queued request; None when the client leaves first. Raises `Refusal` when it is late."""
        try:
            await asyncio.wait({future, self._closed}, timeout=request.deadline, return_when=asyncio.FIRST_COMPLETED)
            if future.done():
                return future.result()
            if self._closed.done():
                return None
            raise Refusal("late", f"no actions within {1000 * request.deadline:g} ms, the deadline of the request")
        finally:
            future.cancel()
