"""A MeanFlow of the data (arXiv 2505.13447), as a one-step generator of actions.

    flow         | u(s, a_t, t, r) - (v + (r - t) du/dt) |^2 / d, over the root of itself + 1e-3
    generator    G(s, z) = clip(z + u(s, z, 0, 1))

Times are 1 - sigmoid(N(0, 1) - 0.4), as in LPS (arXiv 2603.05296; jellyho/LPS, c87dee0). This module does not know what
the generator is for.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.flows.meanflow import Prediction, adaptive, generate, mean_flow_error
from guidedflow.flows.path import clip
from guidedflow.flows.sources import Source
from guidedflow.networks import JumpField
from guidedflow.packing import Shape
from guidedflow.types import Action, Metrics, Observation, Scalar, Transition


class Noise(NamedTuple):
    """Every random number of the flow's step; rows are transitions."""

    flow_source: Float[Array, "*batch action"]
    """Where the path begins."""
    flow_time: Float[Array, "*batch"]
    """t, where a jump on that path begins."""
    flow_end: Float[Array, "*batch"]
    """r >= t, where the jump ends."""


def draw(batch: Transition, key: PRNGKeyArray, source: Source, instant_share: float | Scalar) -> Noise:
    """The noise of an update; the first `instant_share` of the rows have r = t, which is plain flow matching."""
    source_key, time_key = jax.random.split(key)
    times = jax.nn.sigmoid(0.4 - jax.random.normal(time_key, (2, len(batch.reward))))
    start, end = jnp.min(times, axis=0), jnp.max(times, axis=0)
    instant = jnp.arange(len(start), dtype=start.dtype) < jnp.floor(instant_share * len(start))
    return Noise(source.draw(source_key, batch.action.shape), start, jnp.where(instant, start, end))


def flow_loss(flow: JumpField, data: Transition, noise: Noise, prediction: Prediction) -> tuple[Scalar, Metrics]:
    """The robust MeanFlow loss of one transition."""
    average = prediction(flow.given(data.observation))
    error = mean_flow_error(
        average, noise.flow_source, data.action, noise.flow_time, noise.flow_end, prediction.tangent
    )
    loss = adaptive(error)
    return loss, {"flow_loss": loss, "flow_error": error}


class Generator(eqx.Module):
    """G(s, z): the action at the end of one jump from the latent z. As an actor it takes its noise as the latent."""

    field: JumpField
    prediction: Prediction = eqx.field(static=True)

    @property
    def observation_shape(self) -> Shape:
        return self.field.observation_shape

    @property
    def action_size(self) -> int:
        return self.field.action_size

    @property
    def deterministic(self) -> bool:
        """False: the noise becomes the action."""
        return False

    def given(self, observation: Observation) -> Callable[[Array], Action]:
        """The action as a function of the latent alone."""
        average = self.prediction(self.field.given(observation))
        return lambda latent: clip(generate(average, latent))
