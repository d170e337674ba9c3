"""Where numbers go besides the run's folder: TensorBoard and W&B."""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tensorboardX import SummaryWriter

from guidedflow.errors import InputError

Numbers = Mapping[str, float]


@runtime_checkable
class Adapter(Protocol):
    """A tracker that takes one seed's numbers at one step."""

    def publish(self, step: int, seed: int, numbers: Numbers) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """One TensorBoard run a seed, so that seeds are curves of their own."""

    def __init__(self, folder: Path, seeds: Sequence[int], purge: int | None) -> None:
        # A suffix, because two writers that start within one second would take the same file, and empty it.
        suffix = f".{time.time_ns()}"
        self._writers = {
            seed: SummaryWriter(str(folder / f"seed-{seed}"), purge_step=purge, flush_secs=10, filename_suffix=suffix)
            for seed in seeds
        }

    def publish(self, step: int, seed: int, numbers: Numbers) -> None:
        for name, number in numbers.items():
            if math.isfinite(number):  # for others the writer prints a line that names no metric
                self._writers[seed].add_scalar(name, number, step)

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


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
