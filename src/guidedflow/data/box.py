"""Actions inside the box [-1, 1] that policies here act in.

Flow policies clip what they propose to that box, so a dataset's actions must lie in it. What lies inside is moved off
its very edge, to 1 - 1e-5, as FQL and GFP published; what lies outside is never moved unasked: it is clipped, or all
actions are mapped into the box, and policies out of it again. This module does not know where a dataset is from.
"""

import dataclasses
import enum

import numpy as np

from guidedflow.data.dataset import Dataset
from guidedflow.errors import InputError
from guidedflow.normalization import ActionScale

ACTION_LIMIT = np.float32(1 - 1e-5)
"""The largest action that is trained on."""

TOLERANCE = 1e-6
"""Outside by no more than this is rounding."""


class Outside(enum.Enum):
    """What becomes of actions outside the box."""

    refused = enum.auto()
    clipped = enum.auto()
    rescaled = enum.auto()

    @classmethod
    def of(cls, clip_actions: bool, rescale_actions: bool) -> "Outside":
        """What two flags ask for. Raises `InputError` for both."""
        if clip_actions and rescale_actions:
            raise InputError(
                "Actions are either clipped or rescaled; give --clip-actions or --rescale-actions, not both."
            )
        return cls.clipped if clip_actions else cls.rescaled if rescale_actions else cls.refused


def inside(dataset: Dataset, rule: Outside = Outside.refused, scale: ActionScale | None = None) -> Dataset:
    """The dataset with actions in the box. Raises `InputError` for actions outside that are to be refused.

    They are rescaled by the range that they have in each dimension, where final rows do not count, or by a given
    `scale`, which may leave some to be clipped. The map is kept with the dataset.
    """
    share, row = outside(dataset)
    if share and rule is Outside.refused:
        raise complaint(dataset.name, share, row, largest(dataset))
    actions = dataset.actions
    if rule is Outside.rescaled and len(dataset):
        scale = scale or ActionScale.spanning(actions[~dataset.last])
        actions = scale.to_box(actions)
    return dataclasses.replace(dataset, actions=np.clip(actions, -ACTION_LIMIT, ACTION_LIMIT), action_scale=scale)


def complaint(name: str, share: float, row: int | None, largest: float) -> InputError:
    """The sentence about actions outside."""
    return InputError(
        f"dataset {name!r}: actions must lie in [-1, 1], but {100 * share:.2g} % of their numbers do not, "
        f"the first in row {row}, the largest {largest:.4g}; add --clip-actions to clip them, or "
        "--rescale-actions if they are in another unit"
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
