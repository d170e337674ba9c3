"""The process side of a sweep: carries out one pack on its own cores, and reports each run on standard output.

    python -m guidedflow.sweeps.worker PACK.json [CORE ...]

Each line of standard output is the outcome of one run as JSON. The cores are settled before JAX is loaded, which splits
sums over them: with one core a worker, a run has the bits of one core on every machine.

Standard input is a pipe that the process that started it holds open. Once it closes, however that process ended, the
worker saves and ends, so that no run goes on that nobody waits for.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path


def main() -> None:
    """Carry out the pack that the command line names."""
    path, *cores = sys.argv[1:]
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in cores})
    threading.Thread(target=_end_with_starter, daemon=True, name="starter").start()
    import jax

    from guidedflow.sweeps.packs import Pack, carry_out

    pack = Pack.of(json.loads(Path(path).read_text(encoding="utf-8")))
    for outcome in carry_out(pack, together=jax.default_backend() != "cpu"):
        print(json.dumps({"out": outcome.out, "error": outcome.error}), flush=True)


def _end_with_starter() -> None:
    """Ask this process to save and end once its standard input closes."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
