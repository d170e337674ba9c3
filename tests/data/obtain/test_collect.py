"""A collected dataset depends on its name and seed alone, is what OGBench reads, and appears whole or not at all."""

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from guidedflow import environments
from guidedflow.data.formats import ogbench
from guidedflow.data.obtain import collect, oracles
from guidedflow.errors import InputError

STITCH = "pointmaze-medium-stitch-v0"
CUBE = "cube-single-noisy-v0"


@pytest.fixture(scope="module", autouse=True)
def short_episodes():
    """Ten times shorter than published."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(oracles.RECIPES, CUBE, dataclasses.replace(oracles.recipe(CUBE), rows=101))
        yield


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    """One short cube dataset, for whoever wants to look at it."""
    return collect.collect(CUBE, episodes=2, workers=1, out=tmp_path_factory.mktemp("cube"), progress=False)


def assert_equal(episode, other):
    assert episode.keys() == other.keys()
    for key, column in episode.items():
        np.testing.assert_array_equal(column, other[key])


@pytest.mark.slow
def test_files_are_the_same_bits_for_any_number_of_workers(cube, tmp_path):
    for one, two in zip(cube, collect.collect(CUBE, 2, workers=2, out=tmp_path, progress=False), strict=True):
        assert one.read_bytes() == two.read_bytes()


def test_a_longer_collection_begins_with_the_shorter_and_another_seed_is_another_file(tmp_path):
    def columns(episodes, seed):
        paths = collect.collect(STITCH, episodes, 1, seed, tmp_path / f"{episodes}-{seed}.npz", progress=False)
        return [dict(np.load(path)) for path in paths]

    (short, validation), (long, more_validation), (other, _) = columns(3, 0), columns(20, 0), columns(3, 1)
    rows = len(short["actions"])
    assert (rows, len(long["actions"]), len(validation["actions"])) == (3 * 201, 20 * 201, 201)
    for key, column in short.items():
        np.testing.assert_array_equal(column, long[key][:rows])
        np.testing.assert_array_equal(validation[key], more_validation[key][:201])
    assert not np.array_equal(short["actions"], other["actions"])
    assert not (long["actions"][:, None] == validation["actions"][None, 0]).all(-1).any()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("scene-play-v0", marks=pytest.mark.slow),
        "cube-double-noisy-v0",
        pytest.param("puzzle-3x3-noisy-v0", marks=pytest.mark.slow),
        "pointmaze-giant-navigate-v0",
    ],
)
def test_an_episode_does_not_depend_on_the_one_before(name):
    short = dataclasses.replace(oracles.recipe(name), rows=100)
    used, new = oracles.collector(short), oracles.collector(short)
    used(np.random.SeedSequence(5))
    assert_equal(used(np.random.SeedSequence(6)), new(np.random.SeedSequence(6)))


def test_a_scene_forgets_the_targets_of_the_episode_before():
    scene = oracles.collector(dataclasses.replace(oracles.recipe("scene-noisy-v0"), rows=100))
    seed = {"entropy": 5, "spawn_key": (0, 1)}  # an episode whose oracle looks at such a target
    first = scene(np.random.SeedSequence(**seed))
    arm = scene.env.unwrapped
    arm._target_button, arm._target_button_states[:] = 1, 1
    arm._target_drawer_pos, arm._target_window_pos = -0.16, 0.2
    arm.model.site("drawer_handle_center_target").pos[1] = -0.16
    arm.model.site("window_handle_center_target").pos[0] = 0.2
    assert_equal(scene(np.random.SeedSequence(**seed)), first)


def test_ogbench_reads_the_files_and_its_rewards_are_ours(cube):
    import ogbench as reference

    task = "cube-single-noisy-singletask-task2-v0"
    train, validation = reference.make_env_and_datasets(
        task, dataset_path=str(cube[0]), dataset_only=True, cur_env=environments.make(task)
    )
    assert (len(train["rewards"]), len(validation["rewards"])) == (200, 100)
    dataset = ogbench.load(cube[0], task)
    starts = np.flatnonzero(~dataset.last)
    np.testing.assert_array_equal(dataset.rewards[starts], train["rewards"])
    np.testing.assert_array_equal(dataset.masks[starts], train["masks"])
    np.testing.assert_array_equal(dataset.observations[starts + 1], train["next_observations"])


def test_columns_are_those_of_the_published_file(cube, shared_data):
    published, made = np.load(shared_data / "cube-single-noisy-v0-val.npz"), np.load(cube[1])
    assert sorted(published) == sorted(made)
    for key in published:
        assert (made[key].dtype, made[key].shape[1:]) == (published[key].dtype, published[key].shape[1:])
    assert oracles.recipe("cube-double-noisy-v0").rows == np.flatnonzero(published["terminals"])[0] + 1
    np.testing.assert_array_equal(np.flatnonzero(made["terminals"]), [100])


def test_a_tenth_of_noisy_actions_is_random_and_plans_are_undisturbed():
    noisy, play = oracles.recipe("cube-triple-noisy-v0"), oracles.recipe("cube-triple-play-v0")
    assert (noisy.random_actions, play.random_actions, noisy.stacking) == (0.1, 0.0, (0.05, 0.35))
    assert oracles.recipe("puzzle-4x4-noisy-v0").random_actions == 0.2
    assert (collect.published_episodes("cube-triple-play-v0"), collect.published_episodes(STITCH)) == (3000, 5000)


def test_all_scripted_datasets_are_collectable_and_known_to_ogbench():
    names = set(oracles.RECIPES)
    assert names <= set(collect.collectable())
    assert names <= set(environments.datasets())
    scripted = ("cube", "scene", "puzzle", "pointmaze", "visual-cube", "visual-scene", "visual-puzzle")
    assert names == {name for name in environments.datasets() if name.startswith(scripted)}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"name": "cube-singel-noisy-v0"}, "unknown dataset .* \\(did you mean 'cube-single-noisy-v0'\\?\\)"),
        ({"name": "antmaze-large-navigate-v0"}, "needs a trained expert to be collected: download it"),
        ({"name": "visual-antmaze-large-navigate-v0"}, "needs a trained expert to be collected: download it"),
        ({"episodes": 0}, "episodes must be at least 1, not 0"),
        ({"workers": -2}, "workers must be at least 1, not -2"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
    ],
)
def test_what_cannot_be_collected_is_one_sentence(tmp_path, arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        collect.collect(**{"name": STITCH, "out": tmp_path} | arguments)
    assert not list(tmp_path.iterdir())


def test_existing_files_stay_unless_told_otherwise(tmp_path):
    kept = tmp_path / f"{STITCH}-val.npz"
    kept.write_bytes(b"precious")
    with pytest.raises(InputError, match=r"-val.npz exists: .* replace it by --overwrite"):
        collect.collect(STITCH, 1, 1, out=tmp_path)
    assert kept.read_bytes() == b"precious"
    _, validation = collect.collect(STITCH, 1, 1, out=tmp_path, overwrite=True, progress=False)
    assert validation == kept
    assert len(np.load(kept)["actions"]) == 201


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(InputError, match="No space left on device; nothing half-written"):
        collect.collect(STITCH, 1, 1, out=tmp_path, progress=False)
    assert not list(tmp_path.iterdir())
    assert not multiprocessing.active_children()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc which processes are there")
def test_an_interrupt_leaves_no_file_and_no_process(tmp_path):
    program = (  # which hears an interrupt even where the tests were started in the background
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        f"from guidedflow import collect; collect({CUBE!r}, 50, 2, out={str(tmp_path)!r})"
    )
    running = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, start_new_session=True)
    while running.poll() is None and len(simulators := _simulators(running.pid)) < 2:
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGINT)
    _, errors = running.communicate(timeout=30)
    assert errors.decode().count("Traceback") == 1  # of the parent: the processes that it ends stay silent
    assert b"KeyboardInterrupt" in errors
    assert not list(tmp_path.iterdir())
    for pid in simulators:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def _simulators(parent):
    """The spawned processes of a process, the resource tracker aside."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            status, line = (folder / "stat").read_text(), (folder / "cmdline").read_bytes()
            if int(status.rpartition(")")[2].split()[1]) == parent and b"spawn_main" in line:
                found.append(int(folder.name))
    return found


def test_collecting_loads_no_arrays_on_the_device(tmp_path):
    program = f"import sys; from guidedflow import collect; collect({STITCH!r}, 1, 1, out={str(tmp_path)!r});"
    subprocess.run([sys.executable, "-W", "error", "-c", f"{program} assert 'jax' not in sys.modules"], check=True)
