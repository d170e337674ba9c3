"""A dataset on disk as a window on the device, replaced by the next one while the device works.

    window k       draws k * slots to (k + 1) * slots of the blocks' order, padded to one shape: one compiled program
    a batch        a slot, each with the same chance, and a transition in it (by weight, if there are weights)

A block is drawn in proportion to its transitions, so the chance of each transition is 1 / N in the long run. Which
blocks make up window k is a function of seed and k, and k one of the step: nothing is saved, and a killed run resumes
bit for bit. A thread reads window k + 1 while updates use window k, so that two windows and one column are in memory.
Seeds that are trained together share the windows, which are those of the first one. This module knows no algorithm and
no file.
"""

import math
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int64, Shaped
from numpy.typing import NDArray

from guidedflow.data.actions import ACTION_LIMIT
from guidedflow.data.drawing import Drawing, Slots, Weighted
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.sampling.blocks import Blocks, drawn
from guidedflow.data.sampling.cutting import Cutting, sparse
from guidedflow.data.sampling.rebalance import Weights, no_weight
from guidedflow.data.transitions import Cut, Transitions, no_transition
from guidedflow.errors import InputError
from guidedflow.packing import type_from
from guidedflow.parts import Parts, on_device
from guidedflow.settings import check_ranges
from guidedflow.types import Transition


@dataclass(frozen=True)
class Window:
    """How much of a dataset on disk is on the device, and for how long."""

    transitions: int = 2**20
    """About so many."""
    updates: int = 0
    """Updates that a window serves; 0: until as many transitions were drawn as it holds."""
    blocks: int = 128
    """Stretches of the dataset that make one window."""

    def lasting(self, batch_size: int, log_interval: int) -> int:
        """Updates that a window serves. Raises `InputError` unless it is replaced between two compiled calls."""
        check_ranges(self, transitions=(1, math.inf), blocks=(1, math.inf))
        if self.updates % log_interval or self.updates < 0:
            raise InputError(
                f"window-updates must be 0 or a multiple of log-interval {log_interval}, but is {self.updates}."
            )
        return self.updates or log_interval * max(1, round(self.transitions / batch_size / log_interval))


WINDOW = Window()

SURVEYED = 32
"""Blocks that stand for the whole dataset in figures of it: a quarter of a default window."""


