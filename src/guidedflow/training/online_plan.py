"""How a run goes on in its environment: the protocol, and the plan that it makes of the run's own.

This module does not know how steps are taken.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from guidedflow.errors import InputError
from guidedflow.runs.trained import Trained
from guidedflow.settings import check_ranges, check_types, from_plain, to_plain
from guidedflow.training.plan import Plan

_WARMUP = {"buffer": 0, "balanced": 5000}

_MAY_CHANGE = frozenset(
    {"log_interval", "eval_interval", "eval_episodes", "checkpoint_interval", "keep_checkpoints", "workers", "warmup"}
)
"""Settings that the plan records, or that a resumed run may change."""


@dataclass(frozen=True)
class Online:
    """How a run goes on in its environment. Raises `InputError` for settings that cannot be."""

    steps: int = 1_000_000
    """Steps of the environment, and of training beyond those of the run."""
    protocol: Literal["buffer", "balanced"] = "buffer"
    """The dataset in the replay buffer, as FQL published; or a set part of each batch from the dataset."""
    offline_share: tuple[float, ...] = ()
    """Part of each batch that is of the dataset, by default 0.5; two numbers: from the first to the last step."""
    warmup: int | None = None
    """First steps, in which the frozen policy acts and nothing is learned; by default 0, if balanced 5,000."""
    capacity: int | None = None
    """Rows of the replay buffer, one a step and one an episode; by default all of the online steps."""
    on_disk: bool = False
    """Keep the replay buffer in files of the run, mapped into memory."""
    policy: str | None = None
    """Policy that acts; by default the algorithm's main one."""
    log_interval: int = 1000
    """Steps between two rows of metrics."""
    eval_interval: int = 0
    """Steps between two evaluations of every policy, the first before the first step; 0: only when asked."""
    eval_episodes: int = 20
    """Episodes of each policy and seed in such an evaluation."""
    checkpoint_interval: int | None = None
    """Steps between two checkpoints with the replay buffer; by default a twentieth of the steps, at most 5,000."""
    keep_checkpoints: int | None = None
    """Checkpoints that stay, the newest; 0: all; by default 2 of the default interval, else all."""
    workers: int | None = None
    """Simulator processes for evaluations; by default one a core."""

    def __post_init__(self) -> None:
        share: Any = self.offline_share
        if isinstance(share, list | int | float):
            object.__setattr__(self, "offline_share", tuple(share) if isinstance(share, list) else (share,))
        check_types(self)
        check_ranges(
            self, offline_share=(0, 1), **dict.fromkeys(("steps", "log_interval", "eval_episodes"), (1, math.inf))
        )
        for name, least in (("warmup", 0), ("capacity", 1), ("checkpoint_interval", 0), ("keep_checkpoints", 0)):
            if getattr(self, name) is not None:
                check_ranges(self, **{name: (least, math.inf)})
        if len(self.offline_share) > 2:
            raise InputError(f"offline-share takes one number or two, but got {len(self.offline_share)}.")
        if self.offline_share and self.protocol == "buffer":
            raise InputError(
                "offline-share changes nothing where the dataset is in the buffer; add --protocol balanced."
            )
        if self.frozen >= self.steps:
            raise InputError(f"warmup must be less than the {self.steps} online steps, but is {self.frozen}.")

    @property
    def frozen(self) -> int:
        """First steps in which nothing is learned."""
        return _WARMUP[self.protocol] if self.warmup is None else self.warmup

    @property
    def saves(self) -> int:
        """Steps between two checkpoints."""
        if self.checkpoint_interval is not None:
            return self.checkpoint_interval
        return max(min(self.steps // 20, 5000) // self.log_interval, 1) * self.log_interval

    def offline(self, done: int, batch_size: int) -> int:
        """How many transitions of the batch are of the dataset after `done` online steps, if it is balanced.

        The share goes from its first to its last value in equal parts, and is rounded to a whole number.
        """
        begin, *end = self.offline_share or (0.5,)
        share = begin + ((end[0] if end else begin) - begin) * done / max(self.steps - 1, 1)
        return min(batch_size, math.floor(share * batch_size + 0.5))

    def plan(self, trained: Trained) -> Plan:
        """The plan of the run, as far as its mathematics go, with the steps and intervals of the online part."""
        config = trained.run.config
        own = from_plain(Plan, {each.name: config[each.name] for each in fields(Plan) if each.name in config})
        keep = self.keep_checkpoints
        return replace(
            own,
            steps=trained.step + self.steps,
            log_interval=self.log_interval,
            eval_interval=self.eval_interval,
            eval_episodes=self.eval_episodes,
            checkpoint_interval=self.saves,
            keep_checkpoints=2 if keep is None and self.checkpoint_interval is None else keep,
            workers=self.workers,
            wandb=None,
        )

    def plain(self, trained: Trained) -> dict[str, Any]:
        """What the configuration of the new run says beside its plan."""
        kept = {name: value for name, value in to_plain(self).items() if name not in _MAY_CHANGE}
        return {
            "online": {**kept, "warmup": self.frozen, "from_step": trained.step},
            "goes_on_from": {"run": str(trained.run.path), "step": trained.step},
        }
