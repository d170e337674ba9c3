"""A conditional variational autoencoder of actions, and the actor that chooses its latent.

Both see the observation and, where there is one, a condition of a few numbers behind it. This module does not know what
they are trained towards.
"""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.networks.encoders import Encoder
from guidedflow.networks.mlp import MLP, RELU, Style
from guidedflow.networks.observing import Observing, ObservingMLP
from guidedflow.packing import Shape
from guidedflow.types import Action, Observation, Scalar

NOTHING: Float[np.ndarray, "0"] = np.zeros(0, np.float32)
"""No condition; an array of NumPy's, since JAX would take a device when this module is imported."""

Condition = Float[Array | np.ndarray, " condition"]
Latent = Float[Array, " latent"]


class ConditionalVAE(Observing):
    """q(z | s, c, a) and a = decoder(s, c, z): the recognition network has two heads of the latent's size.

    What the second head means (a logarithm of deviation or of variance) is up to the caller.
    """

    recognition: MLP
    decoder: MLP
    latent_size: int = eqx.field(static=True)
    squash: bool = eqx.field(static=True)

    def __init__(
        self,
        observation_shape: Shape,
        action_size: int,
        hidden: Sequence[int],
        *,
        latent_size: int,
        condition_size: int = 0,
        squash: bool = False,
        style: Style = RELU,
        encoder: Encoder | None = None,
        key: PRNGKeyArray,
    ):
        super().__init__(observation_shape, action_size, encoder=encoder, key=key)
        seen = self.encoder.size + condition_size
        recognition_key, decoder_key = jax.random.split(key)
        self.recognition = MLP(seen + action_size, hidden, 2 * latent_size, style=style, key=recognition_key)
        self.decoder = MLP(seen + latent_size, hidden, action_size, style=style, key=decoder_key)
        self.latent_size = latent_size
        self.squash = squash

    def recognise(
        self, observation: Observation, action: Action, condition: Condition = NOTHING
    ) -> tuple[Latent, Latent]:
        """The two heads of the latent's distribution: its mean, and the logarithm of its spread."""
        heads = self.recognition(jnp.concatenate([self.encoder(observation), condition, action]))
        return heads[: self.latent_size], heads[self.latent_size :]

    def given(self, observation: Observation, condition: Condition = NOTHING) -> Callable[[Latent], Action]:
        """The decoded action as a function of the latent alone; through tanh if `squash`."""
        seen = jnp.concatenate([self.encoder(observation), condition])

        def decode(latent: Latent) -> Action:
            action = self.decoder(jnp.concatenate([seen, latent]))
            return jnp.tanh(action) if self.squash else action

        return decode


class LatentActor(ObservingMLP):
    """z = tanh(pi(s, c)): a deterministic actor of latents, which ignores noise; its actions are latents."""

    def __init__(
        self,
        observation_shape: Shape,
        latent_size: int,
        hidden: Sequence[int],
        *,
        condition_size: int = 0,
        style: Style = RELU,
        encoder: Encoder | None = None,
        key: PRNGKeyArray,
    ):
        super().__init__(
            observation_shape, latent_size, hidden, beside=condition_size, outputs=latent_size,
            style=style, encoder=encoder, key=key,
        )  # fmt: skip

    @property
    def deterministic(self) -> bool:
        """True: there is no noise."""
        return True

    def given(self, observation: Observation, condition: Condition = NOTHING) -> Callable[[Array], Latent]:
        """The latent, in [-1, 1], the same for each noise."""
        latent = jnp.tanh(self.mlp(jnp.concatenate([self.encoder(observation), condition])))
        return lambda noise: latent


class Conditioned(eqx.Module):
    """D(s, xi, pi(s, xi)): a deterministic actor under a condition of one number.

    The number is a scalar, shared by all seeds, as settings of a policy are.
    """

    actor: LatentActor
    vae: ConditionalVAE
    condition: float | Scalar

    @property
    def observation_shape(self) -> Shape:
        return self.vae.observation_shape

    @property
    def action_size(self) -> int:
        return self.vae.action_size

    @property
    def deterministic(self) -> bool:
        """True: there is no noise."""
        return True

    def given(self, observation: Observation) -> Callable[[Array], Action]:
        """The action, the same for each noise."""
        condition = jnp.full(1, self.condition, jnp.float32)
        latent = self.actor.given(observation, condition)
        decode = self.vae.given(observation, condition)
        return lambda noise: decode(latent(noise))
