"""A policy that acts in the units of its data."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Float

from guidedflow.normalization import ActionScale, ObservationScale
from guidedflow.parts import on_device
from guidedflow.policies.policy import Policy
from guidedflow.policies.wrapping import Wrapping
from guidedflow.types import Action, Observation


class Rescaled(Wrapping):
    """Acts in the units of its data: another policy at the normalised observation, its action taken out of the box."""

    inner: Policy
    scale: ActionScale | None = eqx.field(static=True)
    observations: ObservationScale | None = eqx.field(static=True)

    def __init__(self, inner: Policy, scale: ActionScale | None, observations: ObservationScale | None = None):
        self.inner, self.scale, self.observations = inner, scale, observations

    @property
    def noise_shape(self) -> tuple[int, int]:
        return self.inner.noise_shape

    def act_from(self, observation: Observation, noise: Float[Array, "candidates numbers"]) -> Action:
        seen = observation if self.observations is None else self.observations(on_device(observation))
        action = self.inner.act_from(seen, noise)
        return action if self.scale is None else self.scale.from_box(action)

    def bound(self, target: Action, binding: Action) -> "Policy":
        boxed = target if self.scale is None else self.scale.into_box(target)
        return self.around(self.inner.bound(boxed, binding))

    def columns(self) -> dict[str, Any]:
        return self.inner.columns()


def in_units(policy: Policy, scale: ActionScale | None, observations: ObservationScale | None = None) -> Policy:
    """The policy in the units of its data, where these are not its own, and it is not in them already."""
    if (scale is None and observations is None) or isinstance(policy, Rescaled):
        return policy
    return Rescaled(policy, scale, observations)
