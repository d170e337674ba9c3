"""Ingredients of a critic: how many members it has, and how their values become one, for each use apart.

    target    in what the critic, or the state's value, is trained towards
    actor     in the loss of what acts
    acting    where the policy chooses among candidates, is guided or is refined

This module does not know which algorithm a critic belongs to: it is handed the algorithm's published choice.
"""

import math
from collections.abc import Callable
from typing import TypeVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from guidedflow.networks import Aggregate, Combine, LowerBound
from guidedflow.settings import check_settings, hyperparameters
from guidedflow.types import Scalar

Members = Float[Array, " members"]
Rule = TypeVar("Rule", bound=Callable[[Members], Scalar])


@hyperparameters
class Ensemble:
    """Members of a critic, and how their values become one. A use that is left at None is the algorithm's own."""

    members: int = 2
    """Members of the critic; many releases of 2026 take 10."""
    target_aggregate: Aggregate | None = None
    """How the members' values become one in the critic's target."""
    acting_aggregate: Aggregate | None = None
    """How they become one where an action is chosen, guided or refined."""
    actor_aggregate: Aggregate | None = None
    """How they become one in the loss of what acts."""
    rho: float = 1.0
    """Of `pessimistic`: standard deviations subtracted from the mean; 0 is the mean, 1 the minimum of two members."""
    own_targets: bool = False
    """Each member learns from its own target, instead of all from one combined value."""
    ceiling: float | None = None
    """Largest value in the target; R2PVI (arXiv 2411.18612): the smallest possible value plus lambda."""

    def __post_init__(self) -> None:
        check_settings(self, members=(1, 100), rho=(0, math.inf))

    def target(self, published: Callable[[Members], Scalar]) -> Callable[[Members], Scalar | Members]:
        """The members' values -> what the critic is trained towards: one value for all members, or each its own."""
        rule = _each if self.own_targets else self._combine(self.target_aggregate or published)
        ceiling = self.ceiling
        return rule if ceiling is None else lambda values: jnp.minimum(rule(values), ceiling)

    def acting(self, published: Aggregate) -> Combine:
        """The members' values -> the one that a policy acts by."""
        return self._combine(self.acting_aggregate or published)

    def actor(self, published: Callable[[Members], Scalar]) -> Callable[[Members], Scalar]:
        """The members' values -> the one in the loss of what acts."""
        return self._combine(self.actor_aggregate or published)

    def _combine(self, rule: Rule) -> Rule | LowerBound:
        return LowerBound(self.rho) if rule is Aggregate.pessimistic else rule


def first(values: Members) -> Scalar:
    """The value of the first member, which alone the actors of TD3, A2PO and LAPO climb."""
    return values[0]


def _each(values: Members) -> Members:
    return values
