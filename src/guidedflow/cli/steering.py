"""Flags that say which policy of a run is meant, and how it is to act; shared by `export` and `serve`.

This module does not know what is done with the policy.
"""

import math
from dataclasses import dataclass

from guidedflow.cli.guiding import Guiding
from guidedflow.errors import InputError
from guidedflow.policies.policy import Policy
from guidedflow.runs.trained import Trained
from guidedflow.serving.programs import weighted, weights_of
from guidedflow.settings import check_ranges


@dataclass(frozen=True)
class Steering(Guiding):
    """How a policy of a run is to act; by default as it was trained to."""

    seed: int | None = None
    """Training seed; by default the first."""
    step: int | None = None
    """Checkpoint; by default the newest."""
    weight: float | None = None
    """Default weight of guidance, by default 0.1, or of a condition; each request may choose another."""
    candidates: tuple[int, ...] = ()
    """Proposals, of which the critic's favourite is taken (best of N); by default as the policy was trained to act."""
    parts: tuple[str, ...] = ()
    """Named pieces of the observation, such as joints=7 gripper=1, in order."""

    def check(self) -> None:
        """Raise `InputError` for a number out of its range, and for a flag that would change nothing."""
        check_ranges(
            self, weight=(0, math.inf), candidates=(1, 1024), refine_steps=(0, math.inf), refine_size=(0, math.inf)
        )
        self.refuse_idle(weighted=self.weight is not None)

    def name(self, trained: Trained, asked: str | None) -> str:
        """The name of the policy: the one given, else the flow if it is to be guided, else the main one."""
        names = list(trained.policies())
        return asked or ("flow" if self.by_critic and "flow" in names else names[0])

    def policy(self, trained: Trained, name: str) -> Policy:
        """The policy of that name and one seed, in the units of its data. Raises `InputError` for what it cannot do."""
        chosen = trained.policy(name, self.seed, critic_from=self.critic_from)
        candidates = self.candidates[0] if self.candidates else None
        chosen = chosen.with_sampler(self.sampler(chosen.sampler, self.weight, candidates))
        if self.guidance != "conditional":
            return chosen
        if "condition" not in weights_of(chosen):
            raise InputError("This policy has no condition to weigh; train one by `guidedflow train cfgrl`.")
        return chosen if self.weight is None else weighted(chosen, {"condition": self.weight})
