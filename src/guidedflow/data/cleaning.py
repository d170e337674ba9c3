"""Data made fit to be learned from: episodes with NaN, idle tails and repetitions taken out, and what was done said.

    nan        drop the episodes with a number that is not finite, or cut them before its row
    idle       end an episode after the last step that changed an observation
    repeated   keep the first of episodes with the same beginning, actions and rewards

This module does not know where data are from, nor how they are written.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Int64

from guidedflow.data.actions import Outside, inside
from guidedflow.data.dataset import Dataset, UnfiniteColumn, first_unfinite_row
from guidedflow.data.formats.recording import Recording
from guidedflow.data.sources import Origin
from guidedflow.errors import InputError
from guidedflow.packing import as_matrix, finite_rows


@dataclass(frozen=True)
class Cleaning:
    """What is to be done."""

    nan: Literal["drop", "cut"] = "drop"
    """Drop an episode with NaN or infinity, or cut it before the first such row."""
    idle: bool = False
    """Cut what comes after the last step of an episode that changed an observation."""
    repeated: bool = False
    """Keep the first of episodes that are the same."""
    outside: Outside = Outside.refused
    """What becomes of actions outside [-1, 1]; where they are refused here, they stay as they are."""


def clean(origin: Origin, how: Cleaning) -> tuple[Dataset, dict[str, Any]]:
    """The clean dataset, and what was done to it, for JSON. Raises `InputError` where nothing would be left."""
    record = origin.record()
    if record is None:
        dataset, told = _whole(origin), {"episodes": 0, "rows": 0}
    else:
        record, told = finite(record, how.nan)
        dataset = record.to_dataset(origin.task)
    done: dict[str, Any] = {"not_finite": told, "idle_steps": 0, "repeated_episodes": 0}
    if how.idle:
        dataset, done["idle_steps"] = without_tails(dataset)
    if how.repeated:
        again = repetitions(dataset)
        dataset, done["repeated_episodes"] = only(dataset, ~again), int(again.sum())
    if how.outside is not Outside.refused:
        done["actions_outside"] = dataset.actions_outside.share
        dataset = inside(dataset, how.outside)
    return dataset, {**done, "episodes": dataset.episodes, "transitions": len(dataset)}


def _whole(origin: Origin) -> Dataset:
    """A dataset that only its own loader can read. Raises `InputError` where a number of it is not finite."""
    try:
        return origin.read()
    except UnfiniteColumn as error:
        raise InputError(
            f"{error}: {origin.path} is read by the rules of {origin.source.name}, whose published files have no such "
            "number, so it is damaged; get it again, or name its columns by --columns to clean it as a file of your own"
        ) from error


def finite(record: Recording, nan: Literal["drop", "cut"]) -> tuple[Recording, dict[str, int]]:
    """A recording without rows that are not finite, and how many episodes and rows had to go."""
    bad = np.zeros(len(record.ends), bool)
    for column in record.columns():
        if first_unfinite_row(column) is not None:
            bad |= ~finite_rows(column)
    if not bad.any():
        return record, {"episodes": 0, "rows": 0}
    episode = np.append(0, np.cumsum(record.ends)[:-1])
    hurt = np.unique(episode[bad])
    gone = np.isin(episode, hurt)
    if nan == "cut":
        first = np.full(episode[-1] + 1, len(bad))
        np.minimum.at(first, episode[bad], np.flatnonzero(bad))
        gone = np.arange(len(bad)) >= first[episode]
    kept, left = ~gone, np.bincount(episode[~gone], minlength=episode[-1] + 1)
    if record.next_observations is None:  # a single row has no successor
        kept &= (left[episode] > 1) | ~np.isin(episode, hurt)
    if not kept.any():
        raise InputError("every episode has a number that is not finite in its first rows, so none would be left")
    ends = record.ends | np.append(gone[1:], False)
    return record.only(kept, ends), {"episodes": len(hurt), "rows": int(np.count_nonzero(~kept))}


def without_tails(dataset: Dataset) -> tuple[Dataset, int]:
    """The dataset without steps after which nothing changes to the episode's end, and how many they were.

    A step whose mask is 0 stays, with all before it: it says that the task ended.
    """
    idle = idle_tails(dataset)
    ends = np.flatnonzero(dataset.last)
    rows = np.arange(len(dataset.last))
    stop = (ends - idle)[np.searchsorted(ends, rows)]
    last = rows == stop
    return _rows(dataset, rows <= stop, last), int(idle.sum())


def idle_tails(dataset: Dataset) -> Int64[np.ndarray, " episodes"]:
    """How many steps at the end of each episode change no observation, and come after its last mask of 0."""
    observations = as_matrix(dataset.observations)
    ends = np.flatnonzero(dataset.last)
    begins = np.concatenate([[0], ends[:-1] + 1])
    moves = np.zeros(len(observations), bool)
    block = max(1, 2**22 // max(1, observations.shape[1]))
    for begin in range(0, len(observations) - 1, block):
        stop = min(begin + block, len(observations) - 1)
        moves[begin:stop] = (observations[begin + 1 : stop + 1] != observations[begin:stop]).any(1)
    moves = (moves | (dataset.masks == 0)) & ~dataset.last
    rows = np.arange(len(observations))
    final = np.maximum(np.maximum.reduceat(np.where(moves, rows, -1), begins), begins - 1)
    return ends - 1 - final


def repetitions(dataset: Dataset) -> Bool[np.ndarray, " episodes"]:
    """Which episodes have the actions and rewards of an earlier one, from the same beginning; empty ones do not."""
    seen: set[bytes] = set()
    again, begin = [], 0
    for end in np.flatnonzero(dataset.last):
        digest = hashlib.blake2b(dataset.observations[begin].tobytes(), digest_size=16)
        digest.update(np.ascontiguousarray(dataset.actions[begin:end]).data)
        digest.update(np.ascontiguousarray(dataset.rewards[begin:end]).data)
        again.append(bool(end > begin + 1) and digest.digest() in seen)
        if end > begin + 1:
            seen.add(digest.digest())
        begin = int(end) + 1
    return np.array(again)


def split(dataset: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """The episodes to train on, and those that are held out, drawn at random; each in its old order.

    Raises `InputError` unless at least one episode is on either side.
    """
    count = round(share * dataset.episodes)
    if not 0 < count < dataset.episodes:
        raise InputError(
            f"of {dataset.episodes} episodes a share of {share:g} is {count}, but at least one must be held out and at "
            "least one left; give another --share"
        )
    held = np.zeros(dataset.episodes, bool)
    held[np.random.default_rng(seed).permutation(dataset.episodes)[:count]] = True
    return only(dataset, ~held), only(dataset, held)


def only(dataset: Dataset, episodes: Bool[np.ndarray, " episodes"]) -> Dataset:
    """Some of the episodes. Raises `InputError` for none."""
    if not episodes.any():
        raise InputError(f"dataset {dataset.name!r}: no episode would be left")
    rows = episodes[np.searchsorted(np.flatnonzero(dataset.last), np.arange(len(dataset.last)))]
    return _rows(dataset, rows, dataset.last)


def _rows(dataset: Dataset, rows: Bool[np.ndarray, " rows"], last: Bool[np.ndarray, " rows"]) -> Dataset:
    """Some of the rows, with these ends."""
    observations = dataset.observations[rows]
    goals = dataset.goals
    if goals is not None:
        goals = observations if goals is dataset.observations else goals[rows]
    return Dataset(
        name=dataset.name,
        observations=observations,
        actions=dataset.actions[rows],
        rewards=dataset.rewards[rows],
        masks=dataset.masks[rows],
        last=last[rows],
        goals=goals,
        weights=None if dataset.weights is None else dataset.weights[rows],
        action_scale=dataset.action_scale,
    )
