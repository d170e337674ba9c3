"""A file of which a part has arrived: `.NAME.part`, and beside it how large the whole will be.

A part has one writer: it is locked, by the system, for as long as it is open, so that nothing remains of a lock when a
process dies. The whole file appears under its own name, or not at all. This module does not know from where data
arrive.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from guidedflow.files import DamagedFile, read_json, remove_quietly, rename

BLOCK = 2**20


class Part:
    """An open part; `writing` makes one."""

    def __init__(self, whole: Path, file: BinaryIO) -> None:
        self.whole, self._file = whole, file

    @property
    def place(self) -> Path:
        """Where the part lies."""
        return _beside(self.whole, "")

    @property
    def held(self) -> int:
        """Bytes that have arrived."""
        return self._file.seek(0, os.SEEK_END)

    @property
    def total(self) -> int | None:
        """Bytes of the whole, as the server said when the part was begun."""
        try:
            return read_json(_beside(self.whole, ".json")).get("bytes")
        except DamagedFile:
            return None

    def expect(self, total: int | None) -> None:
        """Keep in mind how large the whole will be."""
        _beside(self.whole, ".json").write_text(json.dumps({"bytes": total}))

    def append(self, block: bytes) -> None:
        """What has arrived now."""
        self._file.write(block)

    def empty(self) -> None:
        """Begin anew."""
        self._file.truncate(0)
        self._file.seek(0)
        remove_quietly(_beside(self.whole, ".json"))

    def sync(self) -> None:
        """Wait until the disk holds what has arrived."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def digest(self) -> str:
        """SHA-256 in hexadecimal digits."""
        self._file.seek(0)
        digest = hashlib.sha256()
        while block := self._file.read(BLOCK):
            digest.update(block)
        return digest.hexdigest()

    def finish(self) -> None:
        """Give the whole file its name."""
        rename(self.place, self.whole)
        remove_quietly(_beside(self.whole, ".json"))


@contextmanager
def writing(whole: Path) -> Iterator[Part | None]:
    """The part of a file, which nobody else writes to; None where the whole file came into being meanwhile.

    Waits for another process that has it. An empty part is not left behind.
    """
    place = _beside(whole, "")
    while True:
        with open(place, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_named(file, place):
                if whole.exists():
                    yield None
                    return
                continue  # it was removed while this process waited
            part = Part(whole, file)
            try:
                yield None if whole.exists() else part
            finally:
                if _is_named(file, place) and not part.held:
                    remove_quietly(place)
                    remove_quietly(_beside(whole, ".json"))
            return


def _is_named(file: BinaryIO, path: Path) -> bool:
    """Whether an open file still has this name."""
    try:
        return os.fstat(file.fileno()).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def _beside(whole: Path, suffix: str) -> Path:
    return whole.with_name(f".{whole.name}.part{suffix}")
