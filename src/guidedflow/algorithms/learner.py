"""A network and its optimiser: the one place where gradients are taken."""

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int

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

    def unless(self, frozen: Bool[Array, ""], before: "Learner[Network]") -> "Learner[Network]":
        """The learner, or the one of `before` where `frozen`."""
        return jax.tree.map(lambda new, old: jnp.where(frozen, old, new), self, before)

    def step_every(
        self,
        interval: int,
        updates: Int[Array, ""],
        optimizer: optax.GradientTransformation,
        gradient: Callable[[], tuple[Network, Metrics]],
        *,
        coasting: bool = False,
    ) -> tuple["Learner[Network]", Metrics]:
        """One step along `gradient()` in every `interval`-th update, `updates` of which were made before.

        In the other updates `gradient` is not computed and nothing moves (TD3, arXiv 1802.09477). If `coasting`, the
        optimiser sees a gradient of zero instead: its moments decay and move the network, as in one optimiser of
        several networks. Metrics are scaled such that their mean over updates is the mean over the steps taken.
        """
        due = updates % interval == 0
        shapes = jax.eval_shape(gradient)
        direction, metrics = jax.lax.cond(
            due, gradient, lambda: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        )
        after = self.descend(optimizer, direction)
        if not coasting:
            after = after.unless(~due, self)
        return after, {name: metric * interval for name, metric in metrics.items()}


def clip_together(limit: float | Scalar, *gradients: Any) -> tuple[Any, ...]:
    """Gradients of several networks, scaled by one factor where their joint norm exceeds `limit`."""
    clipped, _ = optax.clip_by_global_norm(limit).update(gradients, optax.EmptyState())
    return tuple(clipped)


def finite_or_zero(gradients: tuple[Any, ...]) -> tuple[Any, ...]:
    """The gradients, or zeros for all of them where one number is not finite."""
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(gradients)]))
    return jax.tree.map(lambda leaf: jnp.where(finite, leaf, 0.0), gradients)


def polyak(target: Network, online: Network, tau: float | Scalar) -> Network:
    """tau online + (1 - tau) target, leaf by leaf."""
    return jax.tree.map(lambda target, online: tau * online + (1 - tau) * target, target, online)
