"""A dataset as it will be trained on: whether its actions, rewards and episodes can teach what they are meant to.

What is told are rows of the dataset. One pass over its columns, so that it can stand before every training; the dataset
itself has seen to it that all numbers are finite. This module does not know where the dataset is from.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidedflow.data.actions import Outside
from guidedflow.data.cleaning import repetitions
from guidedflow.data.dataset import Dataset
from guidedflow.data.summary import episodes
from guidedflow.data.validation.problem import Problems
from guidedflow.packing import as_matrix, unpacked

LARGE_VALUE, LARGE_OBSERVATION = 1e5, 1e4
"""Values and observations beyond these are hardly learned by networks that start near 1."""

TINY_ACTION, FEW, OUTLIER = 0.01, 100, 1000
IDLE = 0.1
"""Share of transitions in tails without movement that is worth a word."""


@dataclass(frozen=True)
class Use:
    """What a dataset is trained for: see `Dataset.cut`."""

    discount: float = 0.99
    horizon: int = 1
    chunk: bool = False
    outside: Outside = Outside.refused
    """What will become of actions outside [-1, 1]."""
    goes_on: bool = False
    """Whether episodes go on after their task ended, by their source's rule."""


def check(dataset: Dataset, use: Use, problems: Problems, file: str | None = None) -> None:
    """Everything about a dataset's transitions and episodes."""
    file = dataset.name if file is None else file
    steps = ~dataset.last
    if not steps.any():
        problems.add("no-transition", file, "last", found=f"none in {dataset.episodes} episodes")
        return
    _check_actions(dataset.actions[steps], file, problems)
    for name, part in unpacked(dataset.observations).items():
        _check_observations(part, file, problems, f"observations/{name}" if name else "observations")
    _check_lengths(dataset, use, file, problems)
    if not dataset.goal_conditioned:  # whose rewards and masks count for nothing
        _check_rewards(dataset.rewards[steps], dataset, use, file, problems)
        _check_tails(dataset, use, file, problems)
    _check_repetition(dataset, file, problems)


def _check_actions(actions: NDArray[np.float32], file: str, problems: Problems) -> None:
    low, high = actions.min(0), actions.max(0)
    still = np.flatnonzero(low == high)
    sizes = np.abs(actions)
    if len(still) == actions.shape[1]:
        problems.add("no-action", file, "actions", found=f"the same numbers in all {len(actions)} steps")
        return
    if len(still):
        problems.add("constant-action", file, "actions", found=f"one number in {_dimensions(still)}")
    if sizes.max() < TINY_ACTION:
        problems.add("tiny-actions", file, "actions", found=f"at most {sizes.max():.2g}", limit=TINY_ACTION)
    elif low.min() >= 0 and high.max() > 0.5:
        problems.add("half-box", file, "actions", found=f"numbers from {low.min():.2g} to {high.max():.2g}")
    elif (share := float((sizes >= 1 - 1e-4).mean())) > 0.5:
        problems.add("saturated", file, "actions", found=f"{100 * share:.0f} % there")


def _check_observations(observations: NDArray[Any], file: str, problems: Problems, name: str) -> None:
    if len(observations) < 2:
        return
    low, high = observations.min(0), observations.max(0)
    if (low == high).all():
        problems.add("blind", file, name, found=f"the same numbers in all {len(observations)} rows")
        return
    if observations.ndim > 2:  # a corner of an image may well stay black
        return
    if (still := np.flatnonzero(low == high)).size:
        problems.add("constant-observation", file, name, found=f"one number in {_dimensions(still)}")
    largest = np.maximum(np.abs(low.astype(np.float32)), np.abs(high.astype(np.float32)))
    if (large := np.flatnonzero(largest > LARGE_OBSERVATION)).size:
        found = f"up to {largest.max():.3g} in {_dimensions(large)}"
        problems.add("large-observation", file, name, found=found, limit=LARGE_OBSERVATION)


def _check_rewards(rewards: NDArray[np.float32], dataset: Dataset, use: Use, file: str, problems: Problems) -> None:
    low, high = float(rewards.min()), float(rewards.max())
    if low == high:
        if dataset.masks[~dataset.last].all() or low == 0:
            problems.add("constant-reward", file, "rewards", found=f"{low:g} in all {len(rewards)} steps")
        return
    lengths, _ = episodes(dataset)
    longest = float(lengths.max())
    steps = min(longest, 1 / (1 - use.discount)) if use.discount < 1 else longest
    sizes = np.abs(rewards)
    most = float(sizes.max())
    row = int(np.flatnonzero(~dataset.last)[int(np.argmax(sizes))])
    if most * steps > LARGE_VALUE:
        problems.add(
            "explosive", file, "rewards", row, found=f"a reward of {most:.3g}, values up to {most * steps:.3g}",
            limit=LARGE_VALUE,
        )  # fmt: skip
    usual = float(np.median(sizes[sizes > 0]))
    if most > OUTLIER * usual:
        problems.add("outlier-reward", file, "rewards", row, found=f"{most:.3g} beside {usual:.3g}", limit=OUTLIER)


