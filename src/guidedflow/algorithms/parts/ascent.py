"""A deterministic actor that climbs a critic and stays near the data, as in TD3+BC (arXiv 2106.06860).

    weight scale (-Q(s, a)) + price distance,   scale = 1 / mean |Q| at the actor of before the step

This module does not know what the actor is, nor how far from the data is measured.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax

from guidedflow.algorithms.learner import Loss
from guidedflow.algorithms.parts.losses import value_scale
from guidedflow.types import Metrics, Scalar, Transition

Network = TypeVar("Network")


def ascent(
    actor: Network,
    measure: Callable[..., tuple[Scalar, Scalar]],
    batch: Transition,
    *data: Any,
    weight: float | Scalar = 1.0,
    price: float | Scalar,
) -> Loss:
    """The loss of what is now `actor`; `measure(actor, transition, *a row of data)` is its value and its distance."""
    values, _ = jax.vmap(measure, in_axes=(None, 0, *[0] * len(data)))(actor, batch, *data)
    scale = value_scale(values)

    def actor_loss(network: Network, transition: Transition, *data: Any) -> tuple[Scalar, Metrics]:
        value, distance = measure(network, transition, *data)
        q_loss = -scale * value
        loss = weight * q_loss + price * distance
        return loss, {"actor_loss": loss, "q_loss": q_loss, "distance": distance}

    return actor_loss
