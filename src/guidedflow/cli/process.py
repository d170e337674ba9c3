"""The command line as a process of its own: its streams, its signals, its cache of programs, and its exit status.

`cli.main` is the same without them, for a process that goes on afterwards.
"""

import os
import signal
import sys
import threading
import time
import traceback

from guidedflow.cli import main, programs
from guidedflow.training.interruption import SIGNALS, Interrupted, abandon

PATIENCE = 1.0
"""Seconds that the main thread has to end by itself after a signal, where there is nothing to save."""


class Watch:
    """Hears signals also while the main thread is in compiled code; `heard` is the first of them."""

    def __init__(self) -> None:
        self.heard: int | None = None
        self._pipe, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        threading.Thread(target=self._listen, daemon=True, name="signals").start()

    def _listen(self) -> None:
        while received := os.read(self._pipe, 1):
            if received[0] in SIGNALS:
                self.heard = self.heard or received[0]
                time.sleep(PATIENCE)
                abandon(received[0])


def run() -> int:
    """Run the command line on `sys.argv`; its exit status, with all that was printed written."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that lacks a character shows another one
            stream.reconfigure(errors="replace")
    sys.unraisablehook = _report
    programs.keep()
    watch = Watch()
    status = _status(watch)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            status = status or 1
    return status


def _report(lost: "sys.UnraisableHookArgs") -> None:
    """What an exception that a callback lost is answered with: nothing for an interrupt, which `Watch` has heard."""
    if not issubclass(lost.exc_type, Interrupted | KeyboardInterrupt):
        sys.__unraisablehook__(lost)


def _status(watch: Watch) -> int:
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # until here it ended the process
        main()
    except SystemExit as left:
        if left.code is None or isinstance(left.code, int):
            return left.code or 0
        print(left.code, file=sys.stderr)
        return 1
    except BaseException as error:
        # A library may turn an interrupt into an error of its own, such as of an import.
        if watch.heard == signal.SIGINT or isinstance(error, KeyboardInterrupt):
            print("guidedflow: interrupted", file=sys.stderr)
            return 130
        traceback.print_exc()
        return 1
    return 0
