"""A policy that acts in the units of its data."""

from typing import Any

import equinox as eqx
from jaxtyping import PRNGKeyArray

from guidedflow.flows.sampling import Sampler
from guidedflow.networks import Combine, Critic, NoisyCritic
from guidedflow.normalization import ActionScale
from guidedflow.policies.policy import Policy
from guidedflow.types import Action, Observation


class Rescaled(Policy):
    """Acts in the units of its data: another policy's action, taken out of the box."""

    inner: Policy
    scale: ActionScale = eqx.field(static=True)

    def __init__(self, inner: Policy, scale: ActionScale):
        self.inner, self.scale = inner, scale

    @property  # type: ignore[misc]
    def sampler(self) -> Sampler:  # type: ignore[override]
        return self.inner.sampler

    @property  # type: ignore[misc]
    def critic(self) -> Critic | NoisyCritic | None:  # type: ignore[override]
        return self.inner.critic

    @property  # type: ignore[misc]
    def aggregate(self) -> Combine:  # type: ignore[override]
        return self.inner.aggregate

    @property
    def observation_shape(self) -> tuple[int, ...]:
        return self.inner.observation_shape

    @property
    def action_size(self) -> int:
        return self.inner.action_size

    def act(self, observation: Observation, key: PRNGKeyArray) -> Action:
        return self.scale.from_box(self.inner.act(observation, key))

    def with_sampler(self, sampler: Sampler) -> "Policy":
        return Rescaled(self.inner.with_sampler(sampler), self.scale)

    def with_critic(self, critic: Critic | NoisyCritic, aggregate: Combine) -> "Policy":
        return Rescaled(self.inner.with_critic(critic, aggregate), self.scale)

    def columns(self) -> dict[str, Any]:
        return self.inner.columns()


def in_units(policy: Policy, scale: ActionScale | None) -> Policy:
    """The policy in the units of its data, if these are not those of the box, and it is not in them already."""
    return policy if scale is None or isinstance(policy, Rescaled) else Rescaled(policy, scale)
