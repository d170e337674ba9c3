"""Named columns of numbers in a file, whatever its format.

Nothing is unpickled, and whatever cannot be read is an `InputError` that names the file and the column. This module
does not know which formats there are, nor what a column means.
"""

import tokenize
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from guidedflow.data.formats.pictures import resized
from guidedflow.errors import InputError, did_you_mean

_NUMBERS = "bfiu"
DAMAGE = (
    *(KeyError, ValueError, TypeError, EOFError, OSError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error),
    *(SyntaxError, tokenize.TokenError),  # of a header, which NumPy reads as a literal of Python's
)
"""What reading a damaged file may raise."""

Fault = Literal[
    "missing",
    "pickled",
    "text",
    "complex",
    "record",
    "ragged",
    "checksum",
    "filter",
    "oversized",
    "damaged",
    "misshapen",
    "frames",
]
"""Why a column cannot be read, or cannot be what it should be."""


class ColumnError(InputError):
    """What is wrong with one column of a file."""

    def __init__(self, path: Path, column: str, expected: str, found: str, fault: Fault = "misshapen") -> None:
        super().__init__(f"{path}: {column!r} must {expected}, found {found}")
        self.path, self.column, self.expected, self.found, self.fault = path, column, expected, found, fault


class Oversized(ValueError):
    """A column whose header says more than its file holds."""


class Ragged(ValueError):
    """A column whose rows are of different lengths."""


class Pickled(ValueError):
    """A column of pickled objects."""


class WrongChecksum(OSError):
    """A column whose bytes are not those that its checksum was made of."""


class MissingFilter(OSError):
    """A column that is compressed in a way that needs another package."""


_FAULTS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], Fault], ...] = (
    (Oversized, "oversized"),
    (Ragged, "ragged"),
    (Pickled, "pickled"),
    (MissingFilter, "filter"),
    ((WrongChecksum, zlib.error), "checksum"),
    (Exception, "damaged"),
)
"""The first that an error is."""

_KINDS: dict[str, Fault] = {"U": "text", "S": "text", "O": "text", "T": "text", "c": "complex"}
"""NumPy's letters for what is no number."""


@dataclass(frozen=True)
class LeftOut:
    """A name in a file that is no column: of which kind, and in words."""

    kind: Literal[
        "external-link", "broken-link", "recursive-group", "virtual-column", "external-storage", "foreign-member"
    ]
    words: str


Opened = TypeVar("Opened", bound="Arrays")


class Arrays(ABC):
    """An open file of named columns; use it in a `with`."""

    format: str
    left_out: Mapping[str, LeftOut] = {}
    """Names that are no columns, and what they are."""
    usual: Mapping[str, str] = {}
    """What the layout itself says of columns, by role."""
    image_size: tuple[int, int] | None = None
    """Height and width that images get when they are read; None for those that they have."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept: dict[str, NDArray[Any]] | None = None

    @property
    @abstractmethod
    def names(self) -> list[str]:
        """The columns, nested ones as `group/name`."""

    @abstractmethod
    def _read(self, name: str) -> NDArray[Any]:
        """A column that is there."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""

    def keep(self) -> None:
        """Keep what is read from now on, to be given again without reading, until the file is closed."""
        self._kept = {}

    def read(self, name: str) -> NDArray[Any]:
        """A column of numbers. Raises `InputError` where it is missing, damaged, or something else than numbers."""
        column = self._any(name)
        if column.dtype.kind not in _NUMBERS:
            raise self.complaint(name, "be numbers", f"{column.dtype}", _KINDS.get(column.dtype.kind, "record"))
        return column

    def labels(self, name: str) -> NDArray[Any]:
        """A column that tells things apart, as numbers: its own, or one for each word."""
        column = self._any(name)
        if column.dtype.kind in _NUMBERS:
            return column
        if _KINDS.get(column.dtype.kind) != "text" or column.ndim != 1:
            raise self.complaint(name, "be numbers or words", f"{column.dtype}", "record")
        words = [word.decode(errors="replace") if isinstance(word, bytes) else str(word) for word in column]
        return np.unique(np.array(words), return_inverse=True)[1]

    def glimpse(self, name: str) -> tuple[tuple[int, ...], NDArray[Any]]:
        """Shape of a column and some of its first values; raises `InputError` where these cannot be read."""
        column = self.peek(name)
        return column.shape, column

    def pieces(self, names: Sequence[str]) -> "Iterator[Arrays] | None":
        """Whole episodes one after the other, where these columns may exceed memory; None where they are read whole."""
        return None

    def peek(self, name: str) -> NDArray[Any]:
        """A column to be looked at, whatever it holds. Raises `InputError` where it cannot be read."""
        return self._any(name)

    def _any(self, name: str) -> NDArray[Any]:
        """A column of whatever type. Raises `InputError` where it is missing or damaged."""
        if self._kept is not None and name in self._kept:
            return self._kept[name]
        names = self.names
        if name not in names:
            shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
            if name in self.left_out:
                found = f"{self.left_out[name].words}, which is not read"
                raise self.complaint(name, "be there, in the file itself", found, "missing")
            raise self.complaint(name, f"be there{did_you_mean(name, names)}", f"only {shown or 'nothing'}", "missing")
        try:
            column = self._read(name)
        except DAMAGE as error:
            fault = next(fault for kind, fault in _FAULTS if isinstance(error, kind))
            told = words(error) if fault == "filter" else f"damage ({words(error)}); get the file again"
            raise self.complaint(name, "be a readable array", told, fault) from error
        if self.image_size is not None and column.ndim == 4 and column.dtype == np.uint8:
            column = resized(column, self.image_size)
        if self._kept is not None:
            self._kept[name] = column
        return column

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def complaint(self, name: str, expected: str, found: str, fault: Fault = "misshapen") -> ColumnError:
        """The sentence about a column."""
        return ColumnError(self.path, name, expected, found, fault)

    def __enter__(self: Opened) -> Opened:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def words(error: BaseException) -> str:
    """What a library says about damage, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def needing(package: str, path: Path | str, extra: str) -> Iterator[None]:
    """Within it, a package that is not installed is an `InputError` that names the extra to install."""
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"{path} needs {package} to be read ({error}): install it by pip install 'guidedflow[{extra}]'"
        ) from error
