"""A run that is killed at any moment ends, once it is resumed, with the bits of one that was not.

Parameters, optimisers, metrics and evaluations are compared. The processes are forked from one that has imported
everything, die by SIGKILL, and are resumed in this one.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from outcomes import outcome
from train_and_die import before_changes, watched

from guidedflow.runs import checkpoint

HERE = Path(__file__).parents[1]
FIVE = ("gfp", "fql", "qgf", "rebrac", "iql")
KILLS, STEPS = 20, 60


class Forks:
    """Processes that train: one at a time, each forked from one that has imported everything."""

    def __init__(self, cache: Path) -> None:
        told = {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        self.above = subprocess.Popen(
            [sys.executable, str(HERE / "train_and_die.py"), "forks"],
            env={**os.environ, **told}, cwd=HERE, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def start(self, name: str, out: Path, steps: int, count: int = 0) -> int:
        """Begin a run that dies before its `count`-th change of the disk; the number of its process."""
        assert self.above.stdin is not None
        self.above.stdin.write(f"{name} {out} {steps} {count}\n")
        self.above.stdin.flush()
        return self._answer()

    def ended(self) -> int:
        """The signal that a run died of, or 0."""
        return os.waitstatus_to_exitcode(self._answer())

    def _answer(self) -> int:
        assert self.above.stdout is not None
        return int(self.above.stdout.readline())


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    made = Forks(tmp_path_factory.mktemp("compiled"))
    yield made
    made.above.communicate()


def rows(out: Path) -> int:
    """Intervals whose metrics are written."""
    with contextlib.suppress(FileNotFoundError):
        return (out / "metrics.jsonl").read_bytes().count(b"\n")
    return 0


def newest(out: Path) -> int:
    return checkpoint.latest(out / "checkpoints") or 0


def resume(name: str, out: Path, steps: int) -> None:
    with warnings.catch_warnings(action="error"):  # nothing damaged is passed over
        watched(name, out, steps)


def struck(name: str, number: int, times: int, forks: Forks, folder: Path) -> Iterator[tuple[int, Path]]:
    """Runs that got a signal at so many random moments, with how each ended; one that was faster is not counted.

    Moments are spread over the intervals: a number of them is drawn, and then a part of the next.
    """
    forks.start(name, folder / "whole", STEPS)
    assert forks.ended() == 0
    draw, counted = random.Random(name), 0
    for attempt in range(10 * times):
        out, after = folder / str(attempt), draw.randrange(rows(folder / "whole"))
        process = forks.start(name, out, STEPS)
        while rows(out) < after:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.1))
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)
        if (ended := forks.ended()) != 0:
            counted += 1
            yield ended, out
        if counted == times:
            return
    raise AssertionError("most runs were faster than the signal")


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", FIVE)
def test_killed_at_twenty_random_moments_it_ends_with_the_same_bits(name: str, forks: Forks, tmp_path: Path) -> None:
    came_to = []
    for ended, out in struck(name, signal.SIGKILL, KILLS, forks, tmp_path):
        assert ended == -signal.SIGKILL
        came_to.append(newest(out))
        resume(name, out, STEPS)
        assert outcome(out) == outcome(tmp_path / "whole"), came_to
    print(name, "killed when the newest checkpoint was", sorted(came_to))
    assert len(set(came_to)) > KILLS // 4


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupted_at_random_moments_it_ends_with_the_same_bits(
    number: signal.Signals, forks: Forks, tmp_path: Path
) -> None:
    """Its exit status says by which signal, once training has begun; before, the signal does as it does anywhere."""
    statuses = []
    for ended, out in struck("fql", number, 5, forks, tmp_path):
        statuses.append(ended)
        saved = newest(out)
        resume("fql", out, STEPS)
        assert outcome(out) == outcome(tmp_path / "whole"), statuses
        assert ended == 128 + number or (ended in (-number, 1) and saved == 0), statuses
    print(number.name, "ended with", statuses)
    assert 128 + number in statuses


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_killed_before_any_change_of_the_disk_it_ends_with_the_same_bits(forks: Forks, tmp_path: Path) -> None:
    """Of a run of two saves: the lock, the configuration, every row, every write, sync, rename and removal."""
    whole, count = tmp_path / "whole", 0
    forks.start("fql", whole, 8)
    assert forks.ended() == 0
    while True:
        count += 1
        out = tmp_path / str(count)
        forks.start("fql", out, 8, count)
        died = forks.ended()
        if died == 0:
            break
        assert died == -signal.SIGKILL
        resume("fql", out, 8)
        assert outcome(out) == outcome(whole), count
    print("killed before each of", count - 1, "changes of the disk")
    assert count > 40


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", FIVE)
def test_what_is_on_the_disk_before_any_change_is_enough(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is copied before each change, and each copy is resumed: it is what a kill would leave there."""
    whole, out, copies, busy = tmp_path / "whole", tmp_path / "run", [], [False]
    watched(name, whole, 8)

    def copy() -> None:
        if not busy[0]:
            busy[0] = True
            copies.append(tmp_path / f"copy-{len(copies)}")
            if out.exists():
                shutil.copytree(out, copies[-1])
            busy[0] = False

    with monkeypatch.context() as patch:
        before_changes(copy, partial(patch.setattr, raising=False))
        watched(name, out, 8)
    assert outcome(out) == outcome(whole)
    for each in copies:
        resume(name, each, 8)
        assert outcome(each) == outcome(whole), each.name
        shutil.rmtree(each)
    print(name, "resumed from each of", len(copies), "states of the disk")
    assert len(copies) > 40
