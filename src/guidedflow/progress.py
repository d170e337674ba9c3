"""How far training is: a bar on a terminal, plain lines elsewhere.

This module does not know what advances.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import rich.progress
from jaxtyping import Float
from rich.console import Console


class Progress:
    """The way from step 0 to step `total`, with speed, time left and the metrics named by `shown`."""

    def __init__(self, total: int, shown: Sequence[str], console: Console) -> None:
        self._total, self._shown, self._console = total, tuple(shown), console
        self._bar: rich.progress.Progress | None = None
        self._task = rich.progress.TaskID(0)

    def advance(self, step: int, metrics: Mapping[str, Float[np.ndarray, " seeds"]], steps_per_second: float) -> None:
        """Show `step`; what is not among `metrics` now is left out."""
        left = duration((self._total - step) / steps_per_second) if steps_per_second > 0 else "?"
        values = "  ".join(f"{name} {told(metrics[name])}" for name in self._shown if name in metrics)
        state = f"{step:,}/{self._total:,}  {steps_per_second:,.1f} steps/s  {left} left"
        if not self._console.is_terminal:
            self.note(f"{state}  {values}".rstrip())
            return
        if self._bar is None:
            self._open()
        assert self._bar is not None
        self._bar.update(self._task, completed=step, state=state, values=values)

    def note(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _open(self) -> None:
        self._bar = rich.progress.Progress(
            rich.progress.BarColumn(bar_width=24),
            rich.progress.TextColumn("{task.fields[state]}", markup=False),
            rich.progress.TextColumn("{task.fields[values]}", markup=False, style="dim"),
            console=self._console,
        )
        self._task = self._bar.add_task("", total=self._total, state="", values="")
        self._bar.start()


@contextmanager
def arrivals() -> Iterator[Callable[[str, int, int | None], None]]:
    """Within it, a function that shows of a file's name how many bytes, of how many, have arrived."""
    console, tasks, tenths = Console(stderr=True), dict[str, rich.progress.TaskID](), dict[str, int]()
    shown = (rich.progress.TextColumn("{task.description}", markup=False), rich.progress.BarColumn(bar_width=24))
    columns = (*shown, rich.progress.DownloadColumn(), rich.progress.TransferSpeedColumn())
    with rich.progress.Progress(*columns, console=console, disable=not console.is_terminal) as bar:

        def show(name: str, held: int, total: int | None) -> None:
            if console.is_terminal:
                tasks[name] = tasks[name] if name in tasks else bar.add_task(name)
                bar.update(tasks[name], completed=held, total=total)
            elif total and held * 10 // total > tenths.get(name, -1):
                tenths[name] = held * 10 // total
                console.print(f"{name}: {held:,} of {total:,} bytes", markup=False, highlight=False, soft_wrap=True)

        yield show


def duration(seconds: float) -> str:
    """A duration as people say it: `45s`, `3m20s`, `2h05m`."""
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    if minutes == 0:
        return f"{rest}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"


def told(values: Float[np.ndarray, " seeds"]) -> str:
    """One number a seed, or their range where they are many."""
    numbers = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if len(numbers) <= 4:
        return " ".join(f"{number:.3g}" for number in numbers)
    return f"{numbers.min():.3g}..{numbers.max():.3g}"
