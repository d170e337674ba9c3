"""Policies whose action is improved in closed form before it is taken.

The density to stay in is the policy's own, where it has one: a Gaussian or a mixture. Of a flow it is a Gaussian around
the generated action, with the deviation of other actions that the flow generates there; of a deterministic actor one of
unit deviation around its action, before tanh. This module does not know how an action is improved.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from guidedflow.errors import InputError
from guidedflow.flows.densities import Mixture
from guidedflow.flows.improvement import CFPI, around
from guidedflow.policies.density import DensityPolicy, density
from guidedflow.policies.kinds import ActorPolicy, FlowPolicy
from guidedflow.policies.policy import Policy, no_critic
from guidedflow.policies.rescaled import Rescaled
from guidedflow.policies.wrapping import Wrapping
from guidedflow.types import Action, Observation, Scalar, Time

SPREAD = 16
"""Actions of a flow that its local deviation is measured from."""


class Improved(Wrapping):
    """Another policy's action, improved by the critic within a budget."""

    inner: Policy
    improvement: CFPI

    def __init__(self, inner: Policy, improvement: CFPI):
        self.inner, self.improvement = inner, improvement

    @property
    def noise_shape(self) -> tuple[int, int]:
        rows, numbers = self.inner.noise_shape
        return rows * (1 + SPREAD if isinstance(self.inner, FlowPolicy) else 1), numbers

    def act_from(self, observation: Observation, noise: Float[Array, "candidates numbers"]) -> Action:
        if self.critic is None:
            raise no_critic()
        values = self.critic.given(observation)

        def value(action: Action, t: Time) -> Scalar:
            return self.aggregate(values(action, t))

        return self.improvement(self._density(observation, noise), value)

    def _density(self, observation: Observation, noise: Float[Array, "candidates numbers"]) -> Mixture:
        if isinstance(self.inner, DensityPolicy):
            return density(self.inner.network, observation)
        each = noise.reshape(-1, *self.inner.noise_shape)
        actions = jax.vmap(lambda noise: self.inner.act_from(observation, noise))(each)
        return around(actions[0], None if isinstance(self.inner, ActorPolicy) else jnp.std(actions[1:], axis=0))

    def columns(self) -> dict[str, Any]:
        budgets = " ".join(f"{budget:g}" for budget in self.improvement.budgets)
        return self.inner.columns() | {"improvement": f"cfpi {budgets}"}


def improved(policy: Policy, improvement: CFPI) -> Policy:
    """The policy, improved; `InputError` for one without a density, and for one without a critic."""
    if isinstance(policy, Rescaled):
        return Rescaled(improved(policy.inner, improvement), policy.scale, policy.observations)
    deterministic = isinstance(policy, ActorPolicy) and policy.actor.deterministic
    if not (isinstance(policy, DensityPolicy | FlowPolicy) or deterministic):
        raise InputError(
            "Closed-form improvement needs a policy with a density: a Gaussian or a mixture (guidedflow train bc "
            f"--components 4), a flow, or a deterministic actor; but this is a {type(policy).__name__}."
        )
    if policy.critic is None:
        raise no_critic()
    return Improved(policy, improvement)
