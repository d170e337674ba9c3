"""How a dataset becomes the transitions of a run: where it is cut, what is seen of it, what is done when it is drawn.

    cut      transitions of some steps, as chunks or not, whose observations are one frame or several
    goals    drawn for each transition, if the data is goal-conditioned
    crops    of images at random, if they are to be augmented

This module does not know where a dataset is from, nor who learns from it.
"""

from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Shaped

from guidedflow.data.dataset import Dataset
from guidedflow.data.drawing import UNIFORM, Drawing, Weighted
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.sampling.goals import Goals, GoalSampling
from guidedflow.data.sampling.rebalance import Weights, no_weight
from guidedflow.data.transitions import Cut, Transitions
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

    def check(self, dataset: Dataset | Mapped) -> None:
        """Raise `InputError` for observations that no network takes, and for settings that would change nothing."""
        name, shape, dtype = dataset.name, dataset.observation_shape, dataset.observation_dtype
        if (len(shape), dtype.kind) not in ((1, "f"), (3, "u")):
            raise InputError(
                f"{name!r} has observations of shape {shape} and type {dtype}; expected float32 states, (numbers,), "
                "or uint8 images, (height, width, channels)."
            )
        if self.augment and len(shape) == 1:
            raise InputError(f"{name!r} has states, which cannot be cropped; leave --augment out.")
        if not dataset.goal_conditioned and self.goals != GoalSampling():
            raise InputError(
                f"The settings of goals change nothing for {name!r}, which has rewards of its own; leave them out, "
                "or name goal-conditioned data, such as cube-single-play-v0."
            )

    def transitions(
        self,
        observations: Shaped[Array | np.ndarray, " rows *observation"],
        actions: Float32[Array | np.ndarray, "rows action"],
        cut: Cut,
        drawing: Drawing = UNIFORM,
        goals: Shaped[Array | np.ndarray, " rows *goal"] | None = None,
    ) -> Transitions:
        """Rows that were cut so, on the device: with these goals, if there are any, and cropped if it is asked for.

        Goals that are the observations are on the device once.
        """
        seen = jnp.asarray(observations)
        if goals is None:
            told = None
        else:
            wanted = seen if goals is observations else jnp.asarray(goals)
            told = Goals.of(wanted, self.goals, self.discount, self.horizon)
        chunk = self.horizon if self.chunk else 1
        return Transitions.of(seen, actions, cut, chunk, self.frame_stack, drawing, told, self.augment or None)

    def of(self, dataset: Dataset, weights: Weights | None = None) -> Transitions:
        """All of a dataset in memory; by default each transition has the same chance.

        Raises `InputError` where no episode is long enough, and where no transition has a weight.
        """
        found = dataset.cut_rows(**self.spans)
        drawing: Drawing = UNIFORM
        if weights is not None:
            each = weights(found.starts)
            if not each.any():
                raise no_weight(dataset.name)
            drawing = Weighted.of(each)
        return self.transitions(dataset.observations, dataset.actions, found, drawing, dataset.goals)


CUTTING = Cutting()
