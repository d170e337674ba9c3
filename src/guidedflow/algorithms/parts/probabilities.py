"""Values that are probabilities, held as logits: how a logit is trained towards a probability, or the upper ones.

This module does not know what the probabilities are of, nor which network holds the logits.
"""

import enum

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from guidedflow.settings import Choice
from guidedflow.types import Scalar

Numbers = Float[Array, "..."]


def cross_entropy(logit: Numbers, probability: Numbers) -> Numbers:
    """-p log sigma(logit) - (1 - p) log(1 - sigma(logit)); the minimum of its asymmetric mean is an expectile."""
    return optax.sigmoid_binary_cross_entropy(logit, probability)


def logit_distance(logit: Numbers, probability: Numbers) -> Numbers:
    """|logit - logit p|, p kept 1e-5 from 0 and 1; the minimum of its asymmetric mean is a quantile."""
    return jnp.abs(logit - jax.scipy.special.logit(jnp.clip(probability, 1e-5, 1 - 1e-5)))


def reached(reward: Scalar, discount: Scalar, logit: Scalar) -> Scalar:
    """clip(r + discount sigma(logit), 0, 1): the probability that a goal is reached, one transition later known."""
    return jnp.clip(reward + discount * jax.nn.sigmoid(logit), 0, 1)


class Regression(Choice):
    """How a logit follows the upper part of the probabilities that it is trained towards."""

    expectile = enum.member(cross_entropy)
    quantile = enum.member(logit_distance)


def upper(regression: Regression, logit: Numbers, probability: Numbers, level: float | Scalar) -> Scalar:
    """The mean of w `regression`(logit, p) over members, w = level where p >= sigma(logit), else 1 - level."""
    weight = jnp.where(probability >= jax.nn.sigmoid(logit), level, 1 - level)
    return jnp.mean(weight * regression(logit, probability))