class Windows:
    """The windows of a run of so many `steps`; use it in a `with`, which ends its thread."""

    def __init__(
        self,
        data: Mapped,
        window: Window,
        cutting: Cutting,
        *,
        seed: int,
        steps: float = math.inf,
        weights: Weights | None = None,
    ) -> None:
        self.data, self.updates, self.seed, self.weights = data, window.updates, seed, weights
        self._cutting, horizon, chunk = cutting, cutting.horizon, cutting.chunk
        self._chunk = horizon if chunk else 1  # also the steps that an episode must still have
        # What was seen before a transition, and the goals that came after it, must be in its block too.
        split = cutting.frame_stack == 1 and not data.goal_conditioned
        self.blocks = Blocks.of(data.ends, max(1, window.transitions // window.blocks), horizon, chunk, split)
        if not self.blocks.counts.any():
            raise no_transition(data.name, horizon, int(np.max(np.diff(data.ends, prepend=-1))) - 1)
        self.mass = self.blocks.counts.astype(np.float64) if weights is None else self._masses(weights)
        self.slots = min(window.blocks, int(np.count_nonzero(self.mass)))
        self._steps = steps
        self._number = -1
        self._now: Transitions | None = None
        self._next: tuple[int, Future[Transitions]] | None = None
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="windows")

    def __enter__(self) -> "Windows":
        return self

    def __exit__(self, *exception: object) -> None:
        self._reader.shutdown(wait=True, cancel_futures=True)

    def at(self, step: int) -> Transitions:
        """What update `step` draws from; begins to read what follows."""
        number = step // self.updates
        if number != self._number:
            self._now = None  # before another one is read, so that there are never three
            now = self._awaited(number)
            self._now, self._number = now, number
            if (number + 1) * self.updates < self._steps:
                self._next = number + 1, self._reader.submit(self.window, number + 1)
            return now
        assert self._now is not None
        return self._now

    def window(self, number: int) -> Transitions:
        """A window by its number."""
        return self.read(drawn(self.mass, self.seed, number * self.slots, (number + 1) * self.slots))

    def read(self, blocks: Int64[np.ndarray, " slots"]) -> Transitions:
        """These blocks, each in a slot."""
        width = int(self.blocks.counts.max())
        table, drawing = self._table(blocks, width)
        observations, actions = self._column("observations", blocks), self._column("actions", blocks)
        assert isinstance(actions, jax.Array)
        goals = None
        if self.data.goal_conditioned:
            assert isinstance(observations, jax.Array)
            goals = observations
        return self._cutting.transitions(observations, actions, table, drawing, goals)

    def example(self) -> Transition:
        """The first transition of the first block that may be drawn."""
        return self.read(np.flatnonzero(self.mass)[:1]).example()

    def survey(self) -> Transitions:
        """The first blocks of the first window, at whatever step a run goes on."""
        return self.read(drawn(self.mass, self.seed, 0, min(SURVEYED, self.slots)))

    def _awaited(self, number: int) -> Transitions:
        if self._next is not None and self._next[0] == number:
            return self._next[1].result()
        return self._reader.submit(self.window, number).result()

    def _table(self, blocks: Int64[np.ndarray, " slots"], width: int) -> tuple[Cut, Drawing]:
        """The transitions of the blocks, those of slot m from index m * width on, and how to draw of them."""
        shape = len(blocks), width
        padded = [np.zeros(shape, dtype) for dtype in (np.float32, np.float32, *[np.int32] * 4)]
        weights = np.zeros(shape)
        for slot, block in enumerate(blocks.tolist()):
            found, count = self._transitions(block), self.blocks.counts[block]
            for column, own, rows in zip(padded, found, (0, 0, 1, 1, 1, 1), strict=True):
                column[slot, :count] = own[:count] + np.asarray(rows * slot * self.blocks.longest, own.dtype)
            if self.weights is not None:
                own = self.weights(self.blocks.begins[block] + found.starts[:count])
                weights[slot, :count] = own / own.sum()
        drawing = Slots(jnp.asarray(self.blocks.counts[blocks].astype(np.uint32)), width)
        return Cut(*(column.ravel() for column in padded)), (
            drawing if self.weights is None else Weighted.of(weights.ravel())
        )

    def _transitions(self, block: int) -> Cut:
        """Those of a block, whose own come first; its final row ends an episode for the time being."""
        rewards, masks, last = (self._rows(name, block) for name in ("rewards", "masks", "last"))
        last[-1] = True
        rewards = rewards if self._cutting.rewards == "data" else sparse(masks)
        return Cut.of(rewards, masks, last, **self._cutting.spans)

    def _column(self, name: str, blocks: Int64[np.ndarray, " slots"]) -> Shaped[Array, " rows *rest"] | Parts:
        """The rows of the blocks, those of slot m from row m * longest on."""
        longest = self.blocks.longest
        entry = self.data.manifest["columns"][name]
        rows = np.zeros((len(blocks) * longest, *entry["shape"][1:]), type_from(entry["type"]))
        for slot, block in enumerate(blocks.tolist()):
            own = self._rows(name, block)
            rows[slot * longest : slot * longest + len(own)] = own
        if name == "actions":
            if self.data.action_scale is not None:
                rows = self.data.action_scale.to_box(rows)
            np.clip(rows, -ACTION_LIMIT, ACTION_LIMIT, out=rows)
        return jax.block_until_ready(on_device(rows))

    def _rows(self, name: str, block: int) -> NDArray[Any]:
        return self.data.rows(name, int(self.blocks.begins[block]), int(self.blocks.stops[block]))

    def _masses(self, weights: Weights) -> NDArray[np.float64]:
        """The sum of each block's weights; looks at each row once."""
        mass = np.zeros(len(self.blocks))
        for block in np.flatnonzero(self.blocks.counts).tolist():
            begin, owned = int(self.blocks.begins[block]), int(self.blocks.owned[block])
            rows = np.arange(begin, owned)
            final = self.data.ends[np.searchsorted(self.data.ends, rows)]
            mass[block] = weights(rows[rows + self._chunk <= final]).sum()
        if not mass.any():
            raise no_weight(self.data.name)
        return mass
