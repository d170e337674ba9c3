"""How strongly guidance pushes: the length of a gradient, and its weight over the flow's time.

This module does not know how a gradient is made.
"""

import enum

import jax
import jax.numpy as jnp

from guidedflow.settings import Choice
from guidedflow.types import Action, Scalar, Time

EARLIEST = 0.1
"""Time before which `ratio` stays as it is there, 9: the second of ten Euler steps. At t = 0 it would be infinite."""


def scaled(gradient: Action, weight: float | Scalar, normalize: bool) -> Action:
    """weight * gradient, the gradient brought to a root mean square of 1 over dimensions where asked."""
    if normalize:
        gradient = gradient * jax.lax.rsqrt(jnp.mean(jnp.square(gradient)) + 1e-20)
    return weight * gradient


def _constant(t: Time) -> Scalar:
    return jnp.ones_like(t)


def _falling(t: Time) -> Scalar:
    return jnp.asarray(1 - t)


def _ratio(t: Time) -> Scalar:
    held = jnp.maximum(t, EARLIEST)
    return (1 - held) / held


class WeightSchedule(Choice):
    """Factor of the weight at time t; 0 is noise and 1 an action."""

    constant = enum.member(_constant)
    """1."""
    falling = enum.member(_falling)
    """1 - t."""
    ratio = enum.member(_ratio)
    """(1 - t) / t, and 9, its value at t = 0.1, before that time: infinity at t = 0 is avoided so."""
