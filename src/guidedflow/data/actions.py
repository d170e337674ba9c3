"""Actions inside the box [-1, 1] that policies here act in.

Flow policies clip what they propose to that box, so a dataset's actions must lie in it. What lies inside is moved off
its very edge, to 1 - 1e-5, as FQL and GFP published; what lies outside is never moved unasked: it is clipped, or all
actions are mapped into the box, and policies out of it again. This module does not know where a dataset is from.
"""

import enum

import numpy as np

from guidedflow.data.dataset import Dataset, Excess
from guidedflow.errors import InputError
from guidedflow.normalization import ActionScale

ACTION_LIMIT = np.float32(1 - 1e-5)
"""The largest action that is trained on."""


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
    """The dataset with actions in the box; one whose actions are there already is returned as it is.

    Actions are rescaled by the range that they have in each dimension, where final rows do not count, or by a given
    `scale`, which may leave some to be clipped. The map is kept with the dataset. Raises `InputError` for actions
    outside that are to be refused.
    """
    if dataset.actions_outside.share and rule is Outside.refused:
        raise complaint(dataset.name, dataset.actions_outside)
    actions = dataset.actions
    if rule is Outside.rescaled and len(dataset):
        scale = scale or ActionScale.spanning(actions[~dataset.last])
        actions = scale.to_box(actions)
    elif np.abs(actions).max(initial=0) <= ACTION_LIMIT:
        return dataset
    return dataset.with_actions(np.clip(actions, -ACTION_LIMIT, ACTION_LIMIT), scale)


def complaint(name: str, excess: Excess) -> InputError:
    """The sentence about actions outside."""
    return InputError(
        f"dataset {name!r}: actions must lie in [-1, 1], but {100 * excess.share:.2g} % of their numbers do not, "
        f"the first in row {excess.row}, the largest {excess.largest:.4g}; add --clip-actions to clip them, or "
        "--rescale-actions if they are in another unit"
    )
