"""What a policy takes and gives, in names, shapes and units: for `policy.json` and for the server's first message.

This module does not know how actions are computed, nor how observations arrive.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from guidedflow.errors import InputError
from guidedflow.packing import PartShapes, Shape, dtype_of, is_image
from guidedflow.settings import check_types


@dataclass(frozen=True)
class Part:
    """A named piece of an observation; the pieces of a state stand one after the other."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Interface:
    """Shapes, types and units of one request and its answer."""

    observation_shape: Shape
    observation_dtype: Literal["float32", "uint8", "mixed"]
    parts: tuple[Part, ...]
    """Pieces of the observation; one piece named observation unless others were named, or each part of a mixed one."""
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
    def observation_layout(self) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Shape and type of the array that holds one observation; parts are the fields of a structured type."""
        shape = self.observation_shape
        if isinstance(shape, PartShapes):
            return (), dtype_of(shape)
        return shape, np.dtype(self.observation_dtype)

    @property
    def seen(self) -> list[dict[str, Any]]:
        """The inputs of an exported program that are its observation: one array, or one for each part."""
        if isinstance(self.observation_shape, PartShapes):
            return [_input(name, shape) for name, shape in self.observation_shape.items()]
        return [
            _input("observation", self.observation_shape)
            | {"parts": [{"name": part.name, "shape": list(part.shape)} for part in self.parts]}
        ]

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """Inputs of an exported program, in order; `b` is the batch."""
        told: list[dict[str, Any]] = [
            *self.seen,
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


def _input(name: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """A part of an observation, as an input of a program."""
    units, dtype = ("pixels, 0 to 255", "uint8") if is_image(shape) else ("as in the dataset", "float32")
    return {"name": name, "shape": ["b", *shape], "dtype": dtype, "units": units}


def parts_of(words: tuple[str, ...], shape: Shape) -> tuple[Part, ...]:
    """Pieces from words such as `joints=7`, which must fill the shape of a state; without words one piece.

    Raises `InputError` for pieces of images, for a name that a request uses otherwise, and for other sizes.
    """
    if isinstance(shape, PartShapes):
        if words:
            raise InputError(f"--parts names pieces of a state, but observations have named parts already: {shape}.")
        if taken := sorted(RESERVED & set(shape.names)):
            raise InputError(
                f"The observation has a part {taken[0]!r}, but in a request that name is in use; rename its column."
            )
        return tuple(Part(name, part) for name, part in shape.items())
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
    sizes = [(math.prod(part.shape), is_image(part.shape)) for part in interface.parts]
    return sum(size * np.dtype(np.uint8 if image else np.float64).itemsize for size, image in sizes)
