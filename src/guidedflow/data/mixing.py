"""Mixtures: whole episodes of several collections in one, with exact shares of the episodes.

A mixture is the largest one in which the shares of episodes are exact and no episode is repeated. Where there is none,
and where a number of episodes is given, shares are rounded to whole episodes by the largest remainder. The shares of
transitions are recorded beside them. Each source is shuffled by the seed and its own number, so a larger share of a
source contains the episodes of a smaller one.

This module does not know where data are from, nor in which format they are kept.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from guidedflow.errors import InputError

Columns = Mapping[str, NDArray[Any]]
"""Columns of equal length, by name; rows of one episode are adjacent."""

_CLOSE = 1e-6
"""How far from 1 the sum of shares may be."""


class Part(NamedTuple):
    """One source of a mixture."""

    name: str
    columns: Columns
    last: NDArray[np.bool_]
    """True in the final row of each episode."""


def mix(
    parts: Sequence[Part], shares: Sequence[float], seed: int = 0, episodes: int | None = None
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The columns of a mixture, source after source, and the record of how it was made.

    Raises `InputError` for shares outside [0, 1] or of another sum than 1, for sources whose columns have other names,
    types or sizes, and for more episodes than the sources have.
    """
    check_shares(shares, len(parts))
    for part in parts[1:]:
        _check_alike(parts[0], part)
    counts = _counts([int(np.count_nonzero(part.last)) for part in parts], shares, episodes, parts)
    chosen = [
        _rows(part.last, count, seed, number) for number, (part, count) in enumerate(zip(parts, counts, strict=True))
    ]
    columns = {
        name: np.concatenate([part.columns[name][rows] for part, rows in zip(parts, chosen, strict=True)])
        for name in parts[0].columns
    }
    steps = [len(rows) - count for rows, count in zip(chosen, counts, strict=True)]
    told = [
        {"source": part.name, "share": float(share), "episodes": count, "share_transitions": _share(step, sum(steps))}
        for part, share, count, step in zip(parts, shares, counts, steps, strict=True)
    ]
    return columns, {"by": "mixture", "seed": seed, "parts": told}


def check_shares(shares: Sequence[float], sources: int) -> None:
    """Raises `InputError` unless there is a share in [0, 1] for each source, and they add up to 1."""
    if len(shares) != sources or sources < 2:
        raise InputError(f"--mix takes a share for each of two or more sources, but has {len(shares)} for {sources}.")
    for share in shares:
        if not 0 <= share <= 1:
            raise InputError(f"a share of --mix must be between 0 and 1, but is {share:g}.")
    if abs(sum(shares) - 1) > _CLOSE:
        raise InputError(f"the shares of --mix must add up to 1, but add up to {sum(shares):g}.")


def _check_alike(first: Part, other: Part) -> None:
    """Raises `InputError` where two sources cannot stand in one file."""
    if first.columns.keys() != other.columns.keys():
        names = " and ".join(f"{', '.join(part.columns)} ({part.name})" for part in (first, other))
        raise InputError(f"a mixture needs sources with the same columns, but they are {names}.")
    for name, column in first.columns.items():
        found, expected = (
            f"{c.dtype}[rows{''.join(f', {size}' for size in c.shape[1:])}]" for c in (other.columns[name], column)
        )
        if found != expected:
            raise InputError(
                f"a mixture needs data of one size, but {name} is {expected} in {first.name} and {found} in "
                f"{other.name}; mix collections of the same environment."
            )


def _counts(
    available: Sequence[int], shares: Sequence[float], episodes: int | None, parts: Sequence[Part]
) -> list[int]:
    """How many episodes of each source: shares of the total, rounded by the largest remainder."""
    most = min(math.floor(count / share + _CLOSE) for count, share in zip(available, shares, strict=True) if share > 0)
    exactly = (n for n in range(most, 0, -1) if all(abs(n * share - round(n * share)) < _CLOSE for share in shares))
    total = next(exactly, most) if episodes is None else episodes
    if total < 1:
        raise InputError(f"a mixture needs at least one episode, but --episodes is {total}.")
    exact = np.array(shares) / sum(shares) * total
    counts = np.floor(exact + _CLOSE).astype(int)
    for index in np.argsort(counts - exact, kind="stable")[: total - counts.sum()]:
        counts[index] += 1
    for part, count, has in zip(parts, counts, available, strict=True):
        if count > has and episodes is not None:
            raise InputError(f"a mixture of {total} episodes needs {count} of {part.name}, which has {has}.")
    return np.minimum(counts, available).tolist()


def _rows(last: NDArray[np.bool_], count: int, seed: int, number: int) -> NDArray[np.int64]:
    """The rows of so many episodes of source `number`, in the order of its file."""
    ends = np.flatnonzero(last)
    begins = np.concatenate([[0], ends[:-1] + 1])
    random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,)))
    chosen = np.sort(random.permutation(len(ends))[:count])
    ranges = [np.arange(begins[episode], ends[episode] + 1) for episode in chosen]
    return np.concatenate([np.empty(0, np.int64), *ranges])


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
