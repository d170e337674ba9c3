"""Streams of random numbers: every key is a seed, a named stream and a position in it.

No random state is ever saved. Resuming is exact, and evaluating cannot change training, because the key of a step is a
function of its number. This module does not know what the numbers are used for.
"""

import enum

import jax
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, UInt64


class Stream(enum.IntEnum):
    """What a key is for; values never change, because they are part of every result."""

    INIT = 0
    TRAINING_EPISODES = 1
    REPORTING_EPISODES = 2
    SELECTION_EPISODES = 3
    DATA = 4
    UPDATE = 5
    WINDOWS = 6
    JUDGING = 7
    ONLINE_EPISODES = 8
    ONLINE_ACTIONS = 9
    REPLAY = 10
    CURRICULUM = 11
    DIAGNOSTICS = 16


def stream_key(seed: int | Int[Array, ""], stream: Stream, step: int | Int[Array, ""] = 0) -> PRNGKeyArray:
    """The key of one step of a stream."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), stream), step)


def host_bits(seed: int, stream: Stream, step: int, count: int) -> UInt64[np.ndarray, " count"]:
    """Random bits of one step of a stream, for a thread that must not wait for the device: Philox, counted by step."""
    return np.random.Philox(key=[seed, int(stream)], counter=[0, 0, 0, step]).random_raw(count)
