"""What a run reports while it trains: rows on disk, TensorBoard, W&B, and a progress bar.

`metrics.jsonl` and `evaluations.jsonl` are the source of truth; `metrics.csv` and TensorBoard are views of the former.
Progress goes to standard error, so that standard output stays free for results.
"""

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from rich.console import Console

from guidedflow import files
from guidedflow.progress import Progress
from guidedflow.results import intervals, rows
from guidedflow.results.intervals import FIXED, Interval, Metrics
from guidedflow.results.rows import Episode
from guidedflow.runs.trackers import Adapter, Numbers, TensorBoard, WandB


class Tracker:
    """Everything that a run reports, for the seeds that it trains together; a context manager.

    `total` is the number of steps of the whole run, `shown` names the metrics that the progress bar carries.
    """

    def __init__(
        self,
        folder: Path,
        seeds: Sequence[int],
        total: int,
        *,
        shown: Sequence[str] = (),
        wandb: Literal["online", "offline"] | None = None,
        config: Mapping[str, Any] | None = None,
        console: Console | None = None,
    ) -> None:
        self.folder = folder
        self.seeds = list(seeds)
        self._metrics, self._evaluations = folder / "metrics.jsonl", folder / "evaluations.jsonl"
        self._progress = Progress(total, shown, console or Console(stderr=True))
        self._wandb = None if wandb is None else WandB(folder, self.seeds, wandb, config or {})
        self._tensorboard: TensorBoard | None = None
        self._purge: int | None = None
        self._last, self._columns, self._started = -1, list(FIXED), time.monotonic()
        self._take_up(intervals.read(self._metrics))

    def rewind(self, step: int | None) -> None:
        """Forget every row beyond `step` (None: all), torn ones included, as if the run had just come to it.

        Evaluations that were asked for (their source is not "training") stay. To end with the rows of an undisturbed
        run, write the rows of a step before its checkpoint. Each file is replaced whole.
        """
        reached = -1 if step is None else step
        kept = [interval for interval in intervals.read(self._metrics) if interval.step <= reached]
        if step and not kept:
            warnings.warn(f"{self._metrics} has no row up to step {step}; its history begins there.", stacklevel=2)
        if self._metrics.exists():
            intervals.replace(self._metrics, kept)
        rows.rewind(self._evaluations, reached)
        self._take_up(kept)
        self._purge = reached + 1
        self._write_csv(kept)

    def log(self, step: int, metrics: Metrics, steps_per_second: float) -> None:
        """Write the metrics of one log interval, one number a seed; steps only grow, and `rewind` goes back."""
        if step <= self._last:
            raise ValueError(f"step {step} does not come after step {self._last}, which is logged already")
        interval = Interval.of(step, time.monotonic() - self._started, steps_per_second, self.seeds, metrics)
        intervals.append(self._metrics, interval)
        self._last = step
        self._extend_csv(interval)
        for index, seed in enumerate(self.seeds):
            numbers = {name: math.nan if v[index] is None else v[index] for name, v in interval.metrics.items()}
            self._publish(step, seed, {**numbers, "steps_per_second": interval.steps_per_second})  # type: ignore[dict-item]

    def episodes(self, found: Sequence[Episode]) -> None:
        """Write the rows of an evaluation, and publish the means of each policy and seed."""
        rows.append(self._evaluations, found)
        shown = rows.measure(found)
        groups: dict[tuple[int, str], dict[int, list[Episode]]] = {}
        for row in found:
            group = groups.setdefault((row["step"] or 0, row["policy"] or ""), {})
            group.setdefault(row["seed"], []).append(row)
        for (step, policy), seeds in groups.items():
            for seed, mine in seeds.items():
                means = {name: rows.mean(mine, name) for name in ("success", "return", "length", "score")}
                self._publish(
                    step, seed, {f"evaluation/{policy}/{name}": v for name, v in means.items() if v is not None}
                )
            verb, digits = ("succeeds in", 2) if shown == "success" else ("returns", 1)
            column = "success" if shown == "success" else "return"
            told = " ".join(f"{rows.mean(mine, column):.{digits}f}" for mine in seeds.values())
            self._progress.note(f"step {step:,}: {policy} {verb} {told}")

    def advance(self, step: int, metrics: Metrics, steps_per_second: float) -> None:
        """Move the progress bar, or print a line where there is no terminal."""
        self._progress.advance(step, metrics, steps_per_second)

    def note(self, text: str) -> None:
        """Tell a line without disturbing the progress bar."""
        self._progress.note(text)

    def close(self) -> None:
        """Take the progress bar away and finish what trackers hold back."""
        self._progress.close()
        for tracker in self._trackers():
            tracker.close()
        self._tensorboard = self._wandb = None

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _trackers(self) -> "list[Adapter]":
        return [tracker for tracker in (self._tensorboard, self._wandb) if tracker is not None]

    def _take_up(self, kept: Sequence[Interval]) -> None:
        self._last = kept[-1].step if kept else -1
        self._columns = intervals.columns(kept)
        self._started = time.monotonic() - (kept[-1].seconds if kept else 0.0)

    def _publish(self, step: int, seed: int, numbers: Numbers) -> None:
        # TensorBoard opens late, so that it knows from which step on an interrupted run's points are void.
        self._tensorboard = self._tensorboard or TensorBoard(self.folder / "tensorboard", self.seeds, self._purge)
        for tracker in self._trackers():
            tracker.publish(step, seed, numbers)

    def _extend_csv(self, interval: Interval) -> None:
        path = self.folder / "metrics.csv"
        columns = intervals.columns([interval], self._columns)
        if columns != self._columns or not path.exists():
            self._columns = columns
            self._write_csv(intervals.read(self._metrics))
        else:
            files.append(path, intervals.as_csv(columns, [interval]))

    def _write_csv(self, kept: Sequence[Interval]) -> None:
        files.replace(self.folder / "metrics.csv", intervals.as_csv(self._columns, kept, header=True))
