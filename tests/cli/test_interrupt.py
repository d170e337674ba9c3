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

PROGRAM = (
    "import sys; sys.argv[0] = 'guidedflow'; from guidedflow.__main__ import main; print('ready', flush=True); main()"
)
"""Until that module is imported, Python itself answers."""


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


HEAR = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.executable, sys.argv[1:])"
"""Start another process that hears Ctrl-C, also where this one was started in the background and does not."""

SCRIPT = "import re, sys; from guidedflow.__main__ import main; sys.exit(main())"
"""What an installer writes into the script `guidedflow`."""


class Importing:
    """A command that says on standard error which modules it has imported, so that no test waits for a time."""

    def __init__(self, command: list[str], folder: Path, *how: str) -> None:
        words = [sys.executable, "-c", HEAR, sys.executable, "-X", "importtime", *how, *command]
        env = {**os.environ, "GUIDEDFLOW_CACHE": "off"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(words, cwd=folder, env=env, text=True, **pipes)

    def until(self, module: str) -> list[str]:
        """The modules that were imported until this one was."""
        assert self.process.stderr is not None
        found: list[str] = []
        for printed in self.process.stderr:
            found.append(printed.rpartition("|")[2].strip())
            if found[-1] == module:
                return found
        raise AssertionError(found[-20:])

    def interrupt(self) -> None:
        """Interrupt it, and look at what it says."""
        self.process.send_signal(signal.SIGINT)
        out, told = self.process.communicate(timeout=100)
        lines = [each for each in told.splitlines() if not each.startswith(("import time:", "warning:"))]
        assert (self.process.returncode, out, len(lines)) == (130, "", 1), told
        assert lines[0].startswith("guidedflow: interrupted")


@pytest.fixture(params=["module", "script"])
def how(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, ...]:
    """The two ways to start a command."""
    if request.param == "module":
        return ("-m", "guidedflow")
    script = tmp_path / "guidedflow"
    script.write_text(SCRIPT)
    return (str(script),)


def test_an_interrupt_is_quiet_before_anything_is_imported_that_hearing_it_does_not_need(
    command: list[str], tmp_path: Path, how: tuple[str, ...]
) -> None:
    importing = Importing(command, tmp_path, *how)
    before = importing.until("signal")
    assert before[before.index("guidedflow") + 1 :] in (["enum", "signal"], ["signal"])
    if how[0] == "-m":  # of a script the installer has imported more
        assert not {"re", "typing"} & set(before)
    importing.until("json")  # the first of a command's own
    importing.interrupt()
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("module", ["numpy", "jax", "equinox", "tyro", "guidedflow.cli", "guidedflow.cli.process"])
def test_an_interrupt_while_modules_are_imported_is_quiet(
    command: list[str], tmp_path: Path, how: tuple[str, ...], module: str
) -> None:
    importing = Importing(command, tmp_path, *how)
    importing.until(module)
    importing.interrupt()
    assert not (tmp_path / "run").exists()


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
