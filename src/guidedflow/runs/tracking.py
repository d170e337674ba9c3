"""What a run tells while it trains: rows on disk, TensorBoard, W&B, and a progress bar.

`metrics.jsonl` is the source of truth, one row a log interval with a list of one number a seed under each metric:
`{"step": 1000, "seconds": 12.5, "steps_per_second": 80.1, "seeds": [0, 1], "critic/loss": [0.25, 0.5]}`; a number that
is not finite is null. `metrics.csv` and TensorBoard are views of it. Progress goes to standard error, so that standard
output stays free for results.
This module does not know what is trained, nor which metrics there are.
"""

import time
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from rich.console import Console

from guidedflow import files
from guidedflow.progress import Progress
from guidedflow.runs.metric_rows import (
    FIXED,
    TAKEN,
    Metrics,
    Numbers,
    as_csv,
    columns_of,
    csv_line,
    mean,
    number,
    safe_cell,
    shortest,
)
from guidedflow.runs.trackers import Adapter, TensorBoard, WandB


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
        self._take_up(files.read_rows(self._metrics))

    def rewind(self, step: int | None) -> None:
        """Forget every row beyond `step` (None: all), torn ones included, as if the run had just come to it.

        Evaluations that were asked for (their source is not "training") stay. To end with the rows of an undisturbed
        run, write the rows of a step before its checkpoint. Each file is replaced whole.
        """
        reached = -1 if step is None else step
        rows = [row for row in files.read_rows(self._metrics) if row["step"] <= reached]
        if step and not rows:
            warnings.warn(f"{self._metrics} has no row up to step {step}; its history begins there.", stacklevel=2)
        evaluations = [
            row
            for row in files.read_rows(self._evaluations)
            if row.get("source", "training") != "training" or row["step"] <= reached
        ]
        for path, kept in ((self._metrics, rows), (self._evaluations, evaluations)):
            if path.exists():
                files.replace_rows(path, kept)
        self._take_up(rows)
        self._purge = reached + 1
        self._write_csv(rows)

    def log(self, step: int, metrics: Metrics, steps_per_second: float) -> None:
        """Write the metrics of one log interval, one number a seed; steps only grow, and `rewind` goes back."""
        if step <= self._last:
            raise ValueError(f"step {step} does not come after step {self._last}, which is logged already")
        values = {name: self._per_seed(name, value) for name, value in metrics.items()}
        fixed = {"step": step, "seconds": self._seconds(), "steps_per_second": round(float(steps_per_second), 3)}
        row = {**fixed, "seeds": self.seeds, **values}
        files.append_rows(self._metrics, [row])
        self._last = step
        self._extend_csv(row)
        for index, seed in enumerate(self.seeds):
            numbers = {name: number(value[index]) for name, value in values.items()}
            self._publish(step, seed, {**numbers, "steps_per_second": float(steps_per_second)})

    def episodes(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the raw rows of an evaluation, and publish the means of each policy and seed."""
        files.append_rows(self._evaluations, rows)
        told: dict[tuple[int, str], list[dict[str, float]]] = defaultdict(list)
        for (step, seed, policy), group in _grouped(rows).items():
            columns = {name: [row[name] for row in group] for name in ("success", "return", "length")}
            means = {name: mean(column) for name, column in columns.items() if None not in column}
            self._publish(step, seed, {f"evaluation/{policy}/{name}": value for name, value in means.items()})
            told[step, policy].append(means)
        for (step, policy), seeds in told.items():
            if all("success" in means for means in seeds):
                note = "succeeds in " + " ".join(f"{means['success']:.2f}" for means in seeds)
            else:
                note = "returns " + " ".join(f"{means['return']:.1f}" for means in seeds)
            self._progress.note(f"step {step:,}: {policy} {note}")

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

    def _take_up(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._last = rows[-1]["step"] if rows else -1
        self._columns = columns_of(rows)
        self._started = time.monotonic() - (rows[-1]["seconds"] if rows else 0.0)

    def _seconds(self) -> float:
        return round(time.monotonic() - self._started, 3)

    def _per_seed(self, name: str, value: Any) -> list[float | None]:
        array = np.asarray(value, dtype=np.float32)
        if array.shape != (len(self.seeds),):
            raise ValueError(
                f"metric {name!r} has shape {array.shape}; expected one number for each of {len(self.seeds)} seeds"
            )
        if name in TAKEN:
            raise ValueError(f"metric {name!r} has the name of a column that every row has")
        return [shortest(number) for number in array]

    def _publish(self, step: int, seed: int, numbers: Numbers) -> None:
        # TensorBoard opens late, so that it knows from which step on an interrupted run's points are void.
        self._tensorboard = self._tensorboard or TensorBoard(self.folder / "tensorboard", self.seeds, self._purge)
        for tracker in self._trackers():
            tracker.publish(step, seed, numbers)

    def _extend_csv(self, row: Mapping[str, Any]) -> None:
        path = self.folder / "metrics.csv"
        columns = columns_of([row], self._columns)
        if columns != self._columns or not path.exists():
            self._columns = columns
            self._write_csv(files.read_rows(self._metrics))
        else:
            files.append(path, as_csv(columns, [row]))

    def _write_csv(self, rows: Sequence[Mapping[str, Any]]) -> None:
        header = csv_line(safe_cell(name) for name in self._columns)
        files.replace(self.folder / "metrics.csv", (header + as_csv(self._columns, rows).decode()).encode())


def _grouped(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[int, int, str], list[Mapping[str, Any]]]:
    groups: dict[tuple[int, int, str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["step"], row["seed"], row["policy"]].append(row)
    return groups
