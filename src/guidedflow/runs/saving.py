"""Checkpoints that are written while training goes on: one thread, one checkpoint at a time, in order.

A state is a tree of arrays that never change, so the thread may read it while the device computes the next one. A
checkpoint appears by one rename (`checkpoint.save`), whenever the process ends. This module does not know what a state
holds, nor how often one is saved.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from guidedflow.runs import checkpoint


class Saving:
    """A thread that writes checkpoints; a context manager that waits for the last one.

    At most one checkpoint is being written: `save` waits for the one before, so that memory holds two states at most.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._pending: Future[Path] | None = None

    def save(self, folder: Path, step: int, state: Any, keep: int | None = None) -> None:
        """Begin to write `state` to `folder/STEP`, as `checkpoint.save` does; what went wrong before is raised here."""
        self.wait()
        self._pending = self._thread.submit(checkpoint.save, folder, step, state, keep)

    def check(self) -> None:
        """Raise the InputError of a checkpoint that could not be saved; waits for none."""
        if self._pending is not None and self._pending.done():
            self.wait()

    def wait(self) -> None:
        """Return once the disk holds every checkpoint. Raises the InputError of one that could not be saved."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def __enter__(self) -> "Saving":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)
        if error is None:
            self.wait()
