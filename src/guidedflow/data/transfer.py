"""One file over HTTP: complete, checked and renamed, or not there at all.

What has arrived lies in `.NAME.part`, which a later attempt goes on with by a range. The part is locked, so that two
processes fetch it once. A server that refuses, or answers with a page, is left for the next one; one that breaks off is
asked again, later and later. This module does not know what is in a file, nor which servers there are.
"""

import fcntl
import hashlib
import http.client
import json
import os
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from guidedflow.errors import InputError
from guidedflow.files import reason, remove_quietly, sync_folder

BLOCK = 2**20
DATA = (b"PK", b"\x89HDF\r\n\x1a\n", b"PAR1")
"""What the files begin with that are fetched here."""

Report = Callable[[str, int, int | None], None]
"""Is told the file's name, the bytes that are there, and of how many."""


@dataclass(frozen=True)
class Known:
    """What is known of a file beforehand."""

    bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Patience:
    """How often and how soon a server that broke off is asked again."""

    attempts: int = 5
    pause: float = 1.0
    """Seconds before the second attempt; twice as many before each further one."""
    timeout: float = 30.0
    """Seconds without a byte that count as broken off."""


class Refusal(Exception):
    """A server does not have the file, or not as it should be; another may."""


class Interruption(Exception):
    """A server broke off; it may be asked again."""


def fetch(
    addresses: Sequence[str],
    path: Path,
    known: Known | None = None,
    check: Callable[[Path], str | None] | None = None,
    patience: Patience | None = None,
    report: Report | None = None,
) -> bool:
    """Get a file from the first of the addresses that gives all of it; False if it was there already.

    `check` looks at the whole file and says what is wrong with it, if anything. Raises `InputError` where no server
    gives the file, and where the disk refuses.
    """
    known, patience = known or Known(), patience or Patience()
    if path.exists():
        _compare(path, known)
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path) as part:
            if part is None:  # another process was faster
                return False
            complaints = []
            for address in addresses:
                try:
                    _from(address, path, part, known, check, patience, report)
                except Refusal as refusal:
                    complaints.append(f"{urllib.parse.urlsplit(address).netloc}: {refusal}")
                else:
                    return True
    except OSError as error:
        raise InputError(f"{path} cannot be written: {reason(error)}; what has arrived is kept") from error
    raise InputError("; ".join(complaints))


def _from(
    address: str,
    path: Path,
    part: BinaryIO,
    known: Known,
    check: Callable[[Path], str | None] | None,
    patience: Patience,
    report: Report | None,
) -> None:
    """All of a file from one server. Raises `Refusal`."""
    failed, fresh = 0, part.seek(0, os.SEEK_END) == 0
    while True:
        before = part.seek(0, os.SEEK_END)
        try:
            _receive(address, path, part, known, patience.timeout, report)
            break
        except Interruption as interruption:
            failed = 1 if part.seek(0, os.SEEK_END) > before else failed + 1
            if failed >= patience.attempts:
                raise Refusal(str(interruption)) from interruption
            time.sleep(patience.pause * 2 ** (failed - 1))
    part.flush()
    os.fsync(part.fileno())
    wrong = _wrong(part, known) or (check(_part(path)) if check is not None else None)
    if wrong is not None:
        _empty(path, part)
        if fresh:
            raise Refusal(wrong)
        _from(address, path, part, known, check, patience, report)  # what an earlier attempt left was to blame
        return
    os.replace(_part(path), path)
    remove_quietly(_note(path))
    sync_folder(path.parent)


def _receive(address: str, path: Path, part: BinaryIO, known: Known, timeout: float, report: Report | None) -> None:
    """Append to the part what is missing. Raises `Refusal` and `Interruption`."""
    held, note = part.seek(0, os.SEEK_END), _read_note(path)
    headers = {"User-Agent": "guidedflow", "Accept-Encoding": "identity"}
    if held:
        headers["Range"] = f"bytes={held}-"
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=timeout) as answer:
            _refuse_pages(answer)
            total = _total(answer, held)
            if held and (answer.status != 206 or note.get("bytes") != total):
                _empty(path, part)  # the server knows no ranges, or has another file
                if answer.status == 206:
                    raise Interruption("another file than the one that was begun")
                held = 0
            if known.bytes is not None and total is not None and total != known.bytes:
                raise Refusal(f"{total:,} bytes, where {known.bytes:,} are published")
            _refuse_full_disk(path, total, held)
            _write_note(path, {"bytes": total})
            _copy(answer, part, path.name, held, total, report)
    except urllib.error.HTTPError as error:
        if error.code == 416 and held:
            if note.get("bytes") == held:
                return  # all of it had arrived
            _empty(path, part)
            raise Interruption("a part of another file") from error
        told = f"{error.code} {_words(error.reason)}"
        if error.code in (408, 425, 429) or error.code >= 500:
            raise Interruption(told) from error
        raise Refusal(told) from error
    except urllib.error.URLError as error:
        told = f"no connection ({_words(error.reason)})"
        if isinstance(error.reason, socket.gaierror | ssl.SSLCertVerificationError):  # waiting does not help
            raise Refusal(told) from error
        raise Interruption(told) from error
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise Interruption(f"broke off ({_words(error)})") from error
    except ValueError as error:
        raise Refusal(f"no address of the web ({error})") from error


