"""Extraction: how a policy is drawn from values that were learned from actions of the data alone.

    awr       -min(exp(alpha A), 100) log pi(a | s)
    ddpgbc    -Q(s, mu(s)) - alpha log pi(a | s)

This module does not know how the values are learned, nor what Q is divided by.
"""

import enum

import jax.numpy as jnp
from jaxtyping import Array, Float

from guidedflow.settings import Choice
from guidedflow.types import Scalar

LIMIT = 100.0
"""Of a weight of cloning."""


def weight(advantage: Float[Array, "*batch"], alpha: float | Scalar) -> Float[Array, "*batch"]:
    """How much an action counts when it is cloned."""
    return jnp.minimum(jnp.exp(alpha * advantage), LIMIT)


def awr(likelihood: Scalar, advantage: Scalar, climbed: Scalar, alpha: float | Scalar) -> Scalar:
    """Advantage-weighted regression: the data's actions, the better ones more."""
    return -weight(advantage, alpha) * likelihood


def ddpgbc(likelihood: Scalar, advantage: Scalar, climbed: Scalar, alpha: float | Scalar) -> Scalar:
    """Climb the critic, and stay near the data (DDPG+BC)."""
    return -climbed - alpha * likelihood


class Extraction(Choice):
    """How a policy is drawn from the values."""

    awr = enum.member(awr)
    ddpgbc = enum.member(ddpgbc)
