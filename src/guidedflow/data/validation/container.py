"""The file before its columns: whether it is there, whole, and of a format whose reading runs no code.

Nothing is opened that could block, such as a pipe, and no link is followed in a circle. This module does not know what
a column means.
"""

import errno
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from guidedflow.data.formats.arrays import Arrays
from guidedflow.data.formats.npz import NpzArrays
from guidedflow.data.formats.opening import open_arrays
from guidedflow.data.formats.tables import TEXT
from guidedflow.data.validation.problem import Problems
from guidedflow.errors import InputError
from guidedflow.files import DamagedFile, reason

_BEGINNINGS = {
    b"\x80\x02": ("pickle", "a pickle"),
    b"\x80\x03": ("pickle", "a pickle"),
    b"\x80\x04": ("pickle", "a pickle"),
    b"\x80\x05": ("pickle", "a pickle"),
    b"\x93NUMPY": ("single-array", "a single array (.npy)"),
    b"\x1f\x8b": ("compressed", "a gzip archive"),
    b"BZh": ("compressed", "a bzip2 archive"),
    b"\xfd7zXZ": ("compressed", "an xz archive"),
    b"(\xb5/\xfd": ("compressed", "a zstd archive"),
    b"version https://git-lfs": ("pointer", "a pointer of Git LFS"),
}
"""What files that are no data begin with."""

_DATA = (b"PK", b"\x89HDF\r\n\x1a\n", b"PAR1")


def look(path: Path, problems: Problems) -> bool:
    """Whether there is something at a path that can be opened: a folder, or a file with data's first bytes."""
    try:
        found = path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            problems.add("link-loop", path, found="links that lead back to themselves")
        elif path.is_symlink():
            problems.add("dangling-link", path, found=f"a link to {os.readlink(path)}, which is not there")
        elif error.errno in (errno.ENOENT, errno.ENOTDIR):
            problems.add("missing", path, found="nothing")
        else:
            problems.add("unreadable", path, found=reason(error))
        return False
    if stat.S_ISDIR(found.st_mode):
        return True
    if not stat.S_ISREG(found.st_mode):
        problems.add("special-file", path, found="a pipe, socket or device")
        return False
    if found.st_size == 0:
        problems.add("empty-file", path, found="0 bytes")
        return False
    return _begins(path, problems)


def _begins(path: Path, problems: Problems) -> bool:
    """Whether the first bytes are those of data."""
    try:
        with path.open("rb") as file:
            first = file.read(512)
    except OSError as error:
        problems.add("unreadable", path, found=reason(error))
        return False
    if first.startswith(_DATA):
        return True
    for beginning, (kind, found) in _BEGINNINGS.items():
        if first.startswith(beginning):
            problems.add(kind, path, found=found)
            return False
    if first.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        problems.add("web-page", path, found="a page")
    elif first[257:262] == b"ustar":
        problems.add("compressed", path, found="a tar archive")
    elif _is_text(first) and path.suffix in TEXT:
        return True
    elif _is_text(first):
        line = first.split(b"\n")[0][:60].decode(errors="replace").strip()
        problems.add("text", path, found=f"text that begins with {line!r}")
    else:
        problems.add("unknown-format", path, found=f"a file that begins with {first[:8]!r}")
    return False


@contextmanager
def opened(path: Path, problems: Problems, reader: Callable[[Path], Arrays] = open_arrays) -> Iterator[Arrays | None]:
    """The columns of a file that `look` has seen, or None where it is damaged; what is odd about it is told."""
    try:
        file = reader(path)
    except DamagedFile as error:  # a package that is missing is no fault of the file
        problems.add("cut-off", path, found=error.found)
        yield None
        return
    except InputError as error:
        if isinstance(error.__cause__, ImportError):
            raise
        problems.add("refused", path, found="a refusal", told=error)
        yield None
        return
    with file:
        survey(file, problems)
        before = path.stat()
        yield file
        after = path.stat()
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            problems.add("changed", path, found="another size or time than when it was opened")


def survey(file: Arrays, problems: Problems) -> None:
    """What is odd about the names of an open file, without reading a column."""
    if not file.names:
        problems.add("no-columns", file.path, found="none")
    for name, times in Counter(file.names).items():
        if times > 1:
            problems.add("repeated-column", file.path, name, found=f"it {times} times")
    if isinstance(file, NpzArrays):
        for name in file.strangers:
            problems.add("foreign-member", file.path, name, found="a member that is no array")
    for name, left_out in file.left_out.items():
        problems.add(left_out.kind, file.path, name, found=left_out.words)


def _is_text(first: bytes) -> bool:
    try:
        text = first[:-4].decode() if len(first) == 512 else first.decode()  # the cut may split a letter
    except UnicodeDecodeError:
        return False
    return all(letter.isprintable() or letter in "\r\n\t" for letter in text)
