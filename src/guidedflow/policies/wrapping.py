"""Policies around another policy: what they say of the inner one.

This module does not know what a policy around another one does to observations or actions.
"""

import dataclasses

import equinox as eqx

from guidedflow.flows.sampling import Sampler
from guidedflow.networks import Combine, Critic, NoisyCritic
from guidedflow.packing import Shape
from guidedflow.policies.policy import Policy


class Wrapping(Policy):
    """Abstract: sampler, critic and sizes are those of the inner policy."""

    inner: eqx.AbstractVar[Policy]

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
    def observation_shape(self) -> Shape:
        return self.inner.observation_shape

    @property
    def action_size(self) -> int:
        return self.inner.action_size

    def around(self, inner: Policy) -> Policy:
        """What this policy does, around another inner one."""
        return dataclasses.replace(self, inner=inner)

    def with_sampler(self, sampler: Sampler) -> Policy:
        return self.around(self.inner.with_sampler(sampler))

    def with_critic(self, critic: Critic | NoisyCritic, aggregate: Combine) -> Policy:
        return self.around(self.inner.with_critic(critic, aggregate))
