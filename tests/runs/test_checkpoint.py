"""A checkpoint is whole or not there, and what is loaded is what was saved, to the bit."""

import functools
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import safetensors.numpy

from guidedflow import files
from guidedflow.errors import InputError
from guidedflow.runs import checkpoint


class Learner(NamedTuple):
    network: Any
    opt_state: Any


class State(NamedTuple):
    actor: Learner
    step: Any
    key: Any
    extra: dict[str, Any]


@functools.cache
def make_state(seed: int) -> State:
    network = eqx.filter(eqx.nn.MLP(3, 2, 4, 2, key=jax.random.key(seed)), eqx.is_array)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(3e-4))
    opt_state = jax.tree.map(lambda leaf: jnp.full_like(leaf, seed), optimizer.init(network))
    key = jax.random.key_data(jax.random.key(seed))
    extra = {"flag": jnp.array(True), "half": jnp.arange(3, dtype=jnp.bfloat16), "empty": jnp.zeros((0, 2))}
    return State(Learner(network, opt_state), jnp.int32(seed), key, extra)


def tiny(step: int, size: int = 64) -> dict[str, np.ndarray]:
    return {"weight": np.full((size, size), step, np.float32), "count": np.asarray(step, np.uint32)}


def assert_same_bits(found: Any, expected: Any) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


# What comes back


def test_modules_optimiser_states_scalars_and_keys_come_back_to_the_bit(tmp_path: Path) -> None:
    state = make_state(7)
    assert checkpoint.save(tmp_path, 30, state) == tmp_path / "30"
    step, found = checkpoint.load(tmp_path, None, make_state(0))
    assert step == 30
    assert_same_bits(found, state)


def test_shapes_alone_say_what_to_load(tmp_path: Path) -> None:
    state = make_state(1)
    checkpoint.save(tmp_path, 5, state)
    # Past the cache, which would keep the tracers for the tests that come after.
    step, found = checkpoint.load(tmp_path, 5, jax.eval_shape(lambda: make_state.__wrapped__(0)))
    assert step == 5
    assert_same_bits(found, state)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(found))


def test_loaded_arrays_are_copies_that_an_update_may_donate(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, {"x": jnp.arange(1024.0)})
    found = checkpoint.load(tmp_path, 1, {"x": jnp.zeros(1024)})[1]
    moved = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1.0, tree), donate_argnums=0)(found)
    assert moved["x"][3] == 4.0
    assert checkpoint.load(tmp_path, 1, {"x": jnp.zeros(1024)})[1]["x"][3] == 3.0


def test_numpy_leaves_and_numbers_stay_what_they_are(tmp_path: Path) -> None:
    state = {"wide": np.linspace(0, 1, 3), "number": 0.1, "count": 3, "flag": True}
    checkpoint.save(tmp_path, 1, state)
    found = checkpoint.load(tmp_path, 1, {"wide": np.zeros(3), "number": 0.0, "count": 0, "flag": False})[1]
    assert found["wide"].dtype == np.float64
    assert (found["number"], found["count"], found["flag"]) == (0.1, 3, True)


def test_leaves_are_named_by_their_place_and_any_safetensors_reader_finds_them(tmp_path: Path) -> None:
    state = make_state(2)._replace(extra={"flag": jnp.array(True)})  # NumPy's own reader has no bfloat16
    tensors = safetensors.numpy.load_file(checkpoint.save(tmp_path, 1, state) / "state.safetensors")
    weight = state.actor.network.layers[0].weight
    np.testing.assert_array_equal(tensors["actor.network.layers.0.weight"], weight)
    assert {"step", "key", "extra.flag", "actor.opt_state.1.0.mu.layers.2.bias"} <= set(tensors)
    assert tensors["step"].shape == ()


def test_the_manifest_can_be_read_without_the_tensors(tmp_path: Path) -> None:
    manifest = json.loads((checkpoint.save(tmp_path, 9, tiny(9)) / "manifest.json").read_text())
    assert manifest["step"] == 9
    assert {"name": "weight", "dtype": "float32", "shape": [64, 64]} in manifest["leaves"]
    assert manifest["versions"]["jax"] == jax.__version__


def test_the_same_state_makes_the_same_bytes(tmp_path: Path) -> None:
    one, two = (checkpoint.save(tmp_path / name, 3, make_state(4)) for name in ("one", "two"))
    for name in ("state.safetensors", "manifest.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


# Which steps there are


def test_the_newest_is_found_on_disk_alone(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path / "nothing") is None
    for step in (9, 100, 20):
        checkpoint.save(tmp_path, step, tiny(step))
    (tmp_path / ".300.part").mkdir()
    (tmp_path / "400").write_text("a file is no checkpoint")
    assert checkpoint.latest(tmp_path) == 100
    assert checkpoint.steps(tmp_path) == [9, 20, 100]


def test_only_the_newest_are_kept_and_a_cut_off_save_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".7.part").mkdir()
    for step in (1, 2, 3, 4):
        checkpoint.save(tmp_path, step, tiny(step), keep=2)
    assert names(tmp_path) == {"3", "4"}


