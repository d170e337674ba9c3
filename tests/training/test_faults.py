"""What a disk, a kill or another process does to a run: one sentence, and resuming ends with the undisturbed bits."""

import contextlib
import os
import re
import subprocess
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from outcomes import outcome
from tiny_algorithm import small
from tiny_data import film, line

from guidedflow import files
from guidedflow.algorithms import ALGORITHMS, FQL
from guidedflow.data.dataset import Dataset
from guidedflow.data.ondisk import mapper
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.sampling.windows import Window
from guidedflow.errors import InputError
from guidedflow.runs.trained import Trained
from guidedflow.training.loop import train, train_together
from guidedflow.training.member import Order
from guidedflow.training.plan import Plan

TINY = FQL(hidden=(4,), flow_steps=1)
PLAN = Plan(steps=8, batch_size=4, log_interval=4, checkpoint_interval=4)
HERE = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(TINY, line(), PLAN, out=tmp_path_factory.mktemp("whole") / "run").run.path


class Refusing:
    """Every call that writes, syncs, renames or makes a folder, counted; from the n-th on, the disk is full."""

    CALLS: tuple[tuple[Any, str], ...] = (
        *((os, name) for name in ("fsync", "rename", "replace", "mkdir", "ftruncate", "pwrite")),
        (files, "open"),
        (Path, "write_bytes"),
    )

    def __init__(self, patch: pytest.MonkeyPatch, nth: int, lasting: bool) -> None:
        self.count, self.nth, self.lasting = 0, nth, lasting
        for owner, name in self.CALLS:
            patch.setattr(owner, name, self._refusing(getattr(owner, name, open)), raising=False)

    def _refusing(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            if self.count == self.nth or (self.lasting and self.count > self.nth):
                raise OSError(28, "No space left on device")
            return real(*args, **kwargs)

        return call


def attempt(out: Path) -> str | None:
    """The sentence that training ends with, or None where it comes to its end."""
    try:
        train(TINY, line(), PLAN, out=out)
    except InputError as error:
        return str(error)
    return None


def refuse(whole: Path, tmp_path: Path, numbers: Iterator[int], lasting: bool) -> int:
    """Train with the n-th call refused, then without; the number of calls that an undisturbed run makes."""
    for nth in numbers:
        out = tmp_path / str(nth)
        with pytest.MonkeyPatch.context() as patch:
            refusing = Refusing(patch, nth, lasting)
            sentence = attempt(out)
        if refusing.count < nth:
            return refusing.count
        assert sentence is None or re.fullmatch(r".*No space left on device.*", sentence), nth
        with warnings.catch_warnings(action="error"):  # nothing damaged is passed over
            train(TINY, line(), PLAN, out=out, resume=True)
        assert outcome(out) == outcome(whole), nth
    return 0


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
def test_a_disk_that_refuses_a_write_costs_one_interval(whole: Path, tmp_path: Path, lasting: bool) -> None:
    refuse(whole, tmp_path, iter((6, 17)), lasting)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
def test_a_disk_that_refuses_any_write_costs_one_interval(whole: Path, tmp_path: Path, lasting: bool) -> None:
    assert refuse(whole, tmp_path, iter(range(1, 200)), lasting) > 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("this system lets nobody mount a disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True, timeout=30)


def fill(path: Path) -> None:
    """Take all room of a disk."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


def test_a_full_disk_is_one_sentence_and_the_run_goes_on_when_there_is_room(whole: Path, small_disk: Path) -> None:
    out, filler = small_disk / "run", small_disk / "filler"
    train(TINY, line(), replace(PLAN, steps=4), out=out)
    fill(filler)
    with pytest.warns(UserWarning, match="steps 4 -> 8"), pytest.raises(InputError, match="No space left on device"):
        train(TINY, line(), PLAN, out=out, resume=True)
    assert Trained.open(out).step == 4
    filler.unlink()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*resumed with changes")
        train(TINY, line(), PLAN, out=out, resume=True)
    assert outcome(out) == outcome(whole)


def test_a_disk_that_becomes_read_only_is_one_sentence(whole: Path, small_disk: Path) -> None:
    out = small_disk / "run"
    train(TINY, line(), replace(PLAN, steps=4), out=out)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True, timeout=30)
    with pytest.raises(InputError, match="cannot be a run folder: Read-only file system"):
        train(TINY, line(), PLAN, out=out, resume=True)
    assert Trained.open(out).step == 4
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True, timeout=30)
    with pytest.warns(UserWarning, match="steps 4 -> 8"):
        train(TINY, line(), PLAN, out=out, resume=True)
    assert outcome(out) == outcome(whole)


@pytest.mark.parametrize("damage", ["torn", "lost", "misdirected", "flipped"])
def test_a_damaged_checkpoint_costs_its_interval(damage: str, whole: Path, tmp_path: Path) -> None:
    """The newest one is passed over with one warning, and training from the one before ends with the same bits."""
    out = tmp_path / "run"
    train(TINY, line(), PLAN, out=out)
    newest, before = (out / "checkpoints" / str(step) / "state.safetensors" for step in (8, 4))
    data = newest.read_bytes()
    match damage:
        case "torn":
            newest.write_bytes(data[: len(data) // 2])
        case "lost":
            newest.write_bytes(data[:512] + bytes(len(data) - 512))
        case "misdirected":
            newest.write_bytes(before.read_bytes())
        case _:
            newest.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.warns(UserWarning, match="8 is damaged") as told:
        train(TINY, line(), PLAN, out=out, resume=True)
    (sentence,) = [str(each.message) for each in told]
    assert sentence.endswith("Using checkpoint 4 instead.")
    assert outcome(out) == outcome(whole)


VARIANTS: dict[str, tuple[Any, dict[str, Any]]] = {
    **{name: (small(cls), {}) for name, cls in ALGORITHMS.items()},
    "gfp auto": (replace(small(ALGORITHMS["gfp"]), alpha="auto", temperature="auto"), {}),
    "gfp chunks": (small(ALGORITHMS["gfp"]), {"horizon": 3, "chunk": True}),
    "gfp seeds": (small(ALGORITHMS["gfp"]), {"seeds": 3}),
    "fql pixels": (FQL(hidden=(8,), flow_steps=2), {"frame_stack": 2, "augment": 0.5}),
    "gfp goals": (small(ALGORITHMS["gfp"]), {}),
    "gfp streamed": (small(ALGORITHMS["gfp"]), {}),
}
LONG: dict[str, Any] = {"steps": 1000, "batch_size": 8, "log_interval": 100, "checkpoint_interval": 100}
WINDOW = Window(40, updates=200, blocks=4)


def data_for(name: str, folder: Path) -> Dataset | Mapped:
    """A dataset of the kind that a variant is about."""
    if "pixels" in name:
        return film()
    if "goals" in name:
        data = line()
        return replace(data, name="pointmaze-medium-navigate-v0", goals=data.observations)
    if "streamed" in name:
        return Mapped.open(mapper.write([line(8, 30)], folder / "data", "line"))
    return line()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", VARIANTS)
def test_a_thousand_updates_are_ten_times_a_hundred(name: str, tmp_path: Path) -> None:
    algorithm, changes = VARIANTS[name]
    data, plan = data_for(name, tmp_path), Plan(**LONG | changes)
    train(algorithm, data, plan, out=tmp_path / "whole", window=WINDOW)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*resumed with changes")
        for steps in range(100, 1100, 100):
            part = replace(plan, steps=steps)
            train(algorithm, data, part, out=tmp_path / "parts", resume=True, window=WINDOW)
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_thousand_updates_of_a_pack_are_ten_times_a_hundred(tmp_path: Path) -> None:
    def together(steps: int, folder: str) -> None:
        orders = [
            Order(
                replace(small(ALGORITHMS["gfp"]), alpha=alpha),
                Plan(**LONG | {"steps": steps, "seeds": 2}),
                out,
                resume=True,
            )
            for alpha in (0.5, 2.0)
            for out in [tmp_path / folder / str(alpha)]
        ]
        train_together(orders, line())

    together(1000, "whole")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*resumed with changes")
        for steps in range(100, 1100, 100):
            together(steps, "parts")
    for alpha in ("0.5", "2.0"):
        assert outcome(tmp_path / "parts" / alpha) == outcome(tmp_path / "whole" / alpha)
