"""Flags of `guidedflow evaluate` that say how a policy acts, and the policies that they make of a run's.

This module does not know how a policy is rolled out, nor which of several weights is chosen.
"""

import math
from dataclasses import dataclass
from typing import Literal

from guidedflow.cli.guiding import DEFAULT_WEIGHT, Guiding
from guidedflow.errors import InputError
from guidedflow.evaluation.selection import WEIGHTS
from guidedflow.flows.improvement import CFPI, IMPROVEMENTS
from guidedflow.flows.realtime import check_delay
from guidedflow.policies.controls import ValueName, under_value
from guidedflow.policies.improved import improved
from guidedflow.policies.kinds import FlowPolicy
from guidedflow.policies.policy import Policy
from guidedflow.runs.steering import warn_of_differences
from guidedflow.runs.trained import Trained
from guidedflow.settings import check_ranges

CONDITION_WEIGHTS = (0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 15.0)
"""Of a condition, tried where none are named: those published for CFGRL, and 0."""

DEFAULT_BUDGET = 0.5
"""Of improvement, in nats, where none is given: the published one of mixtures."""


@dataclass(frozen=True)
class Acting(Guiding):
    """How a policy of a run acts; by default as it was trained to."""

    policy: str | None = None
    """Policy, for example actor or flow; by default the algorithm's main one, or its flow if it is to be guided."""
    weight: tuple[float, ...] = ()
    """Weight of guidance, by default 0.1, or of a condition, by default as trained; several are evaluated in turn."""
    value: ValueName = "critic"
    """What guides, refines and chooses: the critic; as controls, its negative or a critic with shuffled weights."""
    candidates: int | None = None
    """Proposals, of which the critic's favourite is taken (best of N); by default as the policy was trained to act."""
    improve: Literal["cfpi"] | None = None
    """Improve the action in closed form by the critic's gradient, within a budget of likelihood (CFPI)."""
    budget: tuple[float, ...] = ()
    """Nats of log-density that the improvement may give up, by default 0.5; of several the critic chooses."""
    replan: int | None = None
    """Steps of a chunk that are executed before the next; by default all."""
    delay: int | None = None
    """Steps from a request to the arrival of its chunk, in which the chunk before goes on; by default it is at once."""
    realtime: bool = False
    """Pull each chunk to the one before: the steps of the delay are frozen, those after it are bound softly."""

    def check(self) -> None:
        """Raise `InputError` for a number out of its range, and for a flag that would change nothing."""
        check_ranges(
            self, weight=(0, math.inf), candidates=(1, math.inf), refine_steps=(0, math.inf),
            refine_size=(0, math.inf), **({} if self.delay is None else {"delay": (0, math.inf)}),
        )  # fmt: skip
        self.refuse_idle(weighted=bool(self.weight))
        if self.budget and not self.improve:
            raise InputError("--budget changes nothing without --improve cfpi.")
        if self.realtime and self.delay is None:
            raise InputError("--realtime changes nothing without --delay, the steps until a chunk arrives.")

    def policies(
        self, trained: Trained, task: str, *, seed: int = 0, selects: bool = False
    ) -> tuple[str, dict[float | None, Policy]]:
        """The policy's name, and the policy under each weight; under None as it was trained to act.

        `selects` says that one of several weights is to be chosen, so that there are several where none are named;
        `seed` shuffles the weights of a control. Raises `InputError` for what the policy cannot do.
        """
        name, base = self._base(trained, task, seed)
        found = self._conditioned(base, selects) if self.guidance == "conditional" else self._weighted(base, selects)
        asks = any(policy.sampler.asks for policy in found.values())
        if self.value != "critic" and not asks and self.improve is None:
            raise InputError("--value changes nothing without guidance, refinement or candidates.")
        if self.critic_from is None and asks:
            warn_of_differences(trained, trained, task)
        return name, found

    def _base(self, trained: Trained, task: str, seed: int) -> tuple[str, Policy]:
        """The policy's name, and the policy under its value and improvement, sampled as it was trained to."""
        names = list(trained.policies())
        name = self.policy or ("flow" if self.by_critic and "flow" in names else names[0])
        critic_from = None if self.critic_from is None else Trained.open(self.critic_from)
        base = under_value(trained.steered(name, critic_from=critic_from, task=task), self.value, seed)
        if self.improve is not None:
            base = improved(base, self._improvement())
        self._check_pace(trained, base)
        return name, base

    def _weighted(self, base: Policy, selects: bool) -> dict[float | None, Policy]:
        """A policy under each weight of guidance; under None without one."""
        weights: tuple[float | None, ...] = (None,)
        if self.guided:
            weights = self.weight or (WEIGHTS if selects else (DEFAULT_WEIGHT,))
        return {weight: base.with_sampler(self.sampler(base.sampler, weight, self.candidates)) for weight in weights}

    def _conditioned(self, base: Policy, selects: bool) -> dict[float | None, Policy]:
        """A flow under each weight of its condition."""
        if not isinstance(base, FlowPolicy):
            raise InputError("Only a flow has a condition to weigh; train one by `guidedflow train cfgrl`.")
        as_trained = () if self.weight or selects else (base.condition_weight,)
        sampler = self.sampler(base.sampler, candidates=self.candidates)
        weights = self.weight or as_trained or CONDITION_WEIGHTS
        return {weight: base.conditioned(weight).with_sampler(sampler) for weight in weights}

    def _improvement(self) -> CFPI:
        """What the action goes through before it is taken."""
        return IMPROVEMENTS[self.improve or "cfpi"](budgets=self.budget or (DEFAULT_BUDGET,))

    def _check_pace(self, trained: Trained, policy: Policy) -> None:
        """Raise `InputError` for a delay that the policy's chunks are too short for, and for a pull without a flow."""
        if self.delay is not None:
            chunk = trained.configuration.horizon if trained.configuration.chunk else 1
            check_delay(chunk, self.delay, self.replan or chunk)
        if self.realtime and not isinstance(policy, FlowPolicy):
            raise InputError("Real-time chunking pulls a flow to the chunk before, and this policy is no flow.")
