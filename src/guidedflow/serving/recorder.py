"""What robots saw and did, as episodes in a file that `guidedflow data` reads: the next dataset.

    observations, actions      of each request and its answer; an answer of several steps is one action, side by side
    rewards, masks             of the step, as the client tells them with its next request; 0 and 1 where it does not
    last                       1 in the final row of an episode, which only holds an observation
    seeds                      of the random keys

An episode begins with a connection, a `reset`, or the request after an end, and ends by `terminated`, `truncated`,
`reset` or the end of the connection. The file is replaced whole after each episode, and followed by `NAME-1.npz` and so
on when it has grown. This module does not know how requests arrive, and no simulator.
"""

import logging
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidedflow import files
from guidedflow.errors import InputError
from guidedflow.packing import unpacked
from guidedflow.serving.requests import Outcome

_LOG = logging.getLogger(__name__)

COLUMNS = {name: name for name in ("observations", "actions", "rewards", "masks", "last")}
MOST_BYTES = 256 * 2**20
"""Of one file, before the next is begun."""
LONGEST = 10_000
"""Rows of an episode that the client does not end; another begins there."""

Episode = dict[str, NDArray[Any]]


class Recorder:
    """A file of episodes, written by a separate thread; `close` waits for it."""

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        path = path.expanduser().resolve()
        if path.suffix != ".npz":
            raise InputError(f"--record takes a file that ends in .npz, but got {path.name}.")
        if path.exists():
            raise InputError(f"{path} exists already; name another file for this recording.")
        if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
            raise InputError(f"{path.parent} is no folder that can be written to; name another file to record into.")
        self._first, self._path, self._most = path, path, most_bytes
        self._episodes: list[Episode] = []
        self._held = self._number = 0
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recorder")
        self._pending: Future[None] | None = None

    def session(self) -> "Session":
        """The episodes of one connection."""
        return Session(self)

    def add(self, episode: Episode) -> None:
        """Take a whole episode, and write the file soon."""
        with self._lock:
            size = sum(column.nbytes for column in episode.values())
            if self._held and self._held + size > self._most:
                self._thread.submit(_write_or_say, self._path, self._episodes)
                self._number += 1
                self._path = self._first.with_name(f"{self._first.stem}-{self._number}.npz")
                self._episodes, self._held = [], 0
            self._episodes.append(episode)
            self._held += size
            if self._pending is None or self._pending.done():
                self._pending = self._thread.submit(self._flush)

    def _flush(self) -> None:
        with self._lock:
            path, episodes = self._path, list(self._episodes)
            self._pending = None  # what comes from now on is written by another flush
        _write_or_say(path, episodes)

    def close(self) -> None:
        """Write what is left. Raises `InputError` where the disk refuses."""
        self._thread.shutdown(wait=True)
        if self._episodes:
            _write(self._path, self._episodes)


class Session:
    """The episodes of one connection, a step at a time."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._rows: list[dict[str, Any]] = []

    def add(self, observation: NDArray[Any], actions: NDArray[np.float32], seed: int, outcome: Outcome) -> None:
        """A request and its answer; `outcome` is of the step before."""
        if outcome.reset or len(self._rows) >= LONGEST:
            self.close()
        self._settle(outcome)
        row = {"observations": observation, "actions": actions.ravel(), "rewards": 0.0, "masks": 1.0, "seeds": seed}
        self._rows.append(row)

    def end(self, observation: NDArray[Any], outcome: Outcome) -> None:
        """The observation that ends an episode."""
        if self._rows:
            self._settle(outcome)
            self._rows.append(self._rows[-1] | {"observations": observation, "rewards": 0.0, "masks": 0.0})
            self.close()

    def close(self) -> None:
        """Hand the episode over; its last row only holds an observation. One without any step is left out."""
        rows, self._rows = self._rows, []
        if len(rows) < 2:
            return
        episode: Episode = {
            "observations": np.stack([row["observations"] for row in rows]),
            "actions": np.stack([row["actions"] for row in rows]),
            "rewards": np.array([row["rewards"] for row in rows], np.float32),
            "masks": np.array([row["masks"] for row in rows], np.float32),
            "last": np.arange(len(rows)) == len(rows) - 1,
            "seeds": np.array([row["seeds"] for row in rows], np.int64),
        }
        self._recorder.add(episode)

    def _settle(self, outcome: Outcome) -> None:
        """Write down what the last step came to."""
        if self._rows:
            self._rows[-1] |= {"rewards": outcome.reward, "masks": float(not outcome.terminated)}


def _write_or_say(path: Path, episodes: list[Episode]) -> None:
    """Write, and log where the disk refuses: robots go on, and the next episode tries again."""
    try:
        _write(path, episodes)
    except InputError as error:
        _LOG.error("%s", error)


def _write(path: Path, episodes: list[Episode]) -> None:
    """Make these episodes the contents of a file, all or none, the names of its columns beside it."""
    columns = {name: np.concatenate([episode[name] for episode in episodes]) for name in episodes[0]}
    named = COLUMNS
    if columns["observations"].dtype.names is not None:
        parts = {f"observations/{name}": part for name, part in unpacked(columns.pop("observations")).items()}
        columns, named = parts | columns, COLUMNS | {"observations": "+".join(parts)}
    files.write_json(path.with_name(f"{path.name}.columns.json"), named)
    with files.replacing(path) as part, part.open("wb") as file:
        np.savez(file, allow_pickle=False, **columns)
