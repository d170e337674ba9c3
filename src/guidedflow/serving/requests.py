"""The request of a client, checked once.

    observation       the whole observation as one array, or its pieces under their names
    policy            which of the served policies; by default the first
    weight            weight of guidance, in place of the default
    condition         weight of the condition, in place of the default
    candidates        proposals among which the critic chooses, one of the numbers that the metadata lists
    seed              of the random key, 0 to 2^31 - 1; by default the server draws one and says which
    deadline_ms       milliseconds after which the answer is worth nothing
    reward, terminated, truncated, reset
                      of the step that led here, for the recording of episodes

This module does not know how requests arrive, nor what computes actions.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidedflow.errors import did_you_mean
from guidedflow.packing import PartShapes, is_image, pack
from guidedflow.serving.interface import RESERVED, Interface
from guidedflow.serving.refusals import Refusal

_IGNORED = frozenset({"prompt"})
"""Fields of openpi's clients that mean nothing to policies here."""


@dataclass(frozen=True)
class Outcome:
    """What the last step came to, for a recording."""

    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    reset: bool = False

    @property
    def over(self) -> bool:
        """Whether the episode ended with this observation."""
        return self.terminated or self.truncated


@dataclass(frozen=True, eq=False)
class Request:
    """A checked request to one policy."""

    policy: str
    observation: NDArray[Any]
    weights: Mapping[str, float]
    candidates: int
    seed: int | None
    deadline: float
    """Seconds."""
    outcome: Outcome


def parse(
    message: Mapping[str, Any],
    interfaces: Mapping[str, Interface],
    candidates: Mapping[str, Sequence[int]],
    longest: float,
) -> Request:
    """The request that a message holds, to be answered within `longest` seconds, or sooner if it says so.

    Raises `Refusal` for names, shapes, types and numbers that do not fit.
    """
    policy = _policy(message, interfaces)
    interface = interfaces[policy]
    known = {*RESERVED, *(part.name for part in interface.parts)}
    for name in message:
        if name not in known:
            raise Refusal("unfit", f"there is no field {name[:60]!r}{did_you_mean(name[:60], known)}")
    if "rest" in message:
        raise Refusal("unfit", "rest is for real-time chunking, which the served policies do not have; leave it out")
    weights = {name: _real(message, name, default) for name, default in interface.weights.items()}
    for name in ("weight", "condition"):
        if name in message and name not in weights:
            guided = "is not guided" if name == "weight" else "has no condition"
            raise Refusal("unfit", f"{name} changes nothing, since the policy {policy!r} {guided}; leave it out")
    chosen = _whole(message, "candidates", candidates[policy][0])
    if chosen not in candidates[policy]:
        listed = ", ".join(map(str, candidates[policy]))
        raise Refusal("unfit", f"candidates of the policy {policy!r} may be {listed}, found {chosen}")
    seed = _whole(message, "seed", None)
    if seed is not None and not 0 <= seed < 2**31:
        raise Refusal("unfit", f"seed must be from 0 to 2^31 - 1, found {seed}")
    deadline = min(longest, _real(message, "deadline_ms", 1000 * longest) / 1000)
    return Request(policy, _observation(message, interface), weights, chosen, seed, deadline, _outcome(message))


def _outcome(message: Mapping[str, Any]) -> Outcome:
    flags = (_flag(message, name) for name in ("terminated", "truncated", "reset"))
    return Outcome(_real(message, "reward", 0.0, negative=True), *flags)


def _policy(message: Mapping[str, Any], interfaces: Mapping[str, Interface]) -> str:
    name = message.get("policy", next(iter(interfaces)))
    if not isinstance(name, str) or name not in interfaces:
        told = f"{name[:60]!r}{did_you_mean(name[:60], interfaces)}" if isinstance(name, str) else "of that name"
        raise Refusal("unknown", f"there is no policy {told}; served are {', '.join(interfaces)}")
    return name


def _observation(message: Mapping[str, Any], interface: Interface) -> NDArray[Any]:
    """One observation of the interface's shape and type, whole or put together."""
    if "observation" in message:
        if len(interface.parts) > 1 and any(part.name in message for part in interface.parts):
            raise Refusal("unfit", "give the whole observation or its pieces, not both")
        whole = message["observation"]
        if isinstance(interface.observation_shape, PartShapes):
            if not isinstance(whole, Mapping):
                raise Refusal("unfit", f"observation must be a map of its parts: {interface.observation_shape}")
            return _observation(whole, interface)
        return _array(whole, "observation", interface.observation_shape)
    missing = [part.name for part in interface.parts if part.name not in message]
    if missing:
        raise Refusal("unfit", f"the request lacks {missing[0]!r}, of shape {_shape_of(interface, missing[0])}")
    pieces = {part.name: _array(message[part.name], part.name, part.shape) for part in interface.parts}
    if isinstance(interface.observation_shape, PartShapes):
        return pack({name: piece[None] for name, piece in pieces.items()})[0]
    return np.concatenate(list(pieces.values()))


def _shape_of(interface: Interface, name: str) -> tuple[int, ...]:
    return next(part.shape for part in interface.parts if part.name == name)


def _array(value: Any, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """An array of these numbers, or a plain list of as many."""
    if isinstance(value, list) and len(shape) == 1 and len(value) == shape[0] and all(map(_is_number, value)):
        value = np.asarray(value, np.float64)
    if not isinstance(value, np.ndarray):
        raise Refusal("unfit", f"{name} must be an array of shape {shape}, found a {type(value).__name__}")
    if value.shape != shape:
        raise Refusal("unfit", f"{name} must be of shape {shape}, found {value.shape}")
    if is_image(shape):
        if value.dtype != np.uint8:
            raise Refusal("unfit", f"{name} must be an image in bytes (uint8, 0 to 255), found {value.dtype}")
        return value
    if value.dtype == np.bool_:
        raise Refusal("unfit", f"{name} must be numbers, found truth values")
    with np.errstate(over="ignore"):
        numbers = value.astype(np.float32)
    if not (finite := np.isfinite(numbers)).all():
        place = int(np.argmin(finite))
        raise Refusal("unfit", f"{name} must be finite, but number {place} is {value.ravel()[place]}")
    return numbers


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _real(message: Mapping[str, Any], name: str, default: Any, negative: bool = False) -> Any:
    value = message.get(name)
    if value is None:
        return default
    if not _is_number(value) or not math.isfinite(value) or abs(value) > 1e30 or (value < 0 and not negative):
        raise Refusal("unfit", f"{name} must be a finite number{'' if negative else ' of at least 0'}")
    return float(value)


def _whole(message: Mapping[str, Any], name: str, default: Any) -> Any:
    value = message.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool):
        raise Refusal("unfit", f"{name} must be a whole number, found a {type(value).__name__}")
    return value


def _flag(message: Mapping[str, Any], name: str) -> bool:
    value = message.get(name, False)
    if not isinstance(value, bool):
        raise Refusal("unfit", f"{name} must be true or false, found a {type(value).__name__}")
    return value
