"""Write tests/golden/hundred-steps*.json anew, after a change of the mathematics that was meant.

Algorithms stay in the file that they are in; those of no file go into the one for the related systems. With names of
algorithms as arguments only these are recorded.
"""

import json
import sys
from pathlib import Path

import conftest  # noqa: F401
from test_algorithms import hundred_steps
from tiny_algorithm import small
from tiny_data import line

from guidedflow.algorithms import ALGORITHMS

if __name__ == "__main__":
    folder, transitions = Path(__file__).parents[1] / "golden", line().cut(0.9)
    wanted = {name: small(ALGORITHMS[name]) for name in sys.argv[1:] or ALGORITHMS}
    main, related = folder / "hundred-steps.json", folder / "hundred-steps-related.json"
    recorded = {path: json.loads(path.read_text()) if path.exists() else {} for path in (main, related)}
    for name, algorithm in wanted.items():
        recorded[main if name in recorded[main] else related][name] = hundred_steps(algorithm, transitions)
    for path, moves in recorded.items():
        path.write_text(json.dumps(moves, indent=1) + "\n")
