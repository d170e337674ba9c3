"""Messages as bytes: msgpack, with arrays as openpi's clients write them.

An array is a map of `__ndarray__`, `data` (its bytes in C order), `dtype` (such as `<f4`) and `shape`; keys are bytes.
A NumPy number is a map of `__npgeneric__`, `data` and `dtype`. What msgpack-numpy writes (`nd`) is understood too.
Both ends distrust each other: types, sizes, nesting and counts are checked before NumPy sees anything, and nothing is
unpickled. This module does not know what a message means.
"""

import math
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from guidedflow.serving.refusals import Refusal

DTYPES = ("|b1", "|u1", "<i4", "<i8", "<f4", "<f8")
"""Types of numbers that an array may have, as NumPy writes them."""

MOST_AXES = 4
LONGEST_AXIS = 2**20
DEEPEST = 8
"""Maps and lists inside each other."""
MOST_CONTAINERS = 2048
"""Maps and lists in one message; an empty one takes fifty times its byte."""


def pack(message: Mapping[str, Any]) -> bytes:
    """The bytes of a message of numbers, text, bytes, lists, maps and arrays; TypeError for anything else."""
    packed = msgpack.packb(message, default=_plain)
    assert isinstance(packed, bytes)
    return packed


def unpack(data: bytes) -> dict[str, Any]:
    """The message in `data`, its arrays read-only. Raises `Refusal` for what is no map of names, or not as above."""
    counted = _Counted()
    try:
        message = msgpack.unpackb(
            data,
            object_hook=counted.mapping,
            list_hook=counted.listing,
            strict_map_key=False,
            max_ext_len=0,
            max_map_len=256,
            max_array_len=2**16,
        )
    except msgpack.exceptions.StackError:
        raise Refusal("malformed", f"the message is nested more than {DEEPEST} deep") from None
    except (
        ValueError,
        TypeError,
        OverflowError,
        RecursionError,
        MemoryError,
        msgpack.exceptions.UnpackException,
    ) as bad:
        raise Refusal("malformed", f"the message is not whole msgpack: {_words(bad)}") from None
    if not isinstance(message, dict):
        raise Refusal("malformed", f"a message must be a map of names, found {_called(message)}")
    _check(message, 1)
    return message


class _Counted:
    """What msgpack calls for each map and list as soon as it is whole; too many of them are refused at once."""

    def __init__(self) -> None:
        self.containers = 0

    def mapping(self, found: dict[Any, Any]) -> Any:
        self._count()
        for keys, read in ((("__ndarray__", b"__ndarray__"), _array), (("__npgeneric__", b"__npgeneric__"), _number)):
            if any(key in found for key in keys):
                return read({_text(key): value for key, value in found.items()})
        if "nd" in found or b"nd" in found:
            return _other_array({_text(key): value for key, value in found.items()})
        return found

    def listing(self, found: list[Any]) -> list[Any]:
        self._count()
        return found

    def _count(self) -> None:
        self.containers += 1
        if self.containers > MOST_CONTAINERS:
            raise Refusal("malformed", f"the message has more than {MOST_CONTAINERS} maps and lists")


def _array(found: dict[str, Any]) -> NDArray[Any]:
    if set(found) != {"__ndarray__", "data", "dtype", "shape"}:
        raise Refusal("malformed", "an array must have data, dtype and shape, and nothing else")
    return _numbers(found["data"], found["dtype"], found["shape"])


def _other_array(found: dict[str, Any]) -> NDArray[Any]:
    """An array as the package msgpack-numpy writes it; its kind must be empty, which means plain numbers."""
    if set(found) != {"nd", "type", "kind", "shape", "data"} or found["nd"] is not True:
        raise Refusal("malformed", "a map with nd must be an array with type, kind, shape and data")
    if found["kind"] not in (b"", ""):
        raise Refusal("malformed", "an array must have plain numbers, found another kind")
    return _numbers(found["data"], found["type"], found["shape"])


def _numbers(data: Any, dtype: Any, shape: Any) -> NDArray[Any]:
    dtype = _text(dtype)
    if not isinstance(dtype, str) or dtype not in DTYPES:
        told = repr(dtype[:20]) if isinstance(dtype, str) else _called(dtype)
        raise Refusal("malformed", f"an array must be of a type among {', '.join(DTYPES)}, found {told}")
    if not isinstance(shape, list | tuple) or len(shape) > MOST_AXES:
        raise Refusal("malformed", f"the shape of an array must be a list of at most {MOST_AXES} whole numbers")
    if not all(type(size) is int and 0 <= size <= LONGEST_AXIS for size in shape):
        raise Refusal("malformed", f"each size in a shape must be a whole number from 0 to {LONGEST_AXIS}")
    wanted = math.prod(shape) * np.dtype(dtype).itemsize
    if not isinstance(data, bytes) or len(data) != wanted:
        found = f"{len(data)}" if isinstance(data, bytes) else _called(data)
        raise Refusal(
            "malformed", f"an array of shape {tuple(shape)} and type {dtype} has {wanted} bytes, found {found}"
        )
    return np.frombuffer(data, dtype).reshape(shape)


def _number(found: dict[str, Any]) -> Any:
    if set(found) != {"__npgeneric__", "data", "dtype"} or not isinstance(found["data"], bool | int | float):
        raise Refusal("malformed", "a NumPy number must have data, a number, and dtype, and nothing else")
    return found["data"]


def _check(value: Any, depth: int) -> None:
    """Refuse what is nested too deep, and keys that are no text."""
    if isinstance(value, dict | list):
        if depth > DEEPEST:
            raise Refusal("malformed", f"the message is nested more than {DEEPEST} deep")
        for item in value.values() if isinstance(value, dict) else value:
            _check(item, depth + 1)
    if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
        raise Refusal("malformed", "every name in a message must be text")


def _plain(value: Any) -> Any:
    """A NumPy array or number as a map that msgpack can write."""
    if isinstance(value, np.ndarray | np.generic):
        dtype = value.dtype.newbyteorder("<") if value.dtype.byteorder == ">" else value.dtype
        if dtype.str not in DTYPES:
            raise TypeError(f"an array of {value.dtype} cannot be sent; make it one of {', '.join(DTYPES)}")
        if isinstance(value, np.generic):
            return {b"__npgeneric__": True, b"data": value.item(), b"dtype": dtype.str}
        value = value.astype(dtype, copy=False)
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": dtype.str, b"shape": list(value.shape)}
    raise TypeError(f"a {type(value).__name__} cannot be sent; send numbers, text, lists, maps and arrays")


def _text(key: Any) -> Any:
    return key.decode("ascii", "replace") if isinstance(key, bytes) else key


def _called(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _words(error: BaseException) -> str:
    """What msgpack says, in a few words of one line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:100]
