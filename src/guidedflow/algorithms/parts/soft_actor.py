"""A tanh-Gaussian actor, the temperature of its entropy, and its critic: what soft actor-critics are made of.

    alpha    -log alpha (log pi(a~ | s) - d),   a~ from pi: alpha grows until the entropy is -d (arXiv 1812.05905)

This module does not know what actor and critic learn.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PRNGKeyArray

from guidedflow.algorithms.learner import Learner, Loss, polyak
from guidedflow.algorithms.parts.ensemble import Ensemble, Members
from guidedflow.flows import hmc
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import Combine, Critic, Style
from guidedflow.networks.gaussians import Deviation, GaussianActor
from guidedflow.policies.density import DensityPolicy, density
from guidedflow.policies.policy import Policy
from guidedflow.types import Action, Metrics, Scalar, Transition


class State(NamedTuple):
    """Networks and optimiser states of a soft actor-critic."""

    actor: Learner[GaussianActor]
    log_alpha: Learner[Array]
    critic: Learner[Critic]
    target_critic: Critic


class Optimizers(NamedTuple):
    """How the networks are trained, one state each."""

    actor: optax.GradientTransformation
    """Of actor and temperature."""
    critic: optax.GradientTransformation


def init(
    example: Transition,
    hidden: tuple[int, ...],
    style: Style,
    optimizers: Optimizers,
    ensemble: Ensemble,
    key: PRNGKeyArray,
) -> State:
    """The state before the first update; `style` is the critic's, and the temperature begins at 1."""
    shape, size = example.observation.shape, example.action.size
    actor_key, critic_key = jax.random.split(key)
    actor = GaussianActor(shape, size, hidden, deviation=Deviation(), key=actor_key)
    critic = Critic(shape, size, hidden, size=ensemble.members, style=style, key=critic_key)
    return State(
        actor=Learner.init(actor, optimizers.actor),
        log_alpha=Learner.init(jnp.zeros(()), optimizers.actor),
        critic=Learner.init(critic, optimizers.critic),
        target_critic=critic,
    )


def temperature_loss(actor: GaussianActor) -> Callable[..., tuple[Scalar, Metrics]]:
    """The loss of the temperature's logarithm, at an action that `actor` draws from the given noise."""

    def alpha_loss(log_alpha: Array, data: Transition, noise: Array) -> tuple[Scalar, Metrics]:
        log_density = density(actor, data.observation).draw(noise)[1]
        loss = -log_alpha * (log_density - data.action.size)
        return loss, {"alpha": jnp.exp(log_alpha)}

    return alpha_loss


@runtime_checkable
class ActionNoise(Protocol):
    """The noise of an update, of which this module knows one part."""

    @property
    def action(self) -> Float[Array, "*batch action"]:
        """Of the action a~."""
        ...


class Losses(NamedTuple):
    """What actor and critic learn, each a function of its network, a transition and the noise of an update."""

    actor: Loss
    critic: Loss


def step(
    state: State,
    optimizers: Optimizers,
    losses: Losses,
    batch: Transition,
    noise: ActionNoise,
    tau: float | Scalar,
) -> tuple[State, Metrics]:
    """One update, all gradients at the parameters of before it; the target critic follows the critic of *after* it."""
    acting, alpha_loss = batch.acting, temperature_loss(state.actor.network)
    critic, critic_metrics = state.critic.step(optimizers.critic, losses.critic, batch, noise)
    actor, actor_metrics = state.actor.step(optimizers.actor, losses.actor, acting, noise)
    log_alpha, alpha_metrics = state.log_alpha.step(optimizers.actor, alpha_loss, acting, noise.action)
    after = State(actor, log_alpha, critic, polyak(state.target_critic, critic.network, tau))
    return after, {**critic_metrics, **actor_metrics, **alpha_metrics}


def chains(
    state: State,
    combine: Callable[[Members], Scalar],
    batch: Transition,
    keys: Key[Array, " batch"],
    samples: int,
    step_size: float | Scalar,
) -> Float[Array, "batch samples action"]:
    """Actions of the density proportional to pi(. | s) exp(q(s, .)), from the data's action on, a row each transition.

    By Hamiltonian Monte Carlo; `combine` makes q of the critic's members.
    """

    def chain(data: Transition, key: PRNGKeyArray) -> Float[Array, "samples action"]:
        pi, values = density(state.actor.network, data.observation), state.critic.network.given(data.observation)

        def log_density(action: Action) -> Scalar:
            return pi.log_density(action) + combine(values(action))

        return hmc.chain(log_density, data.action, key, samples=samples, step_size=step_size)

    return jax.vmap(chain)(batch, keys)


def policies(state: State, combine: Combine) -> dict[str, Policy]:
    """The actor, with the target critic to choose and refine by."""
    actor = DensityPolicy(network=state.actor.network, critic=state.target_critic, aggregate=combine, sampler=Sampler())
    return {"actor": actor}
