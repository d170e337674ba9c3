"""Observations of several named parts on the host: rows of a structured NumPy array, a field for each part.

A part is an image in bytes, (height, width, channels), or a vector of float32. Fields stand in the order of their
names, so that two sources of the same parts agree. Columns of one unnamed part are ordinary arrays. This module imports
no JAX, because processes of simulators import it.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidedflow.errors import InputError


@dataclass(frozen=True)
class PartShapes:
    """The shape of each part of an observation, in the order of the parts' names; hashable, and equal where alike."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.shapes) or list(self.names) != sorted(set(self.names)):
            raise InputError(f"parts of an observation need different names in order, but have {self.names}")

    @classmethod
    def of(cls, shapes: Mapping[str, tuple[int, ...]]) -> "PartShapes":
        """From the shape of each name, in any order."""
        return cls(tuple(sorted(shapes)), tuple(tuple(shapes[name]) for name in sorted(shapes)))

    def items(self) -> Iterable[tuple[str, tuple[int, ...]]]:
        """Names and shapes."""
        return zip(self.names, self.shapes, strict=True)

    def __str__(self) -> str:
        return ", ".join(f"{name} {shape}" for name, shape in self.items())


Shape = tuple[int, ...] | PartShapes
"""The shape of one observation: of an array, or of each of its parts."""


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether a part of this shape is an image; other parts are vectors."""
    return len(shape) == 3


def dtype_of(shapes: PartShapes) -> np.dtype[Any]:
    """The type of a row of these parts."""
    return np.dtype([(name, np.uint8 if is_image(shape) else np.float32, shape) for name, shape in shapes.items()])


def shape_of(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Shape:
    """The shape of one observation, from the shape and type of its array."""
    fields = dtype.fields
    return shape if fields is None else PartShapes.of({name: told[0].shape for name, told in fields.items()})


def framed(shape: Shape, frames: int) -> Shape:
    """The shape of so many observations stacked along their last axis, of each part."""
    if isinstance(shape, PartShapes):
        return PartShapes(shape.names, tuple((*part[:-1], part[-1] * frames) for part in shape.shapes))
    return (*shape[:-1], shape[-1] * frames)


def type_of(dtype: np.dtype[Any]) -> str:
    """A type in words that `type_from` reads: NumPy's own, or the name, type and shape of each part as JSON."""
    fields = dtype.fields
    if fields is None:
        return dtype.str
    return json.dumps([[name, fields[name][0].base.str, list(fields[name][0].shape)] for name in dtype.names or ()])


def type_from(told: str) -> np.dtype[Any]:
    """The type that `type_of` told. Raises `ValueError` or `TypeError` for anything else."""
    if not told.startswith("["):
        return np.dtype(told)
    return np.dtype([(name, kind, tuple(shape)) for name, kind, shape in json.loads(told)])


def pack(parts: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Columns of equally many rows as one: images in bytes, and vectors, which become float32.

    Raises `InputError` for a part that is neither, for other lengths, and for no part at all.
    """
    rows = len(next(iter(parts.values()), ()))
    for name, column in parts.items():
        image = is_image(column.shape[1:]) and column.dtype == np.uint8
        vector = column.ndim == 2 and column.dtype.kind in "bfi"
        if not (image or vector) or len(column) != rows:
            raise InputError(
                f"the part {name!r} of observations must be numbers, (rows, numbers), or images in bytes, uint8 of "
                f"(rows, height, width, channels), as long as the others, but is {column.dtype}{list(column.shape)}"
            )
    if not parts:
        raise InputError("observations must have at least one part, but have none")
    packed = np.empty(rows, dtype_of(PartShapes.of({name: column.shape[1:] for name, column in parts.items()})))
    with np.errstate(over="ignore"):  # infinity is found where all numbers are checked
        for name, column in parts.items():
            packed[name] = column
    return packed


def unpacked(column: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The parts of a column by name; an ordinary column is one part, whose name is empty."""
    names = column.dtype.names
    return {"": column} if names is None else {name: column[name] for name in names}


def as_matrix(column: NDArray[Any]) -> NDArray[Any]:
    """The rows of a column as vectors that are equal where the rows are: numbers, or the bytes of all parts."""
    rows = len(column)
    if column.dtype.names is not None:
        column = np.ascontiguousarray(column).view(np.uint8)
    return column.reshape(rows, -1)


def finite_rows(column: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows hold finite numbers alone."""
    finite = np.ones(len(column), bool)
    for part in unpacked(column).values():
        if part.dtype.kind == "f":
            finite &= np.isfinite(part).reshape(len(part), -1).all(axis=1)
    return finite


def row_of(parts: Mapping[str, Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """One observation of several parts as a structured number."""
    row = np.zeros((), dtype)
    for name in dtype.names or ():
        row[name] = parts[name]
    return row


def flat(observation: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The parts of nested dictionaries by name, those of inner ones as OUTER/INNER."""
    found: dict[str, Any] = {}
    for name, part in observation.items():
        found |= flat(part, f"{prefix}{name}/") if isinstance(part, Mapping) else {f"{prefix}{name}": part}
    return found
