"""`python -m guidedflow`, and the console script `guidedflow`.

A spawned worker imports this module again, so it imports nothing of weight itself: the command line and JAX are loaded
by the process that runs `main`, and by no other. It hears Ctrl-C before it imports more than it needs for that. It does
not know any command.
"""

import os
import signal
import sys

TYPE_CHECKING = False  # as in `typing`, which is not needed to hear a signal
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn


def main() -> "NoReturn":
    """Run the command line on `sys.argv`, and end the process with its status.

    The process ends without the interpreter's own end, which would race XLA's threads where a signal left some at work.
    """
    _leave_quietly()
    from guidedflow.cli.process import run

    try:
        status = run()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:  # beside the command itself, which answers its own
        _leave(signal.SIGINT, None)
    os._exit(status)


def _leave_quietly() -> None:
    """Let Ctrl-C end the process at once with one line: while modules are imported there is nothing to clean up."""
    signal.signal(signal.SIGINT, _leave)


def _leave(number: int, frame: "FrameType | None") -> "NoReturn":
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, b"guidedflow: interrupted\n")
    os._exit(128 + number)


def _begins() -> bool:
    """Whether this process runs the command line, and does not import it as a worker or a library."""
    program = os.path.basename(sys.argv[0]) if sys.argv else ""
    return "__mp_main__" not in sys.modules and (__name__ == "__main__" or program in ("guidedflow", "guidedflow.exe"))


if _begins() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    _leave_quietly()  # a console script imports this module some time before it calls `main`

if __name__ == "__main__":
    main()
