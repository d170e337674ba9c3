"""Interruptions: a signal lets an interval that is about to end be saved, drops a longer one, or ends the program."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")  # the last two are how Slurm announces the end
    if hasattr(signal, name)
)


NOTHING_SAVED = "interrupted before anything was learned; nothing was saved"


class Interrupted(SystemExit):
    """A signal ended training: its exit status, and the step that was saved, or None where nothing was."""

    def __init__(self, status: int, saved: int | None = None) -> None:
        super().__init__(status)
        self.saved = saved


class Dropped(Exception):
    """A signal was heard long before the end of an interval, which is dropped; the one before is saved."""


class Interruption:
    """The first signal that arrives: `number` is None until then.

    While `at_once` is set, it ends the program there instead: nothing has been computed that could be saved.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.at_once = True
        self.undo: list[Callable[[], None]] = []
        """What removes what was made, where nothing was learned."""

    def leave(self, saved: int | None = None) -> NoReturn:
        """End the program with the status that says by which signal."""
        raise Interrupted(128 + (self.number or 0), saved)

    def drop(self) -> None:
        """Raise `Dropped` after a signal."""
        if self.number is not None:
            raise Dropped

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it a signal waits, so that what is made there is known to whoever cleans up."""
        before, self.at_once = self.at_once, False
        try:
            yield
        finally:
            self.at_once = before
        if self.number is not None and self.at_once:
            self.leave()


_UNDER_WAY: list[Interruption] = []


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Within it the first signal is kept for the loop to see; a second one acts as it did before."""
    caught = Interruption()

    def receive(number: int, frame: FrameType | None) -> None:
        caught.number = number
        for each, handler in previous.items():
            signal.signal(each, handler)
        if caught.at_once:
            caught.leave()

    try:
        previous = {number: signal.signal(number, receive) for number in SIGNALS}
    except ValueError:  # not in the main thread, where signals belong to the program around it
        yield caught
        return
    _UNDER_WAY.append(caught)
    try:
        yield caught
    finally:
        _UNDER_WAY.remove(caught)
        for number, handler in previous.items():
            signal.signal(number, handler)


def abandon(number: int) -> None:
    """End the process where a signal has not ended training that has nothing to save; for another thread to call.

    The main thread hears no signal while XLA compiles, and what a signal raises within a callback is lost.
    """
    for caught in _UNDER_WAY:
        if caught.at_once:
            for undo in caught.undo:
                undo()
            os.write(2, f"guidedflow: {NOTHING_SAVED}\n".encode())
            os._exit(128 + number)
