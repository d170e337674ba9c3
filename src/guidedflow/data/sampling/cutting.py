"""How a dataset becomes the batches of a run: where it is cut, what is seen of it, and what is done to it when drawn.

    cut      transitions of some steps, as chunks or not, whose observations are one frame or several
    told     under goals, if the data is goal-conditioned
    cropped  images at random, if they are to be augmented

This module does not know where a dataset is from, nor who learns from it.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Shaped

from guidedflow.data.dataset import Dataset
from guidedflow.data.drawing import UNIFORM, Drawing
from guidedflow.data.sampling import goals
from guidedflow.data.sampling.crops import Cropped
from guidedflow.data.sampling.goals import GoalSampling
from guidedflow.data.transitions import Batches, Transitions
from guidedflow.errors import InputError


@dataclass(frozen=True)
class Cutting:
    """The settings of all that, by the names that they have in the plan of a run."""

    discount: float = 0.99
    horizon: int = 1
    chunk: bool = False
    frame_stack: int = 1
    augment: float = 0.0
    goals: GoalSampling = field(default_factory=GoalSampling)

    @property
    def spans(self) -> dict[str, Any]:
        """What says where transitions begin and end."""
        return {"discount": self.discount, "horizon": self.horizon, "chunk": self.chunk}

    def check(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], goal_conditioned: bool) -> None:
        """Raise `InputError` for observations that no network takes, and for settings that would change nothing."""
        if (len(shape), dtype.kind) not in ((1, "f"), (3, "u")):
            raise InputError(
                f"{name!r} has observations of shape {shape} and type {dtype}; expected float32 states, (numbers,), "
                "or uint8 images, (height, width, channels)."
            )
        if self.augment and len(shape) == 1:
            raise InputError(f"{name!r} has states, which cannot be cropped; leave --augment out.")
        if not goal_conditioned and self.goals != GoalSampling():
            raise InputError(
                f"The settings of goals change nothing for {name!r}, which has rewards of its own; leave them out, "
                "or name goal-conditioned data, such as cube-single-play-v0."
            )

    def dress(self, transitions: Transitions, wanted: Shaped[Array, " rows *goal"] | None) -> Batches:
        """Transitions that were cut so: told goals of these rows, if there are any, and cropped, if it is asked for."""
        batches: Batches = transitions
        if wanted is not None:
            batches = goals.told(transitions, wanted, self.goals, self.discount, self.horizon)
        return Cropped(batches, self.augment) if self.augment else batches

    def of(self, dataset: Dataset, drawing: Drawing = UNIFORM) -> Batches:
        """All of a dataset in memory; by default each transition has the same chance."""
        transitions = dataclasses.replace(dataset.cut(**self.spans, frame_stack=self.frame_stack), drawing=drawing)
        if dataset.goals is None:
            return self.dress(transitions, None)
        seen = transitions.observations
        return self.dress(transitions, seen if dataset.goals is dataset.observations else jnp.asarray(dataset.goals))


CUTTING = Cutting()
