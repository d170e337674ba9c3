"""Write tests/golden/hundred-steps*.json anew, after a change of the mathematics that was meant, or a new algorithm.

The first file is of the algorithms of version 0.1, `LATER` of those that came since.
"""

import json
from pathlib import Path

import conftest  # noqa: F401
from test_algorithms import LATER, hundred_steps
from tiny_algorithm import small
from tiny_data import line

from guidedflow.algorithms import ALGORITHMS

if __name__ == "__main__":
    transitions = line().cut(0.9)
    first = Path(__file__).parents[1] / "golden" / "hundred-steps.json"
    old = json.loads(first.read_text())
    moves = {name: hundred_steps(small(cls), transitions) for name, cls in ALGORITHMS.items()}
    for path, names in ((first, moves.keys() & old), (LATER, moves.keys() - old)):
        recorded = {name: moves[name] for name in sorted(names)}
        path.write_text(json.dumps(recorded, indent=1) + "\n")
