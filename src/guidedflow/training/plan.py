"""How long a run trains, on how much at once, and what it does on the way."""

import math
from dataclasses import dataclass, field
from typing import Literal

from guidedflow.data.sampling.cutting import Cutting, Rewards
from guidedflow.data.sampling.goals import GoalSampling
from guidedflow.errors import InputError
from guidedflow.settings import check_ranges, check_types

_MOST_BETWEEN = 5_000
"""Updates between two automatic checkpoints, at most: minutes on a CPU, seconds on an accelerator."""

_KEPT = 2
"""Automatic checkpoints that stay."""


@dataclass(frozen=True)
class Plan:
    """How long a run trains, on how much at once, and what it does on the way.

    Raises `InputError` where it cannot be carried out.
    """

    steps: int = 1_000_000
    """Updates."""
    seed: int = 0
    """First seed; the run trains this one and those that follow it."""
    seeds: int = 1
    """Seeds trained together, as one compiled program."""
    batch_size: int = 256
    """Transitions an update."""
    discount: float = 0.99
    """Discount (gamma) of one environment step."""
    horizon: int = 1
    """Environment steps of a transition: its reward is their discounted sum (n-step return)."""
    chunk: bool = False
    """Learn chunks: all actions of a transition's horizon as one."""
    frame_stack: int = 1
    """Observations that are seen as one, the newest last; published from pixels: 3."""
    augment: float = 0.0
    """Probability that the images of a batch are cropped at random; published from pixels: 0.5."""
    rewards: Rewards = "data"
    """Rewards of the data, or sparse: -1 until solved and 0 after, as papers of 2026 train scene and puzzle."""
    log_interval: int = 1000
    """Updates between two rows of metrics; less where another interval is no multiple of it."""
    eval_interval: int = 0
    """Updates between two evaluations of every policy; 0: only when asked."""
    eval_episodes: int = 20
    """Episodes of each policy and seed in such an evaluation."""
    checkpoint_interval: int | None = None
    """Updates between two checkpoints; 0: only at the end; by default a twentieth of the run, at most 5,000."""
    keep_checkpoints: int | None = None
    """Checkpoints that stay, the newest; 0: all; by default 2 of the default interval, else all."""
    workers: int | None = None
    """Simulator processes; by default one a core."""
    wandb: Literal["online", "offline"] | None = None
    """Also log to Weights & Biases."""
    goals: GoalSampling = field(default_factory=GoalSampling)
    """Where goals come from, for goal-conditioned data."""

    def __post_init__(self) -> None:
        check_types(self)
        counts = dict.fromkeys(
            ("steps", "seeds", "batch_size", "horizon", "frame_stack", "log_interval", "eval_episodes"), (1, math.inf)
        )
        check_ranges(self, seed=(0, 2**31 - self.seeds), discount=(0, 1), augment=(0, 1), eval_interval=(0, math.inf))
        check_ranges(self, **counts)
        for name, least in (("workers", 1), ("checkpoint_interval", 0), ("keep_checkpoints", 0)):
            if getattr(self, name) is not None:
                check_ranges(self, **{name: (least, math.inf)})
        object.__setattr__(self, "log_interval", self._common_interval())

    def _common_interval(self) -> int:
        """The log interval, or the largest part of it that the other intervals are multiples of."""
        common = math.gcd(self.log_interval, self.eval_interval, self.checkpoint_interval or 0)
        if 20 * common < self.log_interval:
            name = "checkpoint" if self.eval_interval % self.log_interval == 0 else "eval"
            raise InputError(
                f"{name}-interval must be 0 or a multiple of log-interval {self.log_interval}, "
                f"but is {getattr(self, f'{name}_interval')}, and no common part of both is long enough to log by."
            )
        return common

    @property
    def cutting(self) -> Cutting:
        """How its dataset becomes batches."""
        return Cutting(
            self.discount, self.horizon, self.chunk, self.frame_stack, self.augment, self.goals, rewards=self.rewards
        )

    @property
    def each_seed(self) -> list[int]:
        """The seeds that the run trains together."""
        return [self.seed + i for i in range(self.seeds)]

    @property
    def kept(self) -> int | None:
        """The number of newest checkpoints that stay; None: all."""
        if self.keep_checkpoints is None:
            return _KEPT if self.checkpoint_interval is None else None
        return self.keep_checkpoints or None

    def end_of_interval(self, step: int) -> int:
        """The step at which the interval that `step` begins in ends."""
        return min((step // self.log_interval + 1) * self.log_interval, self.steps)

    def evaluates_at(self, step: int) -> bool:
        """Whether every policy is evaluated at a step."""
        return self._due(step, self.eval_interval) if self.eval_interval else False

    def saves_at(self, step: int) -> bool:
        """Whether a checkpoint is saved at a step."""
        interval = self.checkpoint_interval
        if interval is None:
            part = min(self.steps // 20, _MOST_BETWEEN)
            interval = max(part // self.log_interval, 1) * self.log_interval
        return self._due(step, interval)

    def _due(self, step: int, interval: int) -> bool:
        return step == self.steps or (interval > 0 and step % interval == 0)
