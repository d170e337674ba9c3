"""Cloning data: the loss that every method with a behaviour-cloned flow shares and its noise, and that of a Gaussian.

    flow        | v(s, (1 - t) x0 + t a, t) - (a - x0) |^2 / d,   x0 ~ N(0, I)
    Gaussian    -log pi(a | s), or | a~ - a |^2 of an action a~ ~ pi

This module does not know who clones, nor what else is learned.
"""

import enum
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.algorithms.parts.losses import flow_matching_error
from guidedflow.networks import Field
from guidedflow.networks.gaussians import GaussianActor
from guidedflow.policies.density import density
from guidedflow.settings import Choice
from guidedflow.types import Action, Metrics, Observation, Scalar, Transition


def uniform_times(key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "*batch"]:
    """t ~ U[0, 1)."""
    return jax.random.uniform(key, shape)


def grid_times(key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "*batch"]:
    """t in {0, 0.1, ..., 1}: what the release of QGF trains at, where its paper writes U[0, 1]."""
    return jax.random.randint(key, shape, 0, 11).astype(jnp.float32) / 10


class Times(Choice):
    """Which times of the path a flow is trained at."""

    uniform = enum.member(uniform_times)
    grid = enum.member(grid_times)


class Noise(NamedTuple):
    """Every random number of a cloning step; rows are transitions."""

    flow_source: Float[Array, "*batch action"]
    """x0, where the path starts."""
    flow_time: Float[Array, "*batch"]
    """t in [0, 1]."""


@runtime_checkable
class PathNoise(Protocol):
    """The noise of one transition, or of an update that draws more than this."""

    @property
    def flow_source(self) -> Float[Array, " action"]: ...
    @property
    def flow_time(self) -> Scalar: ...


def draw(batch: Transition, key: PRNGKeyArray, times: Times = Times.uniform) -> Noise:
    """The noise of an update on `batch`."""
    source, time = jax.random.split(key)
    return Noise(jax.random.normal(source, batch.action.shape), times(time, batch.reward.shape))


def flow_loss(flow: Field, data: Transition, noise: PathNoise) -> tuple[Scalar, Metrics]:
    """The flow-matching error of one transition (arXiv 2210.02747)."""
    velocity = flow.given(data.observation)
    error = flow_matching_error(velocity, noise.flow_source, data.action, noise.flow_time)
    return error, {"flow_loss": error}


def likelihood_loss(actor: GaussianActor, data: Transition) -> tuple[Scalar, Metrics]:
    """The negative log-likelihood of one transition's action."""
    log_likelihood = density(actor, data.observation).log_density(data.action)
    return -log_likelihood, {"log_likelihood": log_likelihood}


def drawn_error(actor: GaussianActor, data: Transition, noise: Action) -> tuple[Scalar, Metrics]:
    """The squared error of an action that a Gaussian draws, a sum over dimensions: an option of COIL's code.

    Its deviation is learned too, towards 0 (arXiv 2111.02056; apexrl/COIL, ef458de).
    """
    drawn, _ = density(actor, data.observation).draw(noise)
    error = jnp.sum(jnp.square(drawn - data.action))
    return error, {"squared_error": error}


def head_size(actor: GaussianActor, observation: Observation) -> Scalar:
    """Mean squares of means before tanh and of deviations' logarithms, added: what COIL's L2 option penalises."""
    heads = actor(observation)
    return jnp.mean(jnp.square(heads.means)) + jnp.mean(jnp.square(heads.log_deviations))
