"""Who may connect: decided from the request line and headers, before any message is read.

A page in a browser always sends an `Origin`, and no robot does, so whoever sends one is refused. The token is compared
in constant time. Health checks need no token. This module does not know what is served.
"""

import hmac
from collections.abc import Callable
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from guidedflow.serving.metrics import Metrics

MOST_CONNECTIONS = 256


class Admission:
    """What `websockets` asks for each connection: a response ends it there, None lets it in."""

    def __init__(
        self, token: str | None, metrics: Metrics, ready: Callable[[], bool], limit: int = MOST_CONNECTIONS
    ) -> None:
        self._token = None if token is None else token.encode()
        self._metrics, self._ready, self._limit = metrics, ready, limit

    def __call__(self, connection: ServerConnection, request: Request) -> Response | None:
        path = request.path.partition("?")[0]
        if request.headers.get_all("Origin"):
            return self._refuse(connection, HTTPStatus.FORBIDDEN, "origin", "No page in a browser may drive a robot.")
        if path == "/healthz":
            return connection.respond(HTTPStatus.OK, "OK\n")
        if path == "/readyz":
            ready = self._ready()
            status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
            return connection.respond(status, "OK\n" if ready else "not ready\n")
        if self._token is not None and not self._authorized(request):
            return self._refuse(connection, HTTPStatus.UNAUTHORIZED, "token", "The token is missing or wrong.")
        if path == "/metrics":
            response = connection.respond(HTTPStatus.OK, self._metrics.text())
            del response.headers["Content-Type"]
            response.headers["Content-Type"] = "text/plain; version=0.0.4; charset=utf-8"
            return response
        if len(connection.server.connections) >= self._limit:
            told = f"{self._limit} clients are connected, which is the limit."
            return self._refuse(connection, HTTPStatus.SERVICE_UNAVAILABLE, "connections", told)
        return None

    def _authorized(self, request: Request) -> bool:
        """Whether the one Authorization header is `Api-Key TOKEN`, as openpi's clients send it, or `Bearer TOKEN`."""
        given = request.headers.get_all("Authorization")
        scheme, _, token = (given[0] if len(given) == 1 else "").partition(" ")
        known = scheme.lower() in ("api-key", "bearer")
        assert self._token is not None
        return hmac.compare_digest(token.encode("utf-8", "surrogateescape"), self._token) and known

    def _refuse(self, connection: ServerConnection, status: HTTPStatus, why: str, told: str) -> Response:
        self._metrics.refused.labels(why).inc()
        return connection.respond(status, f"{told}\n")
