"""The algorithms by name: one file a paper, one row each in this table.

This module does not know what its algorithms share.
"""

from typing import Any

from guidedflow.algorithm import Algorithm
from guidedflow.algorithms.bc import BC
from guidedflow.algorithms.fql import FQL
from guidedflow.algorithms.gfp import GFP

ALGORITHMS: dict[str, type[Algorithm[Any]]] = {
    "bc": BC,
    "fql": FQL,
    "gfp": GFP,
}

__all__ = ["ALGORITHMS", "BC", "FQL", "GFP"]
