"""How a network of an observation is made: an encoder, and what sees its features and whatever stands beside them.

This module does not know what stands beside them: an action, a time, a label, or nothing.
"""

from collections.abc import Sequence

import equinox as eqx
import jax
from jaxtyping import PRNGKeyArray

from guidedflow.networks.encoders import Encoder, encoder_of
from guidedflow.networks.mlp import MLP, PLAIN, Style
from guidedflow.packing import Shape


class Observing(eqx.Module):
    """Abstract: the encoder and the sizes of a network of an observation and, mostly, of an action."""

    encoder: Encoder
    observation_shape: Shape = eqx.field(static=True)
    action_size: int = eqx.field(static=True)

    def __init__(self, observation_shape: Shape, action_size: int, *, encoder: Encoder | None, key: PRNGKeyArray):
        """Take the given encoder, by default a new one for observations of this shape."""
        self.encoder = encoder or encoder_of(observation_shape, key)
        self.observation_shape = observation_shape
        self.action_size = action_size


class ObservingMLP(Observing):
    """Abstract: a network of one MLP behind the encoder."""

    mlp: MLP

    def __init__(
        self,
        observation_shape: Shape,
        action_size: int,
        hidden: Sequence[int],
        *,
        beside: int,
        outputs: int,
        style: Style = PLAIN,
        encoder: Encoder | None = None,
        key: PRNGKeyArray,
    ):
        """Build an MLP from the encoder's features and `beside` more numbers to `outputs` numbers."""
        super().__init__(observation_shape, action_size, encoder=encoder, key=key)
        self.mlp = MLP(self.encoder.size + beside, hidden, outputs, style=style, key=key)


def members_of(inputs: int, hidden: Sequence[int], *, size: int, style: Style, key: PRNGKeyArray) -> tuple[MLP, ...]:
    """MLPs of one output, independently initialised: the members of an ensemble, side by side."""
    return tuple(MLP(inputs, hidden, 1, style=style, key=key) for key in jax.random.split(key, size))
