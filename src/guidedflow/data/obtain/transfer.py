"""One file over HTTP: complete, checked and renamed, or not there at all.

What has arrived is kept, and a later attempt goes on with it by a range, also from another server. A server that
refuses, or answers with a page, is left for the next one; one that breaks off is asked again, later and later. This
module does not know what is in a file, nor which servers there are.
"""

import http.client
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guidedflow.data.obtain.partial_file import BLOCK, Part, writing
from guidedflow.errors import InputError
from guidedflow.files import reason

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


class Unavailable(InputError):
    """No server gives all of a file; what each of them said."""


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

    `check` looks at the whole file and says what is wrong with it, if anything. Raises `Unavailable` where no server
    gives the file, and `InputError` where the disk refuses.
    """
    known, patience = known or Known(), patience or Patience()
    if path.exists():
        _compare(path, known)
        return False
    complaints = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with writing(path) as part:
            if part is None:  # another process was faster
                return False
            for address in addresses:
                try:
                    _from(address, part, known, check, patience, report)
                except Refusal as refusal:
                    complaints.append(f"{urllib.parse.urlsplit(address).netloc}: {refusal}")
                else:
                    return True
    except OSError as error:
        raise InputError(f"{path} cannot be written: {reason(error)}; what has arrived is kept") from error
    raise Unavailable("; ".join(complaints))


def _from(
    address: str,
    part: Part,
    known: Known,
    check: Callable[[Path], str | None] | None,
    patience: Patience,
    report: Report | None,
) -> None:
    """All of a file from one server. Raises `Refusal`."""
    failed, fresh = 0, part.held == 0
    while True:
        before = part.held
        try:
            _receive(address, part, known, patience.timeout, report)
            break
        except Interruption as interruption:
            failed = 1 if part.held > before else failed + 1
            if failed >= patience.attempts:
                raise Refusal(str(interruption)) from interruption
            time.sleep(patience.pause * 2 ** (failed - 1))
    part.sync()
    wrong = _wrong(part, known) or (check(part.place) if check is not None else None)
    if wrong is None:
        part.finish()
        return
    part.empty()
    if fresh:
        raise Refusal(wrong)
    _from(address, part, known, check, patience, report)  # what an earlier attempt left was to blame


def _receive(address: str, part: Part, known: Known, timeout: float, report: Report | None) -> None:
    """Append to the part what is missing. Raises `Refusal` and `Interruption`."""
    held = part.held
    headers = {"User-Agent": "guidedflow", "Accept-Encoding": "identity"}
    if held:
        headers["Range"] = f"bytes={held}-"
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=timeout) as answer:
            _take(answer, part, held, known, report)
    except urllib.error.HTTPError as error:
        if error.code == 416 and held:
            if part.total == held:
                return  # all of it had arrived
            part.empty()
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


def _take(answer: Any, part: Part, held: int, known: Known, report: Report | None) -> None:
    """What an answer brings, if it is of the file that was begun, or of a whole one."""
    _refuse_pages(answer)
    total = _total(answer, held)
    if held and answer.status == 206 and part.total != total:
        part.empty()
        raise Interruption("another file than the one that was begun")
    if held and answer.status != 206:  # the server knows no ranges
        part.empty()
        held = 0
    if known.bytes is not None and total is not None and total != known.bytes:
        raise Refusal(f"{total:,} bytes, where {known.bytes:,} are published")
    _refuse_full_disk(part.whole, total, held)
    part.expect(total)
    _copy(answer, part, held, total, report)


def _copy(answer: Any, part: Part, held: int, total: int | None, report: Report | None) -> None:
    """The body, block by block. Raises `Interruption` where it is shorter than was said."""
    begun = held > 0
    for block in _blocks(answer):
        if not begun and not block.startswith(DATA):
            raise Refusal(f"no data, but something that begins with {block[:12]!r}")
        begun = True
        part.append(block)
        held += len(block)
        if report is not None:
            report(part.whole.name, held, total)
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


def _wrong(part: Part, known: Known) -> str | None:
    """Why a whole file is not the published one, as far as that is known."""
    if known.bytes is not None and part.held != known.bytes:
        return f"{part.held:,} bytes, where {known.bytes:,} are published"
    if known.sha256 is not None and (digest := part.digest()) != known.sha256:
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


def _words(error: object) -> str:
    words = reason(error) if isinstance(error, OSError) else str(error)
    return " ".join(words.split()) or type(error).__name__
