"""Where numbers go besides the run's folder: TensorBoard and W&B."""

import contextlib
import math
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import RecordWriter
from tensorboardX.summary import scalar

from guidedflow import files
from guidedflow.errors import InputError

Numbers = Mapping[str, float]

_FLUSH_SECONDS = 10.0
"""Seconds between two moments at which TensorBoard's points are on the disk."""


@runtime_checkable
class Adapter(Protocol):
    """A tracker that takes one seed's numbers at one step."""

    def publish(self, step: int, seed: int, numbers: Numbers) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """One TensorBoard run a seed, so that seeds are curves of their own.

    Events are written here and not by tensorboardX's thread: where the disk refuses, that thread ends in silence, and
    whoever publishes further points waits for it without end. Raises `InputError` where the disk refuses.
    """

    def __init__(self, folder: Path, seeds: Sequence[int], purge: int | None) -> None:
        # A suffix, because two writers that start within one second would take the same file, and empty it.
        self._folder, self._flushed = folder, -math.inf
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{time.time_ns()}"
        self._writers: dict[int, RecordWriter] = {}
        try:
            with self._told():
                for seed in seeds:
                    place = folder / f"seed-{seed}"
                    place.mkdir(parents=True, exist_ok=True)
                    self._writers[seed] = RecordWriter(str(place / name))
                    self._write(seed, 0, file_version="brain.Event:2")
                    if purge is not None:
                        self._write(seed, purge, file_version="brain.Event:2")
                        self._write(seed, purge, session_log=SessionLog(status=SessionLog.START))
        except InputError:
            self.close()
            raise

    def publish(self, step: int, seed: int, numbers: Numbers) -> None:
        with self._told():
            for name, number in numbers.items():
                if math.isfinite(number):
                    self._write(seed, step, summary=scalar(name, number))
            if time.monotonic() - self._flushed > _FLUSH_SECONDS:
                self._flushed = time.monotonic()
                for writer in self._writers.values():
                    writer.flush()

    def close(self) -> None:
        for writer in self._writers.values():
            with contextlib.suppress(OSError):  # of a disk that has refused before
                writer.close()

    def _write(self, seed: int, step: int, **content: Any) -> None:
        self._writers[seed].write(Event(wall_time=time.time(), step=step, **content).SerializeToString())

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Raise the refusals of the disk as `InputError`."""
        try:
            yield
        except OSError as error:
            raise InputError(
                f"{self._folder} could not be written: {files.reason(error)}; its earlier points are unharmed."
            ) from error


class WandB:
    """One W&B run; with several seeds each metric is named by its seed."""

    def __init__(self, folder: Path, seeds: Sequence[int], mode: str, config: Mapping[str, Any]) -> None:
        try:
            import wandb
        except ImportError as error:
            raise InputError(
                f"Logging to W&B needs the package wandb ({error}); install it: pip install 'guidedflow[wandb]'."
            ) from error
        self._several = len(seeds) > 1
        try:
            self._run = wandb.init(dir=str(folder), name=folder.name, mode=mode, config=dict(config))
        except wandb.Error as error:
            raise InputError(
                f"W&B did not start: {str(error).rstrip('.')}; --wandb offline needs no account."
            ) from error
        self._run.define_metric("*", step_metric="step")  # W&B's own counter cannot go back when a run is resumed

    def publish(self, step: int, seed: int, numbers: Numbers) -> None:
        prefix = f"seed-{seed}/" if self._several else ""
        self._run.log({"step": step, **{prefix + name: number for name, number in numbers.items()}})

    def close(self) -> None:
        self._run.finish()
