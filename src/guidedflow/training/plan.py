"""How long a run trains, on how much at once, and what it does on the way."""

import math
from dataclasses import dataclass, field
from typing import Literal

from guidedflow.data.sampling.cutting import Cutting
from guidedflow.data.sampling.goals import GoalSampling
from guidedflow.errors import InputError
from guidedflow.settings import check_ranges, check_types


@dataclass(frozen=True)
class Plan:
    """How long a run trains, on how much at once, and what it does on the way."""

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
    log_interval: int = 1000
    """Updates between two rows of metrics; also the length of a compiled call."""
    eval_interval: int = 0
    """Updates between two evaluations of every policy; 0: only when asked."""
    eval_episodes: int = 20
    """Episodes of each policy and seed in such an evaluation."""
    checkpoint_interval: int = 0
    """Updates between two checkpoints; 0: only at the end."""
    keep_checkpoints: int = 0
    """Checkpoints that stay, the newest; 0: all."""
    workers: int | None = None
    """Simulator processes; by default one a core."""
    wandb: Literal["online", "offline"] | None = None
    """Also log to Weights & Biases."""
    goals: GoalSampling = field(default_factory=GoalSampling)
    """Where goals come from, for goal-conditioned data."""

    @property
    def cutting(self) -> Cutting:
        """How its dataset becomes batches."""
        return Cutting(self.discount, self.horizon, self.chunk, self.frame_stack, self.augment, self.goals)

    def check(self) -> None:
        """Raises `InputError` for a plan that cannot be carried out."""
        check_types(self)
        counts = dict.fromkeys(
            ("steps", "seeds", "batch_size", "horizon", "frame_stack", "log_interval", "eval_episodes"), (1, math.inf)
        )
        check_ranges(
            self,
            seed=(0, 2**31 - self.seeds),
            discount=(0, 1),
            augment=(0, 1),
            keep_checkpoints=(0, math.inf),
            **counts,
        )
        if self.workers is not None:
            check_ranges(self, workers=(1, math.inf))
        for name in ("eval_interval", "checkpoint_interval"):
            interval = getattr(self, name)
            if interval < 0 or interval % self.log_interval:
                raise InputError(
                    f"{name.replace('_', '-')} must be 0 or a multiple of log-interval {self.log_interval}, "
                    f"but is {interval}."
                )
