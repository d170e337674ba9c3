"""The kinds of policies: a flow that is integrated, a diffusion that is denoised, an actor that is asked once."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float

from guidedflow.errors import InputError
from guidedflow.flows.diffusion import Schedule, denoise
from guidedflow.flows.guidance import Unguided, layers
from guidedflow.flows.jacobians import DistilledGradient, DistilledJacobianGradient, Jumping, no_jump
from guidedflow.flows.realtime import RealTime
from guidedflow.flows.sampling import Sampler
from guidedflow.flows.sources import Source, gaussian
from guidedflow.networks import Actor, Combine, Critic, Extrapolation, Field, NoiseField, NoisyCritic, OneStepActor
from guidedflow.packing import Shape
from guidedflow.policies.policy import Policy, value_of
from guidedflow.types import Action, Observation, Velocity


class FlowPolicy(Policy):
    """Integrates a velocity field, guided by a critic where the sampler asks for it."""

    flow: Field
    critic: Critic | NoisyCritic | None
    aggregate: Combine
    sampler: Sampler
    source: Source = eqx.field(static=True, default=gaussian)
    jump: OneStepActor | None = None
    """Learned one-step map from noise to the end of the flow, for distilled guidance."""

    @property
    def observation_shape(self) -> Shape:
        return self.flow.observation_shape

    @property
    def action_size(self) -> int:
        return self.flow.action_size

    @property
    def noise_shape(self) -> tuple[int, int]:
        return self.sampler.candidates, self.action_size + self.source.extra

    def act_from(self, observation: Observation, noise: Float[Array, "candidates numbers"]) -> Action:
        velocity: Velocity = self.flow.given(observation)
        if self.jump is not None and _jumps(self.sampler):
            velocity = Jumping(velocity, self.jump.given(observation))
        return self.sampler(velocity, value_of(self, observation), self.source(noise))

    def bound(self, target: Action, binding: Action) -> "FlowPolicy":
        guidance = RealTime(target, binding, self.sampler.guidance)
        return dataclasses.replace(self, sampler=dataclasses.replace(self.sampler, guidance=guidance))

    def _refuse(self, sampler: Sampler) -> None:
        if self.jump is None and _jumps(sampler):
            raise no_jump()

    def conditioned(self, weight: float) -> "FlowPolicy":
        """The same policy with its condition weighted so; a flow that was trained without one is an `InputError`."""
        if not isinstance(self.flow, Extrapolation):
            raise InputError("This flow has no condition to weigh; train one by `guidedflow train cfgrl`.")
        return dataclasses.replace(self, flow=Extrapolation(self.flow.field, weight))

    @property
    def condition_weight(self) -> float:
        """The weight of its condition; a flow that was trained without one is an `InputError`."""
        if not isinstance(self.flow, Extrapolation):
            raise InputError("This flow has no condition to weigh; train one by `guidedflow train cfgrl`.")
        return float(self.flow.weight)

    def columns(self) -> dict[str, Any]:
        columns = super().columns()
        if not isinstance(self.flow, Extrapolation):
            return columns
        weighed = {"guidance": "conditional", "weight": self.condition_weight} if columns["guidance"] == "none" else {}
        return columns | weighed | {"condition": self.condition_weight}


class DiffusionPolicy(Policy):
    """Denoises noise by a diffusion model; its proposals can be refined and chosen from, but not guided."""

    field: NoiseField
    schedule: Schedule
    critic: Critic | NoisyCritic | None
    aggregate: Combine
    sampler: Sampler

    @property
    def observation_shape(self) -> Shape:
        return self.field.observation_shape

    @property
    def action_size(self) -> int:
        return self.field.action_size

    @property
    def noise_shape(self) -> tuple[int, int]:
        return self.sampler.candidates, self.schedule.steps * self.action_size

    def act_from(self, observation: Observation, noise: Float[Array, "candidates numbers"]) -> Action:
        steps = self.schedule.steps
        predict = self.field.given(observation)

        def propose(noise: Float[Array, " numbers"]) -> jax.Array:
            return denoise(predict, self.schedule, noise.reshape(steps, self.action_size))

        return self.sampler.choose(propose, value_of(self, observation), noise)

    def columns(self) -> dict[str, Any]:
        return super().columns() | {"guidance": None, "flow_steps": self.schedule.steps}

    def _refuse(self, sampler: Sampler) -> None:
        if not isinstance(sampler.guidance, Unguided):
            raise InputError("A diffusion policy is no flow to guide; ask for candidates or refinement.")


class ActorPolicy(Policy):
    """Asks a one-step actor, which is no flow: its proposals can be refined and chosen from, but not guided."""

    actor: Actor
    critic: Critic | NoisyCritic | None
    aggregate: Combine
    sampler: Sampler
    source: Source = eqx.field(static=True, default=gaussian)

    @property
    def observation_shape(self) -> Shape:
        return self.actor.observation_shape

    @property
    def action_size(self) -> int:
        return self.actor.action_size

    @property
    def noise_shape(self) -> tuple[int, int]:
        return self.sampler.candidates, self.action_size + self.source.extra

    def act_from(self, observation: Observation, noise: Float[Array, "candidates numbers"]) -> Action:
        return self.sampler.choose(self.actor.given(observation), value_of(self, observation), self.source(noise))

    def columns(self) -> dict[str, Any]:
        return super().columns() | {"guidance": None, "flow_steps": None}

    def _refuse(self, sampler: Sampler) -> None:
        if not isinstance(sampler.guidance, Unguided):
            raise InputError(
                "A one-step actor has no flow to guide; ask for refinement, or for a policy of the run that is a flow."
            )
        if self.actor.deterministic and sampler.candidates > 1:
            raise InputError("A deterministic actor has one proposal only, so there are no candidates to choose among.")


def _jumps(sampler: Sampler) -> bool:
    return isinstance(layers(sampler.guidance)[-1], DistilledGradient | DistilledJacobianGradient)
