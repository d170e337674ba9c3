"""Samplers: how noise becomes the action that is taken.

    propose    integrate the (guided) flow from each noise, or ask a one-step actor
    refine     climb the value from there
    choose     keep the proposal of largest value

Best-of-N, QFQL, QGF, its Jacobian, BPTT, GradStep (all compared in arXiv 2606.11087) and their combinations are values
of `Sampler`. Velocity and value may come from anywhere: this module does not know what was trained, nor on what.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from guidedflow.errors import InputError
from guidedflow.flows.guidance import Guidance, Scheduled, Unguided, layers, name_of
from guidedflow.flows.path import clip, integrate
from guidedflow.settings import check_settings, hyperparameters
from guidedflow.types import Action, Value, Velocity


@hyperparameters
class GradientAscent:
    """GradStep: `steps` times a <- clip(a + size * grad q(a, 1)), or its sign (arXiv 2606.11087, section 5)."""

    size: float = 0.01
    """Length of a step, in action per value; with `sign`, in action."""
    steps: int = 3
    """Number of steps."""
    sign: bool = False
    """Step by the sign of the gradient, whatever its length."""

    def __post_init__(self) -> None:
        check_settings(self, size=(0, math.inf), steps=(0, math.inf))

    def __call__(self, value: Value, action: Action) -> Action:
        def step(action: Action, _: None) -> tuple[Action, None]:
            gradient = jax.grad(value)(action, 1.0)
            return clip(action + self.size * (jnp.sign(gradient) if self.sign else gradient)), None

        return jax.lax.scan(step, action, None, length=self.steps)[0]


@hyperparameters
class Sampler:
    """From noise to one action in the box [-1, 1]."""

    steps: int = 10
    """Euler steps from noise to action."""
    guidance: Guidance = Unguided()
    """Transform of the velocity field."""
    refinement: GradientAscent | None = None
    """What each proposal goes through after the flow."""
    candidates: int = 1
    """Proposals, of which the one of largest value is taken."""

    def __post_init__(self) -> None:
        check_settings(self, steps=(1, math.inf))
        inner = layers(self.guidance)[-1]
        if getattr(inner, "steps", self.steps) != self.steps:
            raise InputError(
                f"A rollout follows the flow's own steps: give {type(inner).__name__} the {self.steps} of its sampler, "
                f"not {inner.steps}."
            )

    def columns(self) -> dict[str, Any]:
        """How it acts on a flow, as the columns of a row of results; what does not apply is None."""
        inner, refined = layers(self.guidance)[-1], self.refinement
        weight, normalize = (getattr(inner, name, None) for name in ("weight", "normalize"))
        scheduled = next((each for each in layers(self.guidance) if isinstance(each, Scheduled)), None)
        return {
            "guidance": name_of(inner),
            "weight": None if weight is None else float(weight),
            "normalize": normalize,
            "schedule": None if scheduled is None else scheduled.schedule.name,
            "match": None if scheduled is None else scheduled.match,
            "candidates": self.candidates,
            "refine_steps": None if refined is None else refined.steps,
            "refine_size": None if refined is None else float(refined.size),
            "refine_sign": None if refined is None else refined.sign,
            "flow_steps": self.steps,
        }

    @property
    def asks(self) -> bool:
        """Whether it needs a value; if not, no observation is encoded for one."""
        return self.candidates > 1 or self.refinement is not None or getattr(self.guidance, "asks", True)

    def __call__(self, velocity: Velocity, value: Value, noise: Float[Array, "candidates action"]) -> Action:
        """The action of a flow; `noise` has one row a candidate. `value` is not called unless something asks for it."""
        guided = self.guidance(velocity, value)
        return self.choose(lambda noise: integrate(guided, noise, self.steps), value, noise)

    def choose(
        self,
        propose: Callable[[Float[Array, " numbers"]], Action],
        value: Value,
        noise: Float[Array, "candidates numbers"],
    ) -> Action:
        """The best of `propose(noise)`, clipped and refined: also for actors that are not flows.

        Raises `InputError` for noise of other candidates, and for a value that is not one number.
        """
        if noise.ndim != 2 or len(noise) != self.candidates:
            raise InputError(
                f"noise must be a row for each of {self.candidates} candidates, but is of shape {noise.shape}."
            )

        def proposal(noise: Float[Array, " numbers"]) -> Action:
            action = clip(propose(noise))
            return action if self.refinement is None else self.refinement(value, action)

        if self.candidates == 1:
            return proposal(noise[0])
        actions = jax.vmap(proposal)(noise)
        values = jax.vmap(lambda action: value(action, 1.0))(actions)
        if values.ndim != 1:
            raise InputError(f"The value of an action must be one number, but is of shape {values.shape[1:]}.")
        return actions[jnp.argmax(values)]