def test_keeping_counts_back_from_the_step_that_was_saved(tmp_path: Path) -> None:
    for step in (1, 2, 9):
        checkpoint.save(tmp_path, step, tiny(step))
    checkpoint.save(tmp_path, 3, tiny(3), keep=1)
    assert checkpoint.steps(tmp_path) == [3, 9]


def test_saving_a_step_again_needs_the_same_state(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, tiny(1))
    checkpoint.save(tmp_path, 1, tiny(1))
    with pytest.raises(InputError, match="holds another state already"):
        checkpoint.save(tmp_path, 1, tiny(2))
    assert checkpoint.load(tmp_path, 1, tiny(0))[1]["count"] == 1


# What does not fit


@pytest.mark.parametrize(
    ("like", "sentence"),
    [
        (
            {**tiny(0), "weight": np.zeros((64, 32), np.float32)},
            r"'weight' should be float32 \[64, 32\].*float32 \[64, 64\]",
        ),
        ({**tiny(0), "count": np.int32(0)}, r"'count' should be int32 \[\].*is uint32 \[\]"),
        ({**tiny(0), "more": np.zeros(2)}, r"'more' should be float64 \[2\], but it is absent"),
        ({"weight": tiny(0)["weight"]}, r"'count' should be absent, but it is uint32 \[\]"),
    ],
)
def test_the_first_leaf_that_differs_is_named(tmp_path: Path, like: Any, sentence: str) -> None:
    checkpoint.save(tmp_path, 1, tiny(1))
    with pytest.raises(InputError, match=sentence):
        checkpoint.load(tmp_path, None, like)


def test_another_network_is_an_error_and_no_reason_to_fall_back(tmp_path: Path) -> None:
    narrow = make_state(0)
    wide = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((8, *leaf.shape), leaf.dtype), narrow)
    checkpoint.save(tmp_path, 1, jax.tree.map(lambda leaf: np.zeros((8, *leaf.shape), leaf.dtype), narrow))
    checkpoint.save(tmp_path, 2, narrow)
    with pytest.raises(
        InputError, match=r"2 does not fit: leaf 'actor.network.layers.0.weight' should be float32 \[8, 4, 3\]"
    ):
        checkpoint.load(tmp_path, None, wide)
    assert checkpoint.load(tmp_path, 1, wide)[0] == 1


@pytest.mark.parametrize(
    ("leaf", "sentence"),
    [
        (jax.nn.relu, "'net' of the state is of type .*; expected an array"),
        (jax.random.key(0), "typed random key"),
        (np.array(["a"], dtype=object), "is of object"),
    ],
)
def test_what_is_no_array_is_refused_before_anything_is_written(tmp_path: Path, leaf: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        checkpoint.save(tmp_path / "checkpoints", 1, {"net": leaf})
    assert not (tmp_path / "checkpoints").exists()


def test_two_leaves_cannot_share_a_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'a\.b' of a leaf is taken"):
        checkpoint.save(tmp_path, 1, {"a": {"b": jnp.zeros(1)}, "a.b": jnp.ones(1)})


def test_a_missing_checkpoint_is_told_with_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no checkpoint"):
        checkpoint.load(tmp_path, None, tiny(0))
    checkpoint.save(tmp_path, 10, tiny(10))
    with pytest.raises(InputError, match="no checkpoint of step 20; it has 10"):
        checkpoint.load(tmp_path, 20, tiny(0))


def test_a_pickle_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "params_1000.pkl"
    path.write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    for place in (path, tmp_path):
        with pytest.raises(InputError, match="can run code when it is read"):
            checkpoint.load(place, None, tiny(0))


# Damage


@pytest.mark.parametrize("size", [64, pytest.param(512, marks=pytest.mark.slow)])
def test_every_cut_is_detected_and_the_previous_checkpoint_is_used(size: int, tmp_path: Path) -> None:
    """Cut at every 4 KiB, of which there are 5 or 257."""
    for step in (1, 2):
        checkpoint.save(tmp_path, step, tiny(step, size))
    path = tmp_path / "2" / "state.safetensors"
    whole = path.read_bytes()
    for cut in range(0, len(whole), 4096):
        path.write_bytes(whole[:cut])
        with pytest.warns(UserWarning, match=r"2 is damaged: state.safetensors has .* Using checkpoint 1 instead"):
            step, state = checkpoint.load(tmp_path, None, tiny(0, size))
        assert (step, int(state["count"])) == (1, 1)


def damaged(kind: str, data: bytes, other: bytes) -> bytes:
    """The contents of a file after a write that went wrong; `other` is what belongs elsewhere."""
    half, middle = len(data) // 2, slice(len(data) // 2, len(data) // 2 + 256)
    match kind:
        case "torn":
            return data[:half]
        case "lost":
            return data[:half] + bytes(len(data[middle])) + data[middle.stop :]
        case "misdirected":
            return data[:half] + other[: len(data[middle])] + data[middle.stop :]
        case _:
            return data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :]


