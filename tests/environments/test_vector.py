"""What the simulator pool promises: Gymnasium's interface, explicit resets, one clear error, no process left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from tiny_environment import Countdown, broken, unknown_task

from guidedflow.environments.vector import Simulators
from guidedflow.errors import InputError

STAY = np.zeros(2, np.float32)


@pytest.fixture(scope="module")
def simulators():
    """Five environments in two workers; an episode of seed s takes 1 + s modulo 5 steps."""
    with Simulators(partial(Countdown, longest=5), 5, 2) as simulators:
        yield simulators


@pytest.fixture
def no_orphans():
    """The processes that a test starts have ended when it ends."""
    before = set(multiprocessing.active_children())
    yield before
    assert set(multiprocessing.active_children()) == before


def test_it_is_a_vector_environment_that_never_resets_by_itself(simulators):
    assert isinstance(simulators, gymnasium.vector.VectorEnv)
    assert simulators.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    assert simulators.observation_space.shape == (5, 3)
    assert simulators.single_observation_space.dtype == np.float32
    simulators.reset(seed=[0, 4, 4, 4, 4])
    *_, terminated, truncated, infos = simulators.step(np.tile(STAY, (5, 1)))
    np.testing.assert_array_equal(terminated | truncated, [True, False, False, False, False])
    assert infos["_success"].all()
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"environments \[0\] are over"):
        simulators.step(np.tile(STAY, (5, 1)))


def test_each_environment_is_reset_with_its_own_seed(simulators):
    observations, _ = simulators.reset(seed=[10, 20, 30, 40, 50])
    np.testing.assert_array_equal(observations[:, 0], [10, 20, 30, 40, 50])
    observations, _ = simulators.reset(seed=7)
    np.testing.assert_array_equal(observations[:, 0], [7, 8, 9, 10, 11])


def test_a_mask_resets_some_and_leaves_the_others_and_the_callers_options_alone(simulators):
    simulators.reset(seed=[4] * 5)
    simulators.step(np.tile(STAY, (5, 1)))
    options = {"reset_mask": np.array([False, True, False, False, True])}
    observations, _ = simulators.reset(seed=[None, 101, None, None, 102], options=options)
    np.testing.assert_array_equal(observations[:, :2], [[4, 1], [101, 0], [4, 1], [4, 1], [102, 0]])
    assert list(options) == ["reset_mask"]


@pytest.mark.parametrize(
    ("seed", "mask"), [([1, 2], [True] * 5), (None, [False] * 5), (None, [True] * 4), (None, [1, 0, 0, 0, 0])]
)
def test_wrong_seeds_or_masks_are_one_sentence(simulators, seed, mask):
    with pytest.raises(InputError, match="expected 5 seeds and a boolean reset_mask"):
        simulators.reset(seed=seed, options={"reset_mask": np.array(mask)})


def test_actions_reach_the_environment_they_are_for(simulators):
    simulators.reset(seed=[4] * 5)
    actions = np.linspace(0.1, 0.5, 5)[:, None] * np.array([1.0, 0.0])
    observations, rewards, *_ = simulators.step(actions)
    np.testing.assert_allclose(rewards, actions[:, 0], rtol=1e-6)
    np.testing.assert_allclose(observations[:, 2], actions[:, 0], rtol=1e-6)


def test_two_batches_overlap_and_come_back_in_order(simulators):
    simulators.reset(seed=[4] * 5)
    simulators.step_async(np.tile(STAY, (2, 1)), [0, 1])
    simulators.step_async(np.tile(STAY, (2, 1)), [4, 2], resets={3: 77})
    with pytest.raises(RuntimeError, match="overlaps one on its way"):
        simulators.step_async(STAY[None], [1])
    assert simulators.step_wait().indices.tolist() == [0, 1]
    second = simulators.step_wait()
    assert second.indices.tolist() == [4, 2, 3]
    np.testing.assert_array_equal(second.observations[:, :2], [[4, 1], [4, 1], [77, 0]])
    assert np.isnan(second.success[2])
    with pytest.raises(RuntimeError, match="without a step_async"):
        simulators.step_wait()


def test_it_agrees_with_gymnasiums_own_vector_environment(simulators):
    plain = gymnasium.vector.SyncVectorEnv([partial(Countdown, 5)] * 5, autoreset_mode=AutoresetMode.DISABLED)
    generator = np.random.default_rng(0)
    over = np.ones(5, bool)
    for _ in range(20):
        seeds = generator.integers(1000, size=5).tolist()
        if over.any():
            ours, _ = simulators.reset(seed=seeds, options={"reset_mask": over})
            theirs, _ = plain.reset(seed=seeds, options={"reset_mask": over})
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)
        actions = generator.uniform(0, 1, (5, 2)).astype(np.float32)
        (*ours, info), (*theirs, other) = simulators.step(actions), plain.step(actions)
        for mine, other_one in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine, other_one, rtol=1e-5)
        np.testing.assert_array_equal(info["success"], other["success"])
        over = ours[2] | ours[3]


@pytest.mark.parametrize(
    ("factory", "error", "sentence"),
    [
        (unknown_task, InputError, r"^task 'cube-singel' is not known \(did you mean 'cube-single'\?\)$"),
        (broken, RuntimeError, "making an environment failed: OSError: no such model"),
        (lambda: Countdown(), InputError, "expected an environment factory that is importable by name"),
    ],
)
@pytest.mark.usefixtures("no_orphans")
def test_a_factory_that_fails_is_one_error(factory, error, sentence):
    with pytest.raises(error, match=sentence):
        Simulators(factory, 3, 2)


@pytest.mark.parametrize(
    ("action", "sentence"),
    [
        ([-1, -1], "stepping environment 2 failed: ValueError: the arm is bent"),
        ([-1, 1], r"worker 0 \(environments \[0, 2\]\) died with exit status -9"),
    ],
)
@pytest.mark.usefixtures("no_orphans")
def test_a_worker_that_fails_takes_all_down_with_one_error(action, sentence):
    simulators = Simulators(Countdown, 4, 2)
    simulators.reset(seed=[9] * 4)
    actions = np.array([STAY, STAY, action, STAY])
    with pytest.raises(RuntimeError, match=sentence):
        simulators.step(actions)
    assert simulators.closed
    with pytest.raises(RuntimeError, match="closed"):
        simulators.step(actions)
    simulators.close()


def test_a_silent_worker_is_an_error(no_orphans):
    simulators = Simulators(Countdown, 2, 1)
    simulators._pool.timeout = 0.5  # from here on: starting may well take longer on a busy machine
    (worker,) = set(multiprocessing.active_children()) - no_orphans
    os.kill(worker.pid, signal.SIGSTOP)
    with pytest.raises(RuntimeError, match=r"worker 0 was silent for 0\.5 seconds"):
        simulators.reset(seed=0)
    assert simulators.closed


SCRIPT = """
import sys, time
import jax  # a worker that imported this script would import JAX with it
from multiprocessing import active_children
from guidedflow import Simulators
from tiny_environment import ImportedJax
simulators = Simulators(ImportedJax, 2, 2)
print(*(child.pid for child in active_children()), simulators.reset()[0].sum(), flush=True)
time.sleep(60)
"""


def test_workers_import_no_jax_need_no_main_guard_and_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    paths = os.pathsep.join(path for path in sys.path if path)
    parent = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": paths}
    )
    with parent:
        *workers, imported = parent.stdout.readline().split()
        parent.kill()
    assert len(workers) == 2
    assert float(imported) == 0
    deadline = time.monotonic() + 20
    while any(_alive(int(worker)) for worker in workers):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.05)


def _alive(pid):
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
