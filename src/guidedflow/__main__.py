"""`python -m guidedflow`, and the console script `guidedflow`.

A spawned worker imports this module again, so it imports nothing of weight itself: the command line and JAX are loaded
by the process that runs `main`, and by no other. It does not know any command.
"""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line on `sys.argv`, and end the process with its status.

    The process ends without the interpreter's own end, which would race XLA's threads where a signal left some at work.
    """
    signal.signal(signal.SIGINT, _leave)  # while modules are imported there is nothing to clean up
    from guidedflow.cli.process import run

    signal.signal(signal.SIGINT, signal.default_int_handler)
    status = run()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os._exit(status)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, b"guidedflow: interrupted\n")
    os._exit(128 + number)


if __name__ == "__main__":
    main()