@pytest.mark.parametrize("name", ["state.safetensors", "manifest.json"])
@pytest.mark.parametrize("kind", ["torn", "lost", "misdirected", "flipped"])
def test_a_damaged_write_is_found_and_the_previous_checkpoint_is_used(kind: str, name: str, tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoint.save(tmp_path, step, tiny(step))
    newest, before = (tmp_path / str(step) / name for step in (2, 1))
    newest.write_bytes(damaged(kind, newest.read_bytes(), before.read_bytes()))
    with pytest.warns(UserWarning, match=r"2 is damaged: .* Using checkpoint 1 instead"):
        assert checkpoint.load(tmp_path, None, tiny(0))[0] == 1


@pytest.mark.parametrize("name", ["state.safetensors", "manifest.json"])
def test_a_file_of_another_checkpoint_is_found(name: str, tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoint.save(tmp_path, step, tiny(step))
    (tmp_path / "2" / name).write_bytes((tmp_path / "1" / name).read_bytes())
    with pytest.warns(UserWarning, match="Using checkpoint 1 instead"):
        assert checkpoint.load(tmp_path, None, tiny(0))[0] == 1


def test_a_thousand_flipped_bits_are_all_detected(tmp_path: Path) -> None:
    folder = checkpoint.save(tmp_path, 2, tiny(2))
    draw = random.Random(0)
    for name in ("state.safetensors", "manifest.json"):
        path = folder / name
        whole = path.read_bytes()
        for _ in range(500):
            bit = draw.randrange(8 * len(whole))
            broken = bytearray(whole)
            broken[bit // 8] ^= 1 << bit % 8
            path.write_bytes(broken)
            with pytest.raises(checkpoint.DamagedCheckpoint, match=r"2 is damaged"):
                checkpoint.load(tmp_path, 2, tiny(0))
        path.write_bytes(whole)
    assert checkpoint.load(tmp_path, 2, tiny(0))[1]["count"] == 2


@pytest.mark.parametrize("name", ["state.safetensors", "manifest.json"])
def test_a_lost_file_is_damage(tmp_path: Path, name: str) -> None:
    (checkpoint.save(tmp_path, 2, tiny(2)) / name).unlink()
    with pytest.raises(checkpoint.DamagedCheckpoint, match=f"{name} cannot be read.*No intact checkpoint is left"):
        checkpoint.load(tmp_path, None, tiny(0))


def test_a_renamed_folder_is_not_taken_for_another_step(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 2, tiny(2)).rename(tmp_path / "3")
    with pytest.raises(checkpoint.DamagedCheckpoint, match="saved as step 2"):
        checkpoint.load(tmp_path, 3, tiny(0))


def test_a_damaged_checkpoint_is_replaced_when_its_step_comes_again(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 2, tiny(2)) / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    checkpoint.save(tmp_path, 2, tiny(2))
    assert checkpoint.load(tmp_path, None, tiny(0))[1]["count"] == 2
    checkpoint.save(tmp_path, 3, tiny(3))
    assert names(tmp_path) == {"2", "3"}


def test_a_file_larger_than_its_manifest_says_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = checkpoint.save(tmp_path, 2, tiny(2)) / "state.safetensors"
    with path.open("ab") as file:
        file.truncate(2**40)  # sparse: a terabyte that takes no room
    read = []
    monkeypatch.setattr(Path, "read_bytes", lambda self, whole=Path.read_bytes: read.append(self.name) or whole(self))
    with pytest.raises(checkpoint.DamagedCheckpoint, match="has 1099511627776 bytes"):
        checkpoint.load(tmp_path, 2, tiny(0))
    assert read == ["manifest.json"]


# A disk that refuses


@pytest.mark.parametrize("call", ["open", "os.mkdir", "os.fsync", "os.replace"])
@pytest.mark.parametrize("nth", range(4))
def test_a_save_that_the_disk_refuses_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, nth: int
) -> None:
    checkpoint.save(tmp_path, 1, tiny(1))
    calls = refuse_nth(monkeypatch, call, nth)
    told = ""
    try:
        checkpoint.save(tmp_path, 2, tiny(2), keep=1)
    except InputError as error:
        told = str(error)
    monkeypatch.undo()
    # Pruning is not part of the promise of a save: where the disk refuses only that, the save has succeeded.
    failed = calls() > nth and not (call == "os.replace" and nth == 1)
    assert ("could not be saved" in told and "No space left on device" in told) == failed
    assert not any(name.startswith(".") for name in names(tmp_path))
    # Where the last sync alone was refused, the new checkpoint is there beside the old one, and it is whole.
    step, state = checkpoint.load(tmp_path, None, tiny(0))
    assert int(state["count"]) == step
    assert not failed or 1 in checkpoint.steps(tmp_path)


def refuse_nth(monkeypatch: pytest.MonkeyPatch, call: str, nth: int) -> Any:
    """Let the n-th of some calls to the system find the disk full; returns the function that tells their number."""
    module, name = (files, "open") if call == "open" else (os, call.removeprefix("os."))
    real = open if call == "open" else getattr(os, name)
    count = 0

    def refuse(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count == nth + 1:
            raise OSError(28, "No space left on device")
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, refuse, raising=False)
    return lambda: count


def test_a_disk_that_fills_up_in_the_middle_of_a_file_harms_nothing(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, tiny(1))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))  # half of the tensor file
    try:
        with pytest.raises(InputError, match=r"Checkpoint 2 could not be saved in .*: File too large"):
            checkpoint.save(tmp_path, 2, tiny(2), keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(tmp_path) == {"1"}
    assert checkpoint.load(tmp_path, None, tiny(0))[0] == 1


# A process that is killed

KILLED_AT_EACH_CALL = """
import os, signal, sys
from pathlib import Path
import numpy as np
from guidedflow import files
from guidedflow.runs import checkpoint

def state(step):
    return {"weight": np.full((64, 64), step, np.float32), "count": np.asarray(step, np.uint32)}

def kill_at(nth):
    count = 0
    def wrap(real):
        def call(*args, **kwargs):
            nonlocal count
            count += 1
            if count == nth:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)
        return call
    for name in ("mkdir", "fsync", "rename", "rmdir", "unlink"):
        setattr(os, name, wrap(getattr(os, name)))
    files.open = wrap(open)

for nth in range(1, 100):
    folder = Path(sys.argv[1]) / str(nth)
    checkpoint.save(folder, 1, state(1))
    child = os.fork()
    if child == 0:
        kill_at(nth)
        checkpoint.save(folder, 2, state(2), keep=1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status == 0:
        break
    assert status == signal.SIGKILL
else:
    raise AssertionError("a save never ended")
"""


def test_killed_before_any_call_to_the_system_the_newest_checkpoint_is_whole(tmp_path: Path) -> None:
    run_python(KILLED_AT_EACH_CALL, str(tmp_path))
    moments = sorted(int(name) for name in names(tmp_path))
    assert len(moments) > 10
    for moment in moments:
        folder = tmp_path / str(moment)
        step, state = checkpoint.load(folder, None, tiny(0))
        assert_same_bits(state, tiny(step))
        checkpoint.save(folder, 3, tiny(3), keep=1)
        assert names(folder) == {"3"}  # the leftovers of the kill are gone with the next save
    assert checkpoint.steps(tmp_path / "1") == [3]


SAVE_FOR_EVER = """
import sys
from itertools import count
from pathlib import Path
import numpy as np
from guidedflow.runs import checkpoint

for step in count():
    state = {"weight": np.full((64, 64), step, np.float32), "count": np.asarray(step, np.uint32)}
    checkpoint.save(Path(sys.argv[1]), step, state, keep=2)
"""


def test_killed_at_some_moment_it_can_be_loaded(tmp_path: Path) -> None:
    for attempt in range(2):
        folder = tmp_path / str(attempt)
        process = start_python(SAVE_FOR_EVER, str(folder))
        try:
            deadline = time.monotonic() + 60
            while (checkpoint.latest(folder) or 0) < 3:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
            time.sleep(random.Random(attempt).uniform(0, 0.2))
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        with warnings.catch_warnings(action="error"):  # nothing damaged is passed over
            step, state = checkpoint.load(folder, None, tiny(0))
        assert step >= 3
        assert_same_bits(state, tiny(step))


def start_python(program: str, *arguments: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(Path(files.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen([sys.executable, "-c", program, *arguments], env={**os.environ, "PYTHONPATH": path})


def run_python(program: str, *arguments: str) -> None:
    assert start_python(program, *arguments).wait(timeout=100) == 0
