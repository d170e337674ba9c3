"""Flags that change how a policy samples: guidance, refinement, and whose critic; for all commands that take a run.

This module does not know which policy is meant, nor what is done with it.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from guidedflow.errors import InputError
from guidedflow.flows.guidance import GUIDANCE, guidance_of
from guidedflow.flows.sampling import GradientAscent, Sampler
from guidedflow.flows.schedules import WeightSchedule

DEFAULT_WEIGHT = 0.1
"""Of guidance, where none is given."""

GuidanceName = Literal[
    "none", "noisy", "denoised", "jacobian", "rollout", "chain", "distilled", "distilled_jacobian", "smoothed",
    "orthogonalised", "regularised", "conditional",
]  # fmt: skip
"""Kinds of guidance; conditional is by a flow's own condition."""

ScheduleName = Literal["constant", "falling", "ratio"]
"""How the weight follows the flow's time."""


@dataclass(frozen=True)
class Guiding:
    """How a policy samples; by default as it was trained to."""

    guidance: GuidanceName | None = None
    """Steer by the critic's gradient: noisy is QFQL, denoised QGF, rollout BPTT; or by the condition of CFGRL."""
    schedule: ScheduleName = "constant"
    """Weight over the flow's time t: constant, falling as 1 - t, or ratio, (1 - t) / t, held before t = 0.1."""
    match: bool = False
    """Rescale the gradient to the velocity's length (QPILOTS), so that one weight serves every scale of rewards."""
    normalize: bool = False
    """Follow the gradient's direction alone, so that the weight does not depend on the scale of rewards."""
    refine_steps: int = 0
    """Steps up the critic's gradient after the flow or the actor (GradStep)."""
    refine_size: float = 0.01
    """Length of such a step, in action per value."""
    refine_sign: bool = False
    """Step by the sign of the gradient."""
    critic_from: Path | None = None
    """Another run of the same task and horizon, whose critic, at its newest checkpoint, guides, refines and chooses."""

    @property
    def guided(self) -> bool:
        """Whether a critic or a condition guides."""
        return self.guidance not in (None, "none")

    @property
    def by_critic(self) -> bool:
        """Whether a critic's gradient guides."""
        return self.guided and self.guidance in GUIDANCE

    def refuse_idle(self, weighted: bool) -> None:
        """Raise `InputError` for a flag that would change nothing; `weighted` says whether a weight was given."""
        by_critic = "guidance by a critic, such as --guidance denoised"
        for flag, given, works, needs in (
            ("--weight", weighted, self.guided, "a guidance, such as --guidance denoised"),
            ("--normalize", self.normalize, self.by_critic, by_critic),
            (
                "--schedule",
                self.schedule != "constant",
                self.by_critic,
                "guidance by a critic, such as --guidance denoised",
            ),
            ("--match", self.match, self.by_critic, by_critic),
            ("--refine-size", self.refine_size != Guiding.refine_size, self.refine_steps, "--refine-steps"),
            ("--refine-sign", self.refine_sign, self.refine_steps, "--refine-steps"),
        ):
            if given and not works:
                raise InputError(f"{flag} changes nothing without {needs}.")

    def sampler(self, own: Sampler, weight: float | None = None, candidates: int | None = None) -> Sampler:
        """The policy's own sampler, changed where a flag says so."""
        sampler = own
        if self.guidance in GUIDANCE:
            weight, schedule = DEFAULT_WEIGHT if weight is None else weight, WeightSchedule[self.schedule]
            guidance = guidance_of(self.guidance, weight, self.normalize, own.steps, schedule, self.match)
            sampler = replace(sampler, guidance=guidance)
        if self.refine_steps:
            sampler = replace(sampler, refinement=GradientAscent(self.refine_size, self.refine_steps, self.refine_sign))
        return sampler if candidates is None else replace(sampler, candidates=candidates)
