"""Actors: from an observation, and noise, to an action in one evaluation.

This module does not know what they are trained towards.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from guidedflow.networks.encoders import Encoder
from guidedflow.networks.mlp import PLAIN, Style
from guidedflow.networks.observing import ObservingMLP
from guidedflow.packing import Shape
from guidedflow.types import Action, Noise, Observation


@runtime_checkable
class Actor(Protocol):
    """What an actor policy asks: a network, or several in a row."""

    @property
    def observation_shape(self) -> Shape: ...
    @property
    def action_size(self) -> int: ...
    @property
    def deterministic(self) -> bool:
        """Whether the action is the same for each noise."""
        ...

    def given(self, observation: Observation) -> Callable[[Noise], Action]:
        """The action as a function of the noise alone."""
        ...


class OneStepActor(ObservingMLP):
    """mu(observation, z): from noise to an action in one evaluation; unbounded: callers decide where to clip."""

    def __init__(
        self,
        observation_shape: Shape,
        action_size: int,
        hidden: Sequence[int],
        *,
        encoder: Encoder | None = None,
        key: PRNGKeyArray,
    ):
        super().__init__(
            observation_shape, action_size, hidden, beside=action_size, outputs=action_size, encoder=encoder, key=key
        )

    @property
    def deterministic(self) -> bool:
        """False: the noise becomes the action."""
        return False

    def given(self, observation: Observation) -> Callable[[Noise], Action]:
        """The action as a function of the noise alone."""
        features = self.encoder(observation)
        return lambda noise: self.mlp(jnp.concatenate([features, noise]))


class MeanActor(ObservingMLP):
    """mu(observation): a deterministic actor; through tanh if `squash`."""

    squash: bool = eqx.field(static=True)

    def __init__(
        self,
        observation_shape: Shape,
        action_size: int,
        hidden: Sequence[int],
        *,
        squash: bool = False,
        style: Style = PLAIN,
        encoder: Encoder | None = None,
        key: PRNGKeyArray,
    ):
        super().__init__(
            observation_shape, action_size, hidden, beside=0, outputs=action_size,
            style=style, encoder=encoder, key=key,
        )  # fmt: skip
        self.squash = squash

    @property
    def deterministic(self) -> bool:
        """True: the noise is ignored."""
        return True

    def __call__(self, observation: Observation) -> Action:
        mean = self.mlp(self.encoder(observation))
        return jnp.tanh(mean) if self.squash else mean

    def given(self, observation: Observation) -> Callable[[Noise], Action]:
        """The action as a function of noise, as policies ask for it: the same for each noise."""
        action = self(observation)
        return lambda noise: action


@runtime_checkable
class Decoder(Protocol):
    """What turns a latent into an action at an observation."""

    @property
    def action_size(self) -> int: ...

    def given(self, observation: Observation) -> Callable[[Noise], Action]:
        """The action as a function of the latent alone."""
        ...


class Decoded(eqx.Module):
    """decoder(observation, bound(actor(observation, noise))): an actor of latents in front of a decoder.

    `bound` maps the actor's output to where latents lie; it is a pytree, such as `jax.tree_util.Partial(jnp.tanh)`.
    """

    actor: Actor
    decoder: Decoder
    bound: Callable[[Noise], Noise]

    @property
    def observation_shape(self) -> Shape:
        return self.actor.observation_shape

    @property
    def action_size(self) -> int:
        return self.decoder.action_size

    @property
    def deterministic(self) -> bool:
        """As the actor of latents is."""
        return self.actor.deterministic

    def given(self, observation: Observation) -> Callable[[Noise], Action]:
        """The decoded action as a function of the noise alone."""
        latent, decode = self.actor.given(observation), self.decoder.given(observation)
        return lambda noise: decode(self.bound(latent(noise)))
