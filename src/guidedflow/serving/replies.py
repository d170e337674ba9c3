"""What a server says: its metadata, an answer, the end of an episode, and the line of its log.

This module does not know how messages are sent.
"""

import json
import time
from collections.abc import Mapping
from typing import Any

from guidedflow.serving.dispatch import Answer
from guidedflow.serving.requests import Request
from guidedflow.serving.sources import Opened

PROTOCOL = 1


def metadata(policies: Mapping[str, Opened], deadline: float) -> dict[str, Any]:
    """The first message to a client; the first policy is the default."""
    return {
        "server": "guidedflow",
        "protocol": PROTOCOL,
        "policies": {name: _described(opened) for name, opened in policies.items()},
        "default_policy": next(iter(policies)),
        "deadline_ms": 1000 * deadline,
    }


def _described(opened: Opened) -> dict[str, Any]:
    """A policy in the metadata."""
    interface = opened.interface
    return {
        **opened.facts,
        "version": opened.version,
        "observation": interface.inputs[0],
        "actions": {"shape": [interface.chunk, interface.action_size], "dtype": "float32", "units": interface.units},
        "chunk": interface.chunk,
        "weights": interface.weights,
        "candidates": list(opened.programs),
        "realtime": bool(opened.bound),
    }


def answered(request: Request, answer: Answer) -> dict[str, Any]:
    """The message with the actions that a request gets."""
    return {
        "actions": answer.actions,
        "policy": request.policy,
        "version": answer.version,
        "seed": answer.seed,
        "server_timing": {"infer_ms": 1000 * answer.took, "queue_ms": 1000 * answer.waited},
    }


def ended(request: Request) -> dict[str, Any]:
    """The message about the observation that ends an episode, at which nothing is done."""
    return {"policy": request.policy, "episode": "ended"}


def line(client: int, step: int, policy: str, outcome: str, took: float, answer: Answer | None) -> str:
    """A line of JSON about a request, without what was observed; `took` is in seconds."""
    told: dict[str, Any] = {"time": round(time.time(), 3), "client": client, "request": step}
    told |= {"policy": policy, "outcome": outcome, "ms": round(1000 * took, 2)}
    if answer is not None:
        told |= {"version": answer.version, "seed": answer.seed, "infer_ms": round(1000 * answer.took, 2)}
    return json.dumps(told)
