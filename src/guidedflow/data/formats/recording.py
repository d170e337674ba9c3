"""Recordings of one row a step, as episodes of one row an observation.

Most logs have a row a step: what was seen, what was done, what it paid. An episode of L steps then has L rows, and what
was seen after its last step is either in a column of its own (`next_observations`) or nowhere. A dataset here has L + 1
rows an episode. This module does not know which file or suite a recording is from.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidedflow.data.dataset import Dataset
from guidedflow.packing import unpacked

JUMP = 1e-6
"""Two observations further apart than this (Euclidean distance) are not one and the same."""


@dataclass
class Recording:
    """What was recorded, a row a step; `ends` marks the last step of each episode, and the final row must be one.

    With `next_observations`, all rows are transitions, and an episode's final observation is the last of these.
    Without, nobody recorded where an episode's last step led, and no transition is invented: a last step whose mask is
    0 keeps its transition, with its own observation in the place of the one that nobody will look at; any other last
    row only serves as the final observation of the step before it, so its action and reward are lost. `final` says
    otherwise which of the last rows only serve as observations. `weights` are of steps. `goals` are what each row is
    as a goal, or the observations themselves; nobody looks at those of an inserted row, from which nothing was done.
    """

    observations: NDArray[Any]
    actions: NDArray[Any]
    rewards: NDArray[Any]
    masks: NDArray[Any]
    ends: NDArray[np.bool_]
    next_observations: NDArray[Any] | None = None
    final: NDArray[np.bool_] | None = None
    weights: NDArray[Any] | None = None
    goals: NDArray[Any] | None = None

    def columns(self) -> list[NDArray[Any]]:
        """All that a dataset would take numbers from; those of rows that only serve as observations count too."""
        listed = (self.observations, self.actions, self.rewards, self.masks)
        return [*listed, *(each for each in (self.next_observations, self.weights, self.goals) if each is not None)]

    def only(self, rows: NDArray[np.bool_], ends: NDArray[np.bool_]) -> "Recording":
        """Some of the rows, with these ends; a new end serves as a final observation, if no other one was recorded."""
        cut = ends & ~self.ends
        final = None if self.final is None else self.final | cut
        masks = np.where(cut, 1, self.masks) if self.next_observations is None else self.masks

        def some(column: NDArray[Any] | None) -> Any:
            return None if column is None else column[rows]

        goals = self.goals is self.observations
        made = Recording(
            self.observations[rows], self.actions[rows], self.rewards[rows], masks[rows], ends[rows],
            some(self.next_observations), some(final), some(self.weights), None if goals else some(self.goals),
        )  # fmt: skip
        return replace(made, goals=made.observations) if goals else made

    def to_dataset(self, name: str) -> Dataset:
        """The dataset of these episodes. Raises `InputError` where their numbers are none that a dataset takes."""
        if self.next_observations is not None:
            final, closed = self.final, self.ends
            endings = self.next_observations[self.ends]
        else:
            final = self.ends & (self.masks != 0) if self.final is None else self.final
            closed = self.ends & ~final
            endings = self.observations[closed]
        order = np.repeat(np.arange(len(self.observations)), 1 + closed)
        added = np.flatnonzero(closed) + 1 + np.arange(np.count_nonzero(closed))
        last = np.zeros(len(order), bool)
        last[added] = True
        if final is not None:
            last[np.flatnonzero(final) + np.cumsum(closed)[final]] = True

        def placed(column: NDArray[Any]) -> NDArray[Any]:
            return column[order] if len(added) else column

        observations, rewards, masks = placed(self.observations), placed(self.rewards), placed(self.masks)
        if len(added):  # the last action is repeated there: as a next action, it is at least a real one
            observations[added] = endings
            rewards[added], masks[added] = 0, 0
        observations, goals = numbers(observations), self.goals
        if goals is not None:
            goals = observations if goals is self.observations else numbers(placed(goals))
        return Dataset(
            name=name,
            observations=observations,
            actions=numbers(placed(self.actions)),
            rewards=numbers(rewards),
            masks=numbers(masks),
            last=last,
            goals=goals,
            weights=None if self.weights is None else numbers(placed(self.weights)),
        )


def jumps(observations: NDArray[Any], next_observations: NDArray[Any]) -> NDArray[np.bool_]:
    """Where the next row does not begin as this one ended, and the final row."""
    apart = np.ones(len(observations), bool)
    block = 2**16
    for begin in range(0, len(observations) - 1, block):
        step = slice(begin, min(begin + block, len(observations) - 1))
        follows, seen = unpacked(observations[step.start + 1 : step.stop + 1]), unpacked(next_observations[step])
        square = np.zeros(step.stop - step.start)
        for name, part in follows.items():
            square += np.square((part.astype(np.float64) - seen[name]).reshape(len(part), -1)).sum(axis=1)
        apart[step] = ~(np.sqrt(square) <= JUMP)
    return apart


def timed(terminals: NDArray[np.bool_], limit: int) -> NDArray[np.bool_]:
    """Where a time limit cut an episode off, counted since the last end."""
    cut, count = np.zeros(len(terminals), bool), 0
    for row, terminal in enumerate(terminals):
        count += 1
        cut[row] = count == limit
        if terminal or cut[row]:
            count = 0
    return cut


def numbers(column: NDArray[Any]) -> NDArray[Any]:
    """A column as networks take it: float32, or bytes as they are, also in parts."""
    return (
        column if column.dtype == np.uint8 or column.dtype.names is not None else column.astype(np.float32, copy=False)
    )
