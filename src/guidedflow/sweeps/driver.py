"""A sweep from beginning to end: a folder that one driver holds, what is left, packs, and how they ended."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from guidedflow import files
from guidedflow.errors import InputError
from guidedflow.results.counts import plural
from guidedflow.settings import to_plain
from guidedflow.sweeps.grid import Planned
from guidedflow.sweeps.left import Judging, Left, left
from guidedflow.sweeps.packs import Outcome, Pack, group

SWEEP = "sweep.json"
"""What a sweep was asked for, in its folder."""


@runtime_checkable
class Backend(Protocol):
    """What carries packs out, and reports each run that ends."""

    @property
    def workers(self) -> int:
        """How many packs it carries out at a time."""
        ...

    def __call__(
        self, packs: Sequence[Pack], report: Callable[[Outcome], None], watch: Callable[[int], None]
    ) -> None: ...


@dataclass(frozen=True)
class Ended:
    """How a sweep ended."""

    runs: int
    done: int
    """Runs of which nothing is left, those of earlier sweeps included."""
    already: int
    """Runs of which nothing was left when it began."""
    failed: dict[str, str]
    """The sentence about each run that failed, by its folder."""


def sweep(
    runs: Sequence[Planned],
    judging: Judging,
    backend: Backend,
    begun: Callable[[Sequence[Left]], None] = lambda found: None,
    report: Callable[[Outcome], None] = lambda outcome: None,
    watch: Callable[[int], None] = lambda running: None,
) -> Ended:
    """Do what is left of these runs. A run that fails does not stop the others, and is tried again by the next sweep.

    `begun` is called with what is left, `report` with each run that ends, `watch` a few times a second with the number
    of workers.
    """
    found = left(runs, judging)
    begun(found)
    failed: dict[str, str] = {}

    def note(outcome: Outcome) -> None:
        if outcome.error is not None:
            failed[outcome.out] = outcome.error
        report(outcome)

    packs = group(found, judging, backend.workers)
    if packs:
        backend(packs, note, watch)
    already = sum(each.kind == "nothing" for each in found)
    done = sum(each.kind == "nothing" for each in left(runs, judging)) if packs else already
    return Ended(len(runs), done, already, failed)


def check_data(runs: Sequence[Planned], judging: Judging) -> None:
    """Raise `InputError` for data that are not there, of runs that are still to be trained; nothing is read."""
    wanted = {(each.run.task, each.run.source): each.run for each in left(runs, judging) if each.kind == "train"}
    refused = []
    for run in wanted.values():
        try:
            run.source.locate(run.task).check_there()
        except InputError as error:
            refused.append(str(error))
    different = list(dict.fromkeys(refused))
    if different:
        more = f" ({len(different)} datasets are missing, this is the first)" if len(different) > 1 else ""
        raise InputError(f"{different[0].rstrip('.')}{more}")


@contextmanager
def claimed(out: Path, runs: Sequence[Planned], judging: Judging) -> Iterator[None]:
    """Within it the folder of a sweep is this process's alone; it records what was asked for.

    Raises `InputError` where another process holds it, and where it is the folder of another sweep.
    """
    asked = _record(runs, judging)
    path = out / SWEEP
    with files.folders_above(path):
        descriptor = os.open(out / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held = f"{out} is in use by another sweep; wait until it ends, or choose another --out."
                raise InputError(held) from None
            saved = _saved(path)
            if saved is not None and saved != asked:
                raise InputError(
                    f"{out} is the folder of another sweep ({_difference(saved, asked)}); "
                    "ask for the same grid, or choose another --out."
                )
            if saved is None:
                files.write_json(path, asked)
            yield
        finally:
            os.close(descriptor)


def _record(runs: Sequence[Planned], judging: Judging) -> dict[str, Any]:
    """What identifies a sweep: its runs, without how often they log, and how they are evaluated."""
    found = {
        "runs": [
            {"out": run.out.as_posix(), "task": run.task, "algorithm": run.name, **to_plain(run.algorithm)}
            | {"seed": run.plan.seed, "steps": run.plan.steps, "source": to_plain(run.source)}
            for run in runs
        ],
        "evaluation": {"episodes": judging.episodes, "seed": judging.seed, "stream": judging.stream.name},
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def _saved(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        raise InputError(f"{path} is not the record of a sweep; choose another --out.") from None
    return found


def _difference(saved: dict[str, Any], asked: dict[str, Any]) -> str:
    if saved.get("evaluation") != asked["evaluation"]:
        return f"evaluation {saved.get('evaluation')}, now {asked['evaluation']}"
    before, now = len(saved.get("runs", [])), len(asked["runs"])
    return f"{plural(before, 'run')}, now {now}" if before != now else "runs of other settings"
