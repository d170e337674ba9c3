"""Files that are never half-written: replaced whole, or grown by whole lines.

A file is written beside its place, synced and renamed, so that a reader sees the old contents or the new ones, whatever
happens in between. A JSONL file grows by whole rows; the row that a crash tore is not a row. Each row ends with a
running hash of itself and of all that stands before it, so a row that was changed, lost or put elsewhere is found.
This module does not know what is written, nor which files make a run.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from guidedflow.errors import InputError

Row = Mapping[str, Any]

HASH = "hash"
"""The name under which a row carries its running hash; readers of rows never see it."""

_HASHED = re.compile(rb', "hash": "[0-9a-f]{24}"\}')
_TAIL = 2**16


class DamagedFile(InputError):
    """A file that cannot be read, or does not hold what it should."""

    def __init__(self, path: Path, expected: str, found: str) -> None:
        super().__init__(f"{path} must be {expected}, found {found}")
        self.path, self.found = path, found


def write_synced(path: Path, data: bytes) -> None:
    """Write `data` to `path` and wait until the disk holds it; raises OSError and may leave a part of it."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Wait until the disk holds what is in a file, or the names in a folder, new and renamed ones included."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def folders_above(path: Path) -> Iterator[None]:
    """Within it the folders above `path` are there; those that were made for it are removed again where it fails.

    Raises InputError where they cannot be made.
    """
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"the folder {path.parent} cannot be made: {reason(error)}") from error
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):  # of one that was not made, or that others have put something into
                folder.rmdir()
        raise


@contextlib.contextmanager
def replacing(path: Path, *, shared: bool = True, suffix: str = "") -> Iterator[Path]:
    """A place beside `path` where a new file or folder is made, which then takes its name: all of it, or nothing.

    A file is synced here, the files of a folder where they are written. `shared` says that several processes may do so
    at once, and `suffix` ends the place's name, for writers that go by it. Raises InputError where the disk refuses;
    whatever happens, nothing half-written is left.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part{suffix}" if shared else f".{path.name}.part{suffix}")
    try:
        yield part
        sync(part)
        rename(part, path)
    except OSError as error:
        raise InputError(f"{path} could not be written: {reason(error)}; nothing half-written is left") from error
    finally:
        remove_quietly(part)


def rename(part: Path, path: Path) -> None:
    """Give a file or folder its final name, in the place of what is there, and wait until the disk holds the name."""
    os.replace(part, path)
    sync(path.parent)


def replace(path: Path, data: bytes, *, shared: bool = False) -> None:
    """Make `data` the contents of `path`, all of it or none; raises InputError where the disk refuses.

    Say `shared` where several processes may do so at once.
    """
    with replacing(path, shared=shared) as part:
        part.write_bytes(data)


def read_json(path: Path, expected: str = "a JSON object") -> dict[str, Any]:
    """The JSON object in a file. Raises `DamagedFile`, whose cause is an OSError where the disk refuses."""
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise DamagedFile(path, expected, f"a file that cannot be read ({reason(error)})") from error
    except (ValueError, RecursionError) as error:
        raise DamagedFile(path, expected, f"damage ({error})") from error
    if not isinstance(value, dict):
        raise DamagedFile(path, expected, f"a {type(value).__name__}")
    return value


def write_json(path: Path, value: Any, *, shared: bool = False) -> None:
    """Make `value` the contents of `path` as indented JSON, as `replace` does; NaN raises ValueError."""
    replace(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode(), shared=shared)


def append(path: Path, data: bytes) -> None:
    """Add `data`, whole lines, in one write, synced; a line that a crash tore is closed first and swallows nothing."""
    try:
        with open(path, "a+b") as file:
            file.write(b"\n" + data if _is_torn(file) else data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(f"{path} could not be written: {reason(error)}; its earlier rows are unharmed.") from error


def check_appendable(path: Path) -> None:
    """Raises InputError where rows could not be added, before there are any; writes nothing."""
    place = path if path.exists() else path.parent
    if not os.access(place, os.W_OK):
        raise InputError(f"{path} could not be written: {place} is read-only; copy the run to a place of your own.")


def append_rows(path: Path, rows: Iterable[Row]) -> None:
    """Add one line of JSON a row, all in one write, synced; their running hash goes on from what is there.

    Rows of earlier versions, which have no hash, are covered by that of the first row after them.
    """
    with _alone(path):
        before = _end(path)
        append(path, b"".join(_hashed(rows, before)))


def replace_rows(path: Path, rows: Iterable[Row]) -> None:
    """Make `rows` the only rows of `path`, all of them or none."""
    replace(path, b"".join(_hashed(rows)))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file, without the line that a crash tore; a missing file has none.

    A line that is broken or was changed is left out too, and so is a copy of an earlier one. A warning tells how many
    lines are whole and in place, where a line is not.
    """
    rows, before, between, whole, wrong, loose = [], b"", b"", 0, 0, 0
    seen: set[bytes] = set()
    for number, line in enumerate(_lines(path)[:-1], start=1):
        row, after = _parse(line), _after(line)
        if row is None and line:
            warnings.warn(f"{path}: line {number} is not a JSON object and is left out.", stacklevel=2)
        if after is None:
            between += line + b"\n"
            if row is not None and HASH not in row:
                rows.append(row)
                loose += bool(before)
            continue
        body = line[:-_HASH_BYTES]
        sound = line == body + _hash(after, body)
        wrong = wrong or (0 if sound and after == _chained(before, between + body) else number)
        whole = whole if wrong else number
        if row is not None and sound and after not in seen:
            rows.append({name: value for name, value in row.items() if name != HASH})
        seen.add(after)
        before, between = after, b""
    if loose:
        warnings.warn(
            f"{path}: {loose} rows have no running hash where others have one; whether they are whole is unknown.",
            stacklevel=2,
        )
    if wrong:
        warnings.warn(
            f"{path}: the first {whole} lines are whole; line {wrong}, or one that stood before it, was changed, lost "
            "or misplaced.",
            stacklevel=2,
        )
    return rows


