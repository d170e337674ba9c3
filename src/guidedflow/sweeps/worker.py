"""The process side of a sweep: carries out one pack on its own cores, and reports each run on standard output.

    python -m guidedflow.sweeps.worker PACK.json [CORE ...]

Each line of standard output is the outcome of one run as JSON. The cores are settled before JAX is loaded, which splits
sums over them: with one core a worker, a run has the bits of one core on every machine.
"""

import json
import os
import sys
from pathlib import Path


def main() -> None:
    """Carry out the pack that the command line names."""
    path, *cores = sys.argv[1:]
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in cores})
    import jax

    from guidedflow.sweeps.packs import Pack, carry_out

    pack = Pack.of(json.loads(Path(path).read_text(encoding="utf-8")))
    for outcome in carry_out(pack, together=jax.default_backend() != "cpu"):
        print(json.dumps({"out": outcome.out, "error": outcome.error}), flush=True)


if __name__ == "__main__":
    main()
