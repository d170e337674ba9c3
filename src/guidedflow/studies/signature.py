"""Signatures of failure: what is wrong with a run of GFP, told from its numbers.

    diverged     a loss was no longer finite
    runaway Q    the claimed value of the actor's actions lies outside what the rewards of the data can add up to
    g is 0       nothing of the data is cloned
    g is 1       everything is cloned, so the filter does nothing
    actor off    the actor is further from the flow than the flow's own actions are apart

The first that fits is the row's. They are rules of thumb, not tests.
"""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from numpy import ndarray

EDGE = 0.01
"""A mean g nearer to 0 or 1 than this counts as 0 or 1."""
SLACK = 0.1
"""Share of the range of possible values by which a claimed value may lie outside."""
NEEDED = ("q_outside", "g", "distance", "diversity")
"""Numbers of a row that a signature needs."""


def signature(row: Mapping[str, Any]) -> str | None:
    """What is wrong with a row, in words: empty where nothing is, None where its numbers do not tell."""
    if row["failed"]:
        return "diverged" if "no longer finite" in row["failed"] else "failed"
    if any(row.get(name) is None for name in NEEDED):
        return None
    if row["q_outside"] > SLACK:
        return "runaway Q"
    if row["g"] < EDGE:
        return "g is 0"
    if row["g"] > 1 - EDGE:
        return "g is 1"
    return "actor off" if row["distance"] > row["diversity"] else ""


def possible_values(rewards: Float[ndarray, " transitions"], discount: float) -> tuple[float, float]:
    """The smallest and largest discounted return that rewards of this range can have."""
    rest = max(1 - discount, 1e-6)
    return min(0.0, float(rewards.min()) / rest), max(0.0, float(rewards.max()) / rest)
