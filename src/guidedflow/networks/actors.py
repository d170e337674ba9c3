"""Actors: from an observation, and noise, to an action in one evaluation.

This module does not know what they are trained towards.
"""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from guidedflow.networks.encoders import Encoder, encoder_of
from guidedflow.networks.mlp import MLP, PLAIN, Style
from guidedflow.types import Action, Noise, Observation


class OneStepActor(eqx.Module):
    """mu(observation, z): from noise to an action in one evaluation; unbounded: callers decide where to clip."""

    encoder: Encoder
    mlp: MLP
    observation_shape: tuple[int, ...] = eqx.field(static=True)
    action_size: int = eqx.field(static=True)

    def __init__(
        self,
        observation_shape: tuple[int, ...],
        action_size: int,
        hidden: Sequence[int],
        *,
        encoder: Encoder | None = None,
        key: PRNGKeyArray,
    ):
        self.encoder = encoder or encoder_of(observation_shape, key)
        self.mlp = MLP(self.encoder.size + action_size, hidden, action_size, key=key)
        self.observation_shape = observation_shape
        self.action_size = action_size

    def given(self, observation: Observation) -> Callable[[Noise], Action]:
        """The action as a function of the noise alone."""
        features = self.encoder(observation)
        return lambda noise: self.mlp(jnp.concatenate([features, noise]))


class MeanActor(eqx.Module):
    """mu(observation): a deterministic actor; through tanh if `squash`."""

    encoder: Encoder
    mlp: MLP
    observation_shape: tuple[int, ...] = eqx.field(static=True)
    action_size: int = eqx.field(static=True)
    squash: bool = eqx.field(static=True)

    def __init__(
        self,
        observation_shape: tuple[int, ...],
        action_size: int,
        hidden: Sequence[int],
        *,
        squash: bool = False,
        style: Style = PLAIN,
        encoder: Encoder | None = None,
        key: PRNGKeyArray,
    ):
        self.encoder = encoder or encoder_of(observation_shape, key)
        self.mlp = MLP(self.encoder.size, hidden, action_size, style=style, key=key)
        self.observation_shape = observation_shape
        self.action_size = action_size
        self.squash = squash

    def __call__(self, observation: Observation) -> Action:
        mean = self.mlp(self.encoder(observation))
        return jnp.tanh(mean) if self.squash else mean

    def given(self, observation: Observation) -> Callable[[Noise], Action]:
        """The action as a function of noise, as policies ask for it: the same for each noise."""
        action = self(observation)
        return lambda noise: action
