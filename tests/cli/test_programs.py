"""Compiled programs are kept on disk, where the user wants them, with the same bits, and never at the cost of a run."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny_data import line

from guidedflow.cli import programs


@pytest.fixture(autouse=True)
def configuration(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As JAX was configured before."""
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    yield
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.mark.parametrize("word", ["off", "OFF", "0", "no", ""])
def test_the_cache_can_be_switched_off(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(programs.VARIABLE, word)
    assert programs.keep() is None


def test_the_cache_of_jax_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    assert programs.keep() is None


def test_the_cache_lies_where_the_user_wants_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(programs.VARIABLE, str(tmp_path / "mine"))
    kept = programs.keep()
    assert kept is not None
    assert kept.parent == tmp_path / "mine"
    assert jax.config.jax_compilation_cache_dir == str(kept)  # type: ignore[attr-defined]
    monkeypatch.delenv(programs.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert programs.folder().parent == tmp_path / "guidedflow" / "programs"


def test_a_folder_that_cannot_be_made_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(programs.VARIABLE, str(tmp_path / "file" / "below"))
    assert programs.keep() is None


@pytest.mark.slow
def test_a_program_from_the_cache_computes_the_same_bits(tmp_path: Path) -> None:
    data = line()
    columns = {"observations": data.observations, "actions": data.actions, "rewards": data.rewards}
    np.savez(tmp_path / "log.npz", terminals=1 - data.masks, ends=data.last, **columns)
    names = [f"{name}={name}" for name in (*columns, "terminals", "ends")]
    words = "train gfp --task mine --dataset log.npz --hidden 32 32 --batch-size 8 --steps 20 --log-interval 10"
    for name, cache in (("cold", "cache"), ("warm", "cache"), ("without", "off")):
        done = subprocess.run(
            [sys.executable, "-m", "guidedflow", *words.split(), "--out", name, "--columns", *names],
            cwd=tmp_path, env={**os.environ, programs.VARIABLE: cache}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert list((tmp_path / "cache").rglob("*advance*"))
    states = [(tmp_path / name / "checkpoints" / "20" / "state.safetensors") for name in ("cold", "warm", "without")]
    assert len({state.read_bytes() for state in states}) == 1
