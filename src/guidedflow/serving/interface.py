"""What a policy takes and gives, in names, shapes and units: for `policy.json` and for the server's first message.

This module does not know how actions are computed, nor how observations arrive.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from guidedflow.errors import InputError
from guidedflow.settings import check_types


@dataclass(frozen=True)
class Part:
    """A named piece of an observation; the pieces of a state stand one after the other."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Interface:
    """Shapes, types and units of one request and its answer."""

    observation_shape: tuple[int, ...]
    observation_dtype: Literal["float32", "uint8"]
    parts: tuple[Part, ...]
    """Pieces of the observation; one piece named observation unless others were named."""
    chunk: int
    """Steps of one answer."""
    action_size: int
    """Numbers of one step."""
    noise_shape: tuple[int, ...]
    """Shape of the standard normal noise that one action is made from: candidates, numbers."""
    units: str
    """Units of an action."""
    weight: float | None = None
    """Default weight of guidance, in action per value (in action where the gradient is normalised); None without."""
    condition: float | None = None
    """Default weight of the condition; None for a policy without one."""

    def __post_init__(self) -> None:
        check_types(self)

    @property
    def candidates(self) -> int:
        """Proposals of one action."""
        return self.noise_shape[0]

    @property
    def weights(self) -> dict[str, float]:
        """Default of each weight that a request may choose, in the order in which programs take them."""
        both = {"weight": self.weight, "condition": self.condition}
        return {name: value for name, value in both.items() if value is not None}

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """Inputs of an exported program, in order; `b` is the batch."""
        dtype = self.observation_dtype
        told: list[dict[str, Any]] = [
            {
                "name": "observation",
                "shape": ["b", *self.observation_shape],
                "dtype": dtype,
                "units": "as in the dataset" if dtype == "float32" else "pixels, 0 to 255",
                "parts": [{"name": part.name, "shape": list(part.shape)} for part in self.parts],
            },
            {
                "name": "noise",
                "shape": ["b", *self.noise_shape],
                "dtype": "float32",
                "units": "independent draws from the standard normal distribution",
            },
        ]
        units = {"weight": "weight of guidance, at least 0", "condition": "weight of the condition, at least 0"}
        for name, default in self.weights.items():
            told.append({"name": name, "shape": ["b"], "dtype": "float32", "units": units[name], "default": default})
        return told

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """The output of an exported program."""
        shape = ["b", self.chunk, self.action_size]
        return [{"name": "actions", "shape": shape, "dtype": "float32", "units": self.units}]


def parts_of(words: tuple[str, ...], shape: tuple[int, ...]) -> tuple[Part, ...]:
    """Pieces from words such as `joints=7`, which must fill the shape of a state; without words one piece.

    Raises `InputError` for pieces of images, for a name that a request uses otherwise, and for other sizes.
    """
    if not words:
        return (Part("observation", shape),)
    if len(shape) != 1:
        raise InputError(f"--parts names pieces of a state, but observations are images of shape {shape}.")
    parts: list[Part] = []
    for word in words:
        name, _, size = word.rpartition("=")
        if not name or not size.isdecimal() or int(size) < 1:
            raise InputError(f"--parts takes NAME=SIZE, for example joints=7, but got {word!r}.")
        if name in RESERVED or name in {part.name for part in parts}:
            raise InputError(f"--parts cannot name a piece {name!r}: that name is in use; choose another.")
        parts.append(Part(name, (int(size),)))
    if (found := sum(part.shape[0] for part in parts)) != shape[0]:
        raise InputError(f"--parts have {found} numbers together, but an observation has {shape[0]}.")
    return tuple(parts)


RESERVED = frozenset(
    {"observation", "policy", "weight", "condition", "candidates", "seed", "deadline_ms", "prompt"}
    | {"reward", "terminated", "truncated", "reset", "rest"}
)
"""Names in a request that are no piece of an observation."""


def observation_bytes(interface: Interface) -> int:
    """Bytes of one observation of float64 numbers, or of an image."""
    return (
        math.prod(interface.observation_shape)
        * np.dtype(np.uint8 if interface.observation_dtype == "uint8" else np.float64).itemsize
    )