def reason(error: OSError | ValueError) -> str:
    """Why the system refused, in its own few words; a name with a zero byte is a ValueError."""
    return getattr(error, "strerror", None) or str(error)


def remove_quietly(path: Path) -> None:
    """Remove a leftover file or folder where the disk lets us; the error that left it behind is the one to tell."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


_HASH_BYTES = len(', "hash": "0123456789abcdef01234567"}')


def _hashed(rows: Iterable[Row], before: tuple[bytes, bytes] = (b"", b"")) -> Iterator[bytes]:
    """The lines of rows, after a running hash and the lines without one that follow it."""
    chained, between = before
    for row in rows:
        body = json.dumps(row, allow_nan=False).encode().removesuffix(b"}")
        chained, between = _chained(chained, between + body), b""
        yield body + _hash(chained, body) + b"\n"


def _chained(before: bytes, body: bytes) -> bytes:
    return hashlib.sha256(before + body).hexdigest()[:16].encode()


def _hash(chained: bytes, body: bytes) -> bytes:
    """How a line ends: with the running hash, and a sum of this line alone, so that no other is needed to trust it."""
    return b', "hash": "' + chained + hashlib.sha256(chained + body).hexdigest()[:8].encode() + b'"}'


def _after(line: bytes) -> bytes | None:
    """The running hash that a line carries, or None."""
    return line[-_HASH_BYTES:][11:27] if _HASHED.fullmatch(line[-_HASH_BYTES:]) else None


def _end(path: Path) -> tuple[bytes, bytes]:
    """The last running hash of a file, and the lines without one that follow it, a torn one as `append` closes it."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _TAIL, 0))
            tail = file.read()
            if not any(map(_after, tail.split(b"\n")[1:])):
                file.seek(0)
                tail = file.read()
    except FileNotFoundError:
        return b"", b""
    except OSError as error:
        raise InputError(f"{path} could not be read: {reason(error)}.") from error
    lines = (tail if tail.endswith(b"\n") or not tail else tail + b"\n").split(b"\n")[:-1]
    last = max((index for index, line in enumerate(lines) if _after(line)), default=-1)
    between = b"".join(line + b"\n" for line in lines[last + 1 :])
    return (_after(lines[last]) or b"" if last >= 0 else b""), between


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Within it no other process adds rows to a file, so that each goes on from the hash of the one before."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise InputError(f"{path} could not be written: {reason(error)}; its earlier rows are unharmed.") from error
    try:
        with contextlib.suppress(OSError):  # of a network file system that cannot lock
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _lines(path: Path) -> list[bytes]:
    """The lines of a file; after the last line break stands what a crash tore, or nothing."""
    try:
        return path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return [b""]
    except OSError as error:
        raise InputError(f"{path} could not be read: {reason(error)}.") from error


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _is_torn(file: IO[bytes]) -> bool:
    if file.seek(0, os.SEEK_END) == 0:
        return False
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) != b"\n")
