"""A live table of a sweep: how many runs are done, what each running one has come to, and the time that is left."""

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from guidedflow.progress import duration
from guidedflow.results.counts import plural
from guidedflow.sweeps.left import Left, speed
from guidedflow.sweeps.packs import Outcome

SHOWN = 12
"""Rows of running runs, at most."""


class Board:
    """The table on a terminal, a line a run that ends elsewhere; a context manager."""

    def __init__(self, console: Console) -> None:
        self._console, self._left, self._outcomes = console, dict[str, Left](), dict[str, Outcome]()
        self._started, self._drawn, self._total = time.monotonic(), 0.0, 0
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def begun(self, found: Sequence[Left]) -> None:
        """Take up what is left."""
        self._total, self._outcomes, self._started = len(found), {}, time.monotonic()
        self._left = {str(each.run.out): each for each in found if each.kind != "nothing"}
        self._say(f"{plural(self._total, 'run')}, {self._total - len(self._left)} done already")

    def report(self, outcome: Outcome) -> None:
        """Show how a run ended."""
        self._outcomes[outcome.out] = outcome
        number = f"{self._total - len(self._left) + len(self._outcomes)}/{self._total}"
        self._say(f"{number} {'done' if outcome.error is None else 'FAILED'} {outcome.out}")
        if outcome.error is not None:
            self._say(f"    {outcome.error}")

    def watch(self, running: int) -> None:
        """Draw the table anew, at most once a second."""
        if self._live is not None and time.monotonic() - self._drawn > 1:
            self._drawn = time.monotonic()
            self._live.update(self._table(running), refresh=True)

    def _table(self, running: int) -> Table:
        table = Table(
            title=f"{len(self._outcomes)} of {plural(len(self._left), 'run')} ended, {plural(running, 'worker')}"
        )
        for name in ("run", "step", "updates/s"):
            table.add_column(name, justify="left" if name == "run" else "right")
        total = ended = 0
        rows = []
        for out, each in self._left.items():
            steps, step = each.run.plan.steps, each.step
            found = None if out in self._outcomes else speed(each.run.out)
            if out in self._outcomes:
                step = steps
            elif found is not None:
                step = found[0]
                if step > each.step:
                    rows.append((out, f"{step:,}/{steps:,}", f"{found[1]:,.1f}"))
            total, ended = total + steps - each.step, ended + step - each.step
        for row in rows[-SHOWN:]:
            table.add_row(*row)
        passed = time.monotonic() - self._started
        table.caption = f"about {duration(passed * (total - ended) / ended)} left" if ended else "starting"
        return table

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> "Board":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