def _check_lengths(dataset: Dataset, use: Use, file: str, problems: Problems) -> None:
    lengths, _ = episodes(dataset)
    ends = np.flatnonzero(dataset.last)
    if (empty := np.flatnonzero(lengths == 0)).size:
        problems.add("no-step", file, "last", ends[empty[0]], found=f"none in {empty.size} of {len(lengths)} episodes")
    if (short := np.flatnonzero(lengths == 1)).size and use.horizon == 1:
        found = f"one step in {short.size} of {len(lengths)} episodes"
        problems.add("one-step", file, "last", ends[short[0]] - 1, found=found)
    if len(lengths) == 1 and len(dataset) > 5000:
        problems.add("one-episode", file, "last", found=f"one episode of {len(dataset):,} steps")
    if len(dataset) < FEW:
        problems.add("few-transitions", file, found=f"{len(dataset)}", limit=FEW - 1)
    fits = lengths >= use.horizon
    if use.chunk and not fits.any():
        found = f"none longer than {lengths.max()} steps"
        problems.add("chunk-too-long", file, found=found, horizon=use.horizon)
    elif use.horizon > 1 and not fits.all():
        kind = "chunk-longer" if use.chunk else "horizon-longer"
        row = ends[np.argmin(fits)] - lengths[np.argmin(fits)]
        found = f"{np.count_nonzero(~fits)} of {len(lengths)} episodes shorter"
        problems.add(kind, file, "last", row, found=found, horizon=use.horizon)


def _check_tails(dataset: Dataset, use: Use, file: str, problems: Problems) -> None:
    """Steps at the end of an episode in which nothing changes, and steps after a task ended."""
    observations = as_matrix(dataset.observations)
    ends = np.flatnonzero(dataset.last)
    begins = np.concatenate([[0], ends[:-1] + 1])
    moves = np.zeros(len(observations), bool)
    block = max(1, 2**22 // max(1, observations.shape[1]))
    for begin in range(0, len(observations) - 1, block):
        stop = min(begin + block, len(observations) - 1)
        moves[begin:stop] = (observations[begin + 1 : stop + 1] != observations[begin:stop]).any(1)
    moves &= ~dataset.last
    rows = np.arange(len(observations))
    # The last step that moved something; where a task's end led is often not recorded, so such a step tells nothing.
    final = np.maximum(np.maximum.reduceat(np.where(moves, rows, -1), begins), begins - 1)
    idle = np.maximum(ends - (dataset.masks[ends - 1] == 0) - 1 - final, 0)
    if (share := idle.sum() / len(dataset)) > IDLE:
        worst = int(np.argmax(idle))
        found = f"{100 * share:.0f} % of the transitions in tails where no observation changes"
        problems.add("idle-tail", file, "observations", final[worst] + 1, found=found)
    if use.goes_on:
        return
    ended = np.where((dataset.masks == 0) & ~dataset.last, rows, len(rows))
    first = np.minimum.reduceat(ended, begins)
    after = np.maximum(ends - 1 - first, 0)
    if after.any():
        found = f"{100 * after.sum() / len(dataset):.2g} % of the transitions after a mask of 0"
        row = first[np.argmax(after > 0)]
        problems.add("goes-on", file, "masks", row, found=found)


def _check_repetition(dataset: Dataset, file: str, problems: Problems) -> None:
    """Episodes with the very same actions and rewards from the same beginning."""
    again = repetitions(dataset)
    if again.any():
        ends = np.flatnonzero(dataset.last)
        begins = np.concatenate([[0], ends[:-1] + 1])
        found = f"{int(again.sum())} of {dataset.episodes} a second time"
        problems.add("repeated-episode", file, found=found, row=begins[np.argmax(again)])


def _dimensions(which: NDArray[np.intp]) -> str:
    names = ", ".join(map(str, which[:8])) + (", ..." if len(which) > 8 else "")
    return f"dimension{'s' if len(which) > 1 else ''} {names}"
