"""What a server answers in place of actions, and what its client raises.

A refusal travels as one text frame of JSON: error (its kind), status, message and, where it helps, retry_after. Clients
of openpi raise the text as it is. This module does not know how a frame is sent.
"""

import json
from types import MappingProxyType

STATUS = MappingProxyType(
    {
        "malformed": 400,
        "unauthorized": 401,
        "unknown": 404,
        "too-large": 413,
        "unfit": 422,
        "failed": 500,
        "busy": 503,
        "draining": 503,
        "late": 504,
    }
)
"""Kinds of refusals, and the HTTP status that means the nearest."""


class Refusal(Exception):
    """A request that got no actions: its `kind`, one of `STATUS`, a sentence, and seconds after which to try again."""

    def __init__(self, kind: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.kind, self.message, self.retry_after = kind, message, retry_after

    @property
    def status(self) -> int:
        """The HTTP status that means the nearest."""
        return STATUS[self.kind]

    def frame(self) -> str:
        """The text frame that says so."""
        told = {"error": self.kind, "status": self.status, "message": self.message}
        return json.dumps(told if self.retry_after is None else told | {"retry_after": round(self.retry_after, 3)})

    @classmethod
    def of(cls, frame: str) -> "Refusal":
        """From a text frame; any other text, such as a traceback of another server, is of the kind `failed`."""
        try:
            told = json.loads(frame)
            kind, message, after = told["error"], str(told["message"]), told.get("retry_after")
        except (ValueError, TypeError, KeyError, RecursionError):
            return cls("failed", frame)
        if kind not in STATUS or not isinstance(after, int | float | None) or isinstance(after, bool):
            return cls("failed", frame)
        return cls(kind, message, after)
