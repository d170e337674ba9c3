"""Interruptions: a signal lets the interval under way end and be saved, or stops a run that has nothing to lose."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")  # the last two are how Slurm announces the end
    if hasattr(signal, name)
)


class Interruption:
    """The first signal that arrives: `number` is None until then.

    While `at_once` is set, it ends the program there instead: nothing has been computed that could be saved.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.at_once = False

    @property
    def status(self) -> int:
        """The exit status of a program that a signal ended."""
        return 128 + (self.number or 0)


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Within it the first signal is kept for the loop to see; a second one acts as it did before."""
    caught = Interruption()

    def receive(number: int, frame: FrameType | None) -> None:
        caught.number = number
        for each, handler in previous.items():
            signal.signal(each, handler)
        if caught.at_once:
            raise SystemExit(caught.status)

    try:
        previous = {number: signal.signal(number, receive) for number in SIGNALS}
    except ValueError:  # not in the main thread, where signals belong to the program around it
        yield caught
        return
    try:
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