def _copy(answer: Any, part: BinaryIO, name: str, held: int, total: int | None, report: Report | None) -> None:
    """The body, block by block. Raises `Interruption` where it is shorter than was said."""
    begun = held > 0
    for block in _blocks(answer):
        if not begun and not block.startswith(DATA):
            raise Refusal(f"no data, but something that begins with {block[:12]!r}")
        begun = True
        part.write(block)
        held += len(block)
        if report is not None:
            report(name, held, total)
    if total is not None and held < total:
        raise Interruption(f"broke off after {held:,} of {total:,} bytes")
    if not begun:
        raise Refusal("nothing, 0 bytes")


def _blocks(answer: Any) -> Iterator[bytes]:
    """What arrives. Raises `Interruption`, so that it is told from a disk that refuses."""
    while True:
        try:
            block = answer.read(BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise Interruption(f"broke off ({_words(error)})") from error
        if not block:
            return
        yield block


def _refuse_pages(answer: Any) -> None:
    kind = answer.headers.get_content_type()
    if kind in ("text/html", "application/xhtml+xml", "application/json", "text/xml", "application/xml"):
        raise Refusal(f"a page ({kind}) instead of data")


def _refuse_full_disk(path: Path, total: int | None, held: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if total is not None and total - held > free:
        raise InputError(f"{path} needs {total - held:,} bytes, but its disk has {free:,}; make room or choose --out")


def _total(answer: Any, held: int) -> int | None:
    """The size of the whole file, if the server says it."""
    if answer.status == 206:
        begin, _, whole = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        if not begin.startswith(f"{held}-") or not whole.isdigit():
            raise Refusal("another range than the one that was asked for")
        return int(whole)
    length = answer.headers.get("Content-Length")
    return int(length) if length is not None and length.isdigit() else None


def _wrong(part: BinaryIO, known: Known) -> str | None:
    """Why a whole file is not the published one, as far as that is known."""
    size = part.seek(0, os.SEEK_END)
    if known.bytes is not None and size != known.bytes:
        return f"{size:,} bytes, where {known.bytes:,} are published"
    if known.sha256 is not None:
        part.seek(0)
        hashed = hashlib.sha256()
        while block := part.read(BLOCK):
            hashed.update(block)
        digest = hashed.hexdigest()
        if digest != known.sha256:
            return f"a wrong checksum, {digest[:12]}..., where {known.sha256[:12]}... is published"
    return None


def _compare(path: Path, known: Known) -> None:
    """Raises `InputError` for a file that is there but is not what is published under its name."""
    if known.bytes is not None and path.is_file() and path.stat().st_size != known.bytes:
        found = path.stat().st_size
        raise InputError(
            f"{path} exists and has {found:,} bytes, where {known.bytes:,} are published: it is another file of that "
            "name, such as one that was collected; remove it, or choose another folder by --out"
        )


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO | None]:
    """The part, which no other process has; None where the whole file came into being meanwhile."""
    while True:
        with open(_part(path), "a+b") as part:
            fcntl.flock(part, fcntl.LOCK_EX)
            if not _is_named(part, _part(path)):
                if path.exists():
                    yield None
                    return
                continue  # it was removed while this process waited
            try:
                yield None if path.exists() else part
            finally:
                if _is_named(part, _part(path)) and part.seek(0, os.SEEK_END) == 0:
                    remove_quietly(_part(path))
                    remove_quietly(_note(path))
            return


def _is_named(file: BinaryIO, path: Path) -> bool:
    """Whether an open file still has this name."""
    try:
        return os.fstat(file.fileno()).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _note(path: Path) -> Path:
    """Beside the part: how large the whole will be."""
    return path.with_name(f".{path.name}.part.json")


def _read_note(path: Path) -> dict[str, Any]:
    try:
        note = json.loads(_note(path).read_bytes())
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _write_note(path: Path, note: dict[str, Any]) -> None:
    _note(path).write_text(json.dumps(note))


def _empty(path: Path, part: BinaryIO) -> None:
    part.truncate(0)
    part.seek(0)
    remove_quietly(_note(path))


def _words(error: object) -> str:
    words = reason(error) if isinstance(error, OSError) else str(error)
    return " ".join(words.split()) or type(error).__name__
