"""Write tests/golden/hundred-steps.json anew, after a change of the mathematics that was meant."""

import json
from pathlib import Path

import conftest  # noqa: F401
from test_algorithms import hundred_steps
from tiny_algorithm import small
from tiny_data import line

from guidedflow.algorithms import ALGORITHMS

if __name__ == "__main__":
    transitions = line().cut(0.9)
    recorded = {name: hundred_steps(small(cls), transitions) for name, cls in ALGORITHMS.items()}
    path = Path(__file__).parents[1] / "golden" / "hundred-steps.json"
    path.write_text(json.dumps(recorded, indent=1) + "\n")
