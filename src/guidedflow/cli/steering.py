"""Flags that say which policy of a run is meant, and how it is to act; shared by `export` and `serve`.

This module does not know what is done with the policy.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from guidedflow.errors import InputError
from guidedflow.flows.guidance import GUIDANCE, guidance_of
from guidedflow.flows.sampling import GradientAscent, Sampler
from guidedflow.flows.schedules import WeightSchedule
from guidedflow.policies.policy import Policy
from guidedflow.runs.trained import Trained
from guidedflow.serving.programs import weighted, weights_of
from guidedflow.settings import check_ranges

DEFAULT_WEIGHT = 0.1

GuidanceName = Literal[
    "none", "noisy", "denoised", "jacobian", "rollout", "chain", "distilled", "distilled_jacobian", "smoothed",
    "orthogonalised", "regularised", "conditional",
]  # fmt: skip
"""Kinds of guidance; conditional is by a flow's own condition."""

ScheduleName = Literal["constant", "falling", "ratio"]
"""How the weight follows the flow's time."""


@dataclass(frozen=True)
class Steering:
    """How a policy of a run is to act; by default as it was trained to."""

    seed: int | None = None
    """Training seed; by default the first."""
    step: int | None = None
    """Checkpoint; by default the newest."""
    guidance: GuidanceName | None = None
    """Steer by the critic's gradient: denoised is QGF, noisy QFQL, rollout BPTT; or by the condition of CFGRL."""
    weight: float | None = None
    """Default weight of guidance, by default 0.1, or of a condition; each request may choose another."""
    normalize: bool = False
    """Follow the gradient's direction alone, so that the weight does not depend on the scale of rewards."""
    schedule: ScheduleName = "constant"
    """Weight over the flow's time t: constant, falling as 1 - t, or ratio, (1 - t) / t, held before t = 0.1."""
    match: bool = False
    """Rescale the gradient to the velocity's length (QPILOTS), so that one weight serves every scale of rewards."""
    candidates: tuple[int, ...] = ()
    """Proposals, of which the critic's favourite is taken (best of N); by default as the policy was trained to act."""
    refine_steps: int = 0
    """Steps up the critic's gradient after the flow or the actor (GradStep)."""
    refine_size: float = 0.01
    """Length of such a step, in action per value."""
    refine_sign: bool = False
    """Step by the sign of the gradient."""
    critic_from: Path | None = None
    """Another run of the same task and horizon, whose critic guides, refines and chooses."""
    parts: tuple[str, ...] = ()
    """Named pieces of the observation, such as joints=7 gripper=1, in order."""

    def check(self) -> None:
        """Raise `InputError` for a number out of its range, and for a flag that would change nothing."""
        check_ranges(
            self, weight=(0, math.inf), candidates=(1, 1024), refine_steps=(0, math.inf), refine_size=(0, math.inf)
        )
        gradient = self.guidance in GUIDANCE and self.guidance != "none"
        for flag, given, works in (
            ("--weight", self.weight is not None, gradient or self.guidance == "conditional"),
            ("--normalize", self.normalize, gradient),
            ("--schedule", self.schedule != "constant", gradient),
            ("--match", self.match, gradient),
        ):
            if given and not works:
                raise InputError(f"{flag} changes nothing without a guidance, such as --guidance denoised.")
        if (self.refine_sign or self.refine_size != Steering.refine_size) and not self.refine_steps:
            raise InputError("--refine-size and --refine-sign change nothing without --refine-steps.")

    def name(self, trained: Trained, asked: str | None) -> str:
        """The name of the policy: the one given, else the flow if it is to be guided, else the main one."""
        names = list(trained.policies())
        steered = self.guidance in GUIDANCE and self.guidance != "none"
        return asked or ("flow" if steered and "flow" in names else names[0])

    def policy(self, trained: Trained, name: str) -> Policy:
        """The policy of that name and one seed, in the units of its data. Raises `InputError` for what it cannot do."""
        chosen = trained.policy(name, self.seed, critic_from=self.critic_from)
        chosen = chosen.with_sampler(self._sampler(chosen.sampler))
        if self.guidance != "conditional":
            return chosen
        if "condition" not in weights_of(chosen):
            raise InputError("This policy has no condition to weigh; train one by `guidedflow train cfgrl`.")
        return chosen if self.weight is None else weighted(chosen, {"condition": self.weight})

    def _sampler(self, sampler: Sampler) -> Sampler:
        """The policy's own sampler, changed where a flag says so."""
        if self.guidance in GUIDANCE:
            weight = DEFAULT_WEIGHT if self.weight is None else self.weight
            schedule = WeightSchedule[self.schedule]
            guidance = guidance_of(self.guidance, weight, self.normalize, sampler.steps, schedule, self.match)
            sampler = replace(sampler, guidance=guidance)
        if self.refine_steps:
            sampler = replace(sampler, refinement=GradientAscent(self.refine_size, self.refine_steps, self.refine_sign))
        return replace(sampler, candidates=self.candidates[0]) if self.candidates else sampler
