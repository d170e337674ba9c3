"""The lock of a run's folder: one process at a time may write to a run.

The system lets go of it however the process ends, so no lock is ever stale. This module does not know what a run is.
"""

import fcntl
import os
import warnings
from pathlib import Path

from guidedflow import files
from guidedflow.errors import InputError

LOCK = ".lock"


class InUse(InputError):
    """Another process holds the lock of a folder."""


def acquire(path: Path) -> tuple[int, bytes]:
    """Lock the folder for this process, and return what the last owner wrote into the lock.

    The system lets go of it however the process ends, so no lock is ever stale. Raises `InUse` where another holds it.
    """
    descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _in_use(path, descriptor) from None
        except OSError as error:  # some network file systems cannot lock
            warnings.warn(
                f"{path} cannot be locked: {files.reason(error)}; start no second process on it.", stacklevel=3
            )
        owner = os.pread(descriptor, 32, 0)
        sign(descriptor, f"{os.getpid()}\n".encode())
    except BaseException:
        os.close(descriptor)  # or this process would hold the lock until it ends
        raise
    return descriptor, owner


def sign(lock: int, owner: bytes) -> None:
    """Write into the lock who holds it."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, owner, 0)


def refuse_in_use(path: Path) -> None:
    """Raise `InUse` if a process holds the lock of the folder; writes nothing."""
    try:
        descriptor = os.open(path / LOCK, os.O_RDONLY)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _in_use(path, descriptor) from None
    except OSError:
        return
    finally:
        os.close(descriptor)


def _in_use(path: Path, descriptor: int) -> InUse:
    owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
    return InUse(f"{path} is in use by process {owner or 'unknown'}; wait until it ends, or choose another --out.")


def release(lock: int | None) -> None:
    """Let another process hold the lock; None is no lock."""
    if lock is not None:
        os.close(lock)
