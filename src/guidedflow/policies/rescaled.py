"""A policy that acts in the units of its data."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Float

from guidedflow.flows.sampling import Sampler
from guidedflow.networks import Combine, Critic, NoisyCritic
from guidedflow.normalization import ActionScale, ObservationScale
from guidedflow.packing import Shape
from guidedflow.parts import on_device
from guidedflow.policies.policy import Policy
from guidedflow.types import Action, Observation


class Rescaled(Policy):
    """Acts in the units of its data: another policy at the normalised observation, its action taken out of the box."""

    inner: Policy
    scale: ActionScale | None = eqx.field(static=True)
    observations: ObservationScale | None = eqx.field(static=True)

    def __init__(self, inner: Policy, scale: ActionScale | None, observations: ObservationScale | None = None):
        self.inner, self.scale, self.observations = inner, scale, observations

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

    @property
    def noise_shape(self) -> tuple[int, int]:
        return self.inner.noise_shape

    def act_from(self, observation: Observation, noise: Float[Array, "candidates numbers"]) -> Action:
        seen = observation if self.observations is None else self.observations(on_device(observation))
        action = self.inner.act_from(seen, noise)
        return action if self.scale is None else self.scale.from_box(action)

    def with_sampler(self, sampler: Sampler) -> "Policy":
        return Rescaled(self.inner.with_sampler(sampler), self.scale, self.observations)

    def with_critic(self, critic: Critic | NoisyCritic, aggregate: Combine) -> "Policy":
        return Rescaled(self.inner.with_critic(critic, aggregate), self.scale, self.observations)

    def bound(self, target: Action, binding: Action) -> "Policy":
        boxed = target if self.scale is None else self.scale.into_box(target)
        return Rescaled(self.inner.bound(boxed, binding), self.scale, self.observations)

    def columns(self) -> dict[str, Any]:
        return self.inner.columns()


def in_units(policy: Policy, scale: ActionScale | None, observations: ObservationScale | None = None) -> Policy:
    """The policy in the units of its data, where these are not its own, and it is not in them already."""
    if (scale is None and observations is None) or isinstance(policy, Rescaled):
        return policy
    return Rescaled(policy, scale, observations)
