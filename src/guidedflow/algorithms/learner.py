"""A network and its optimiser: the one place where gradients are taken."""

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax

from guidedflow.types import Metrics, Scalar

Network = TypeVar("Network")


Loss = Callable[..., tuple[Scalar, Metrics]]


"""loss(network, *data of one transition) -> its loss, and what is worth reporting."""


class Learner(NamedTuple, Generic[Network]):
    """A network and the state of the optimiser that trains it."""

    network: Network
    optimizer: optax.OptState

    @classmethod
    def init(cls, network: Network, optimizer: optax.GradientTransformation) -> "Learner[Network]":
        """Before the first step."""
        return cls(network, optimizer.init(network))

    def gradient(self, loss: Loss, *data: Any) -> tuple[Network, Metrics]:
        """The gradient of the mean of `loss` over a batch; all that the loss sees but `network` is a constant.

        Every leaf of `data` has a leading batch axis. The metrics of the loss are averaged too.
        """

        def mean_loss(network: Network) -> tuple[Scalar, Metrics]:
            losses, metrics = jax.vmap(loss, in_axes=(None, *[0] * len(data)))(network, *data)
            return jnp.mean(losses), jax.tree.map(jnp.mean, metrics)

        return jax.grad(mean_loss, has_aux=True)(self.network)

    def descend(self, optimizer: optax.GradientTransformation, gradient: Network) -> "Learner[Network]":
        """One step of the optimiser along a gradient."""
        with jax.numpy_dtype_promotion("standard"):  # Adam raises its decay to the power of an integer count
            updates, state = optimizer.update(gradient, self.optimizer, self.network)
        return Learner(optax.apply_updates(self.network, updates), state)

    def step(
        self, optimizer: optax.GradientTransformation, loss: Loss, *data: Any
    ) -> tuple["Learner[Network]", Metrics]:
        """One step down the mean of `loss` over a batch."""
        gradient, metrics = self.gradient(loss, *data)
        return self.descend(optimizer, gradient), metrics


def polyak(target: Network, online: Network, tau: float | Scalar) -> Network:
    """tau online + (1 - tau) target, leaf by leaf."""
    return jax.tree.map(lambda target, online: tau * online + (1 - tau) * target, target, online)
