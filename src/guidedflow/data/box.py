"""Actions inside the box [-1, 1] that policies here act in.

Flow policies clip what they propose to that box, so a dataset's actions must lie in it. What lies inside is moved off
its very edge, to 1 - 1e-5, as FQL and GFP published; what lies outside is never moved unasked. This module does not
know where a dataset is from.
"""

import dataclasses

import numpy as np

from guidedflow.data.dataset import Dataset
from guidedflow.errors import InputError

ACTION_LIMIT = np.float32(1 - 1e-5)
"""The largest action that is trained on."""

TOLERANCE = 1e-6
"""Outside by no more than this is rounding."""


def inside(dataset: Dataset, clip: bool = False) -> Dataset:
    """The dataset with actions in the box. Raises `InputError` for actions outside, unless they are to be clipped."""
    share, row = outside(dataset)
    if share and not clip:
        raise complaint(dataset.name, share, row, largest(dataset))
    return dataclasses.replace(dataset, actions=np.clip(dataset.actions, -ACTION_LIMIT, ACTION_LIMIT))


def complaint(name: str, share: float, row: int | None, largest: float) -> InputError:
    """The sentence about actions outside."""
    return InputError(
        f"dataset {name!r}: actions must lie in [-1, 1], but {100 * share:.2g} % of their numbers do not, "
        f"the first in row {row}, the largest {largest:.4g}; add --clip-actions to clip them, or rescale the data "
        "if its actions are in another unit"
    )


def largest(dataset: Dataset) -> float:
    """The size of the largest number of all actions; final rows do not count."""
    return float(np.abs(dataset.actions[~dataset.last]).max(initial=0))


def outside(dataset: Dataset) -> tuple[float, int | None]:
    """The share of the actions' numbers outside the box, and the first row with one; final rows do not count."""
    wrong = (np.abs(dataset.actions) > 1 + TOLERANCE) & ~dataset.last[:, None]
    rows = np.flatnonzero(wrong.any(axis=1))
    numbers = len(dataset) * dataset.actions.shape[1]
    return (np.count_nonzero(wrong) / numbers if numbers else 0.0), (int(rows[0]) if rows.size else None)
