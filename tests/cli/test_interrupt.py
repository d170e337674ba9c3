"""Ctrl-C ends a command at any moment: one line, status 130, and no folder of a run in which nothing was learned."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_data import line

PROGRAM = "from guidedflow.__main__ import main; print('ready', flush=True); main()"
"""Until `main` has begun, Python itself answers."""


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """A run whose first interval takes long, on a log of the user's own."""
    data = line()
    np.savez(
        tmp_path / "log.npz", observations=data.observations, actions=data.actions, rewards=data.rewards,
        terminals=1 - data.masks, ends=data.last,
    )  # fmt: skip
    words = "train gfp --task mine --dataset log.npz --hidden 256 256 --steps 50000 --log-interval 50000 --out run"
    names = ("observations", "actions", "rewards", "terminals", "ends")
    return [*words.split(), "--columns", *(f"{name}={name}" for name in names)]


def start(command: list[str], folder: Path) -> "subprocess.Popen[str]":
    """The command in a process of its own that hears Ctrl-C, once it can."""
    hear = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "  # not so in the background
    process = subprocess.Popen(
        [sys.executable, "-c", hear + PROGRAM, *command],
        cwd=folder,
        env={**os.environ, "GUIDEDFLOW_CACHE": "off"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def interrupted(command: list[str], folder: Path, moment: float) -> None:
    """Interrupt the command so many seconds after it began, and look at what it says and leaves."""
    process = start(command, folder)
    time.sleep(moment)
    process.send_signal(signal.SIGINT)
    out, told = process.communicate(timeout=100)
    lines = [each for each in told.splitlines() if not each.startswith("warning:")]
    assert (process.returncode, out) == (130, ""), (moment, told)
    assert len(lines) == 1, (moment, told)
    assert lines[0].startswith("guidedflow: interrupted"), (moment, told)
    assert not (folder / "run").exists(), moment


@pytest.mark.parametrize("moment", [0.0, 0.5])
def test_an_interrupt_while_modules_are_imported_is_quiet(command: list[str], tmp_path: Path, moment: float) -> None:
    interrupted(command, tmp_path, moment)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_an_interrupt_at_any_moment_before_the_first_interval_is_quiet(command: list[str], tmp_path: Path) -> None:
    process, began = start(command, tmp_path), time.monotonic()
    while not (tmp_path / "run").exists() and time.monotonic() - began < 300:
        time.sleep(0.1)
    takes = time.monotonic() - began + 6  # six seconds of tracing, compiling and updating
    process.kill()
    process.communicate()
    for number in range(12):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "log.npz").symlink_to(tmp_path / "log.npz")
        interrupted(command, folder, takes * number / 11)
