"""A dataset in blocks of consecutive rows, and the order in which they are read.

    begins  owned  stops     a block owns the transitions that start in rows [begin, owned); [owned, stop) are read
                             too, because some of these transitions end there

A block is whole episodes where they fit, so that whatever a transition leads to is inside. An episode of more than two
blocks' size is split, and each piece carries as many rows of the next one as its transitions reach ahead: rewards,
discounts and chunks are those of the whole episode.

The order is systematic sampling with probability proportional to mass (Madow, 1949), in epochs: an epoch of n blocks is
n draws, in which a block of the mass of m average ones comes m times, rounded up or down at random. It is a function of
seed and epoch. This module does not know what is in a row.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from guidedflow.keys import Stream, host_bits


@dataclass(frozen=True)
class Blocks:
    """Blocks that together own every row once."""

    begins: Int64[np.ndarray, " blocks"]
    owned: Int64[np.ndarray, " blocks"]
    stops: Int64[np.ndarray, " blocks"]
    counts: Int64[np.ndarray, " blocks"]
    """Transitions that a block owns."""

    @classmethod
    def of(
        cls, ends: Int64[np.ndarray, " episodes"], size: int, horizon: int, chunk: bool, split: bool = True
    ) -> "Blocks":
        """Of about `size` rows each, of episodes whose final rows are `ends`; for transitions of this horizon.

        Without `split`, an episode is in one block however long it is.
        """
        begins = np.concatenate([[0], ends[:-1] + 1])
        rows = int(ends[-1]) + 1
        nearest = np.minimum(np.searchsorted(begins, np.arange(0, rows, size)), len(begins) - 1)
        edges = np.unique(np.append(begins[nearest], rows))
        pieces = [
            np.linspace(begin, stop, 1 + max(1, round((stop - begin) / size)), dtype=np.int64)[:-1]
            if split and stop - begin > 2 * size
            else [begin]
            for begin, stop in itertools.pairwise(edges)
        ]
        edges = np.append(np.concatenate(pieces), rows)
        owned = edges[1:]
        ahead = 2 * horizon - 1 if chunk else horizon
        final = ends[np.searchsorted(ends, owned - 1)]  # of the episode that the last own row is in
        counts = np.diff(_transitions_before(edges, begins, ends, horizon if chunk else 1))
        return cls(edges[:-1], owned, np.maximum(owned, np.minimum(owned + ahead, final + 1)), counts)

    def __len__(self) -> int:
        return len(self.begins)

    @property
    def longest(self) -> int:
        """Rows of the longest block."""
        return int(np.max(self.stops - self.begins))


def order(mass: Float64[np.ndarray, " blocks"], seed: int, epoch: int) -> Int64[np.ndarray, " draws"]:
    """The blocks of one epoch: as many draws as there are blocks with a mass."""
    alive = np.flatnonzero(mass > 0)
    start, first, second = np.split(host_bits(seed, Stream.WINDOWS, epoch, 1 + 2 * len(alive)), [1, 1 + len(alive)])
    shuffled = alive[np.argsort(first, kind="stable")]
    sums = np.cumsum(mass[shuffled])
    places = (np.arange(len(alive)) + int(start[0]) / 2**64) * (sums[-1] / len(alive))
    found = shuffled[np.minimum(np.searchsorted(sums, places, side="right"), len(alive) - 1)]
    return found[np.argsort(second, kind="stable")]  # a block that comes twice is spread over the epoch


def drawn(mass: Float64[np.ndarray, " blocks"], seed: int, begin: int, stop: int) -> Int64[np.ndarray, " draws"]:
    """The draws from `begin` to before `stop`, counted over all epochs."""
    length = np.count_nonzero(mass > 0)
    epochs = range(begin // length, (stop - 1) // length + 1)
    whole = np.concatenate([order(mass, seed, epoch) for epoch in epochs])
    return whole[begin - epochs[0] * length : stop - epochs[0] * length]


def _transitions_before(
    rows: Int64[np.ndarray, " places"],
    begins: Int64[np.ndarray, " episodes"],
    ends: Int64[np.ndarray, " episodes"],
    steps: int,
) -> Int64[np.ndarray, " places"]:
    """How many transitions start before each of these rows, if an episode must have `steps` more from there on."""
    each = np.maximum(ends - begins + 1 - steps, 0)
    before = np.concatenate([[0], np.cumsum(each)])
    episode = np.searchsorted(ends, rows)  # that the row is in; one too many past the end
    inside = np.minimum(rows - np.append(begins, ends[-1] + 1)[episode], np.append(each, 0)[episode])
    return before[episode] + inside
