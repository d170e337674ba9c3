"""How a dataset becomes the transitions of a run: where it is cut, what is seen of it, what is done when it is drawn.

    rewards  as recorded, or sparse ones in their place
    cut      transitions of some steps, as chunks or not, whose observations are one frame or several
    goals    drawn for each transition, if the data is goal-conditioned
    crops    of images at random, if they are to be augmented

This module does not know where a dataset is from, nor who learns from it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Shaped

from guidedflow.data.dataset import Dataset
from guidedflow.data.drawing import UNIFORM, Drawing, Weighted
from guidedflow.data.observations import fault
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.sampling.goals import Goals, GoalSampling
from guidedflow.data.sampling.rebalance import Weights, no_weight
from guidedflow.data.transitions import Cut, Transitions
from guidedflow.errors import InputError
from guidedflow.normalization import ObservationScale
from guidedflow.packing import PartShapes, is_image, unpacked
from guidedflow.parts import Parts, on_device

Rewards = Literal["data", "sparse"]
"""Those of the data, or -1 until the task is solved and 0 after, as releases of 2026 train scene and puzzle."""


@dataclass(frozen=True)
class Cutting:
    """The settings of all that, by the names that they have in the plan of a run; None leaves observations raw."""

    discount: float = 0.99
    horizon: int = 1
    chunk: bool = False
    frame_stack: int = 1
    augment: float = 0.0
    goals: GoalSampling = field(default_factory=GoalSampling)
    observation_scale: ObservationScale | None = None
    rewards: Rewards = "data"

    @property
    def spans(self) -> dict[str, Any]:
        """What says where transitions begin and end."""
        return {"discount": self.discount, "horizon": self.horizon, "chunk": self.chunk}

    def check(self, dataset: Dataset | Mapped) -> None:
        """Raise `InputError` for observations that no network takes, and for settings that would change nothing."""
        name, shape, dtype = dataset.name, dataset.observation_shape, dataset.observation_dtype
        parts = (
            {"": (shape, dtype)}
            if not isinstance(shape, PartShapes)
            else {name: (dtype[name].shape, dtype[name].base) for name in shape.names}
        )
        if any(fault(*part) is not None for part in parts.values()):
            raise InputError(
                f"{name!r} has observations of shape {shape} and type {dtype}; expected float32 states, (numbers,), "
                "or uint8 images, (height, width, channels)."
            )
        if len(parts) > 1 and dataset.goal_conditioned:
            raise InputError(
                f"{name!r} has observations of several parts, {shape}, which cannot be goals, nor have goals beside "
                "them; leave goals out, or name one column of observations."
            )
        if self.augment and not any(is_image(part) for part, _ in parts.values()):
            raise InputError(f"{name!r} has states, which cannot be cropped; leave --augment out.")
        if not dataset.goal_conditioned and self.goals != GoalSampling():
            raise InputError(
                f"The settings of goals change nothing for {name!r}, which has rewards of its own; leave them out, "
                "or name goal-conditioned data, such as cube-single-play-v0."
            )
        if dataset.goal_conditioned and self.rewards != "data":
            raise InputError(f"{name!r} is goal-conditioned and has no rewards; leave --rewards {self.rewards} out.")

    def relabelled(self, dataset: Dataset) -> Dataset:
        """The dataset with its rewards, or with sparse ones. Raises `InputError` where no step ends the task."""
        if self.rewards == "data":
            return dataset
        if not (dataset.masks[~dataset.last] == 0).any():
            raise InputError(
                f"{dataset.name!r} has no step that ends its task, so that sparse rewards would all be -1; leave "
                "--rewards sparse out."
            )
        return dataset.with_rewards(sparse(dataset.masks))

    def transitions(
        self,
        observations: Shaped[Array | np.ndarray, " rows *observation"] | Parts,
        actions: Float32[Array | np.ndarray, "rows action"],
        cut: Cut,
        drawing: Drawing = UNIFORM,
        goals: Shaped[Array | np.ndarray, " rows *goal"] | None = None,
    ) -> Transitions:
        """Rows that were cut so, on the device: with these goals, if there are any, and cropped if it is asked for.

        Goals that are the observations are on the device once.
        """
        scale = self.observation_scale
        seen = on_device(observations) if scale is None else scale(on_device(observations))
        if goals is None:
            told = None
        else:
            own = None if scale is None else scale.goal or scale
            assert not isinstance(seen, Parts)
            wanted = seen if goals is observations else jnp.asarray(goals) if own is None else own(jnp.asarray(goals))
            assert not isinstance(wanted, Parts)
            told = Goals.of(wanted, self.goals, self.discount, self.horizon)
        chunk = self.horizon if self.chunk else 1
        return Transitions.of(seen, actions, cut, chunk, self.frame_stack, drawing, told, self.augment or None)

    def of(self, dataset: Dataset, weights: Weights | None = None) -> Transitions:
        """All of a dataset in memory; by default each transition has the same chance.

        Raises `InputError` where no episode is long enough, and where no transition has a weight.
        """
        found = self.relabelled(dataset).cut_rows(**self.spans)
        drawing: Drawing = UNIFORM
        if weights is not None:
            each = weights(found.starts)
            if not each.any():
                raise no_weight(dataset.name)
            drawing = Weighted.of(each)
        return self.transitions(dataset.observations, dataset.actions, found, drawing, dataset.goals)

    def discounted(self, dataset: Dataset, transitions: Transitions, discounts: Sequence[float]) -> Transitions:
        """Transitions of a dataset without goals for runs of several discounts, one a row of a training state."""
        relabelled, each = self.relabelled(dataset), sorted(set(discounts))
        cuts = [relabelled.cut_rows(**{**self.spans, "discount": discount}) for discount in each]
        return replace(
            transitions,
            rewards=jnp.stack([jnp.asarray(cut.rewards) for cut in cuts]),
            discounts=jnp.stack([jnp.asarray(cut.discounts) for cut in cuts]),
            shares=jnp.asarray([each.index(discount) for discount in discounts]),
        )


CUTTING = Cutting()


def sparse(masks: Float32[np.ndarray, " rows"]) -> Float32[np.ndarray, " rows"]:
    """-1 until the task is solved and 0 after, from the masks, which are 0 where it is."""
    return -masks


def observation_scale(dataset: Dataset | Mapped) -> ObservationScale | None:
    """Mean and deviation of the observations of a dataset, and of its goals; None for images.

    Of observations of several parts, those of the vectors.
    """
    shape = dataset.observation_shape
    if isinstance(shape, PartShapes):
        if all(is_image(part) for part in shape.shapes):
            return None
    elif len(shape) != 1:
        return None
    if isinstance(dataset, Mapped):
        finals = int(dataset.ends[-1]) + 1
        starts = range(0, finals, _BLOCK)
        return ObservationScale.of(_vectors(dataset.rows("observations", s, min(s + _BLOCK, finals))) for s in starts)
    goal = None
    if dataset.goals is not None and dataset.goals is not dataset.observations:
        goal = ObservationScale.of(_blocks(dataset.goals))
    return ObservationScale.of(_blocks(dataset.observations), goal)


def _blocks(column: np.ndarray) -> Iterator[np.ndarray]:
    return (_vectors(column[start : start + _BLOCK]) for start in range(0, len(column), _BLOCK))


def _vectors(column: np.ndarray) -> np.ndarray:
    """The vectors of a column side by side."""
    if column.dtype.names is None:
        return column
    return np.concatenate([part for part in unpacked(column).values() if part.dtype != np.uint8], axis=1)


_BLOCK = 2**16
"""Rows that are looked at together."""
