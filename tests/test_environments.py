"""A task's name says which environment and which data; an environment repeats an episode for a seed, bit for bit."""

import subprocess
import sys

import numpy as np
import pytest

from guidedflow import environments
from guidedflow.errors import InputError


@pytest.mark.parametrize(
    ("name", "environment", "data", "number"),
    [
        ("cube-single-noisy-singletask-task1-v0", "cube-single", "noisy", 1),
        ("cube-octuple-play-singletask-v0", "cube-octuple", "play", 2),
        ("scene-play-singletask-v0", "scene", "play", 2),
        ("puzzle-4x4-noisy-singletask-v0", "puzzle-4x4", "noisy", 4),
        ("puzzle-4x6-play-singletask-v0", "puzzle-4x6", "play", 2),
        ("antmaze-large-explore-singletask-v0", "antmaze-large", "explore", 1),
        ("antsoccer-arena-stitch-singletask-v0", "antsoccer-arena", "stitch", 4),
        ("humanoidmaze-giant-navigate-singletask-task5-v0", "humanoidmaze-giant", "navigate", 5),
        ("visual-scene-noisy-singletask-v0", "visual-scene", "noisy", 2),
        ("pointmaze-teleport-stitch-v0", "pointmaze-teleport", "stitch", None),
    ],
)
def test_a_name_says_environment_data_and_task(name, environment, data, number):
    task = environments.parse(name)
    assert (task.environment, task.data, task.number) == (environment, data, number)
    assert task.dataset == f"{environment}-{data}-v0"
    assert task.pixels == name.startswith("visual")


def test_every_listed_name_parses():
    names = environments.tasks()
    assert len(names) == len(set(names)) == 5 * len(environments.datasets())
    assert all(environments.parse(name).name == name for name in names)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("cube-singel-noisy-singletask-task1-v0", "cube-single-noisy-singletask-task1-v0"),
        ("cube-single-noisy-singletask-task6-v0", "cube-single-noisy-singletask-"),
        ("cube-single-noisy", "cube-single-noisy-v0"),
        ("antmaze-giant-explore-v0", "antmaze-"),
    ],
)
def test_an_unknown_task_is_one_sentence_with_a_proposal(wrong, right):
    with pytest.raises(InputError, match=f"unknown task '{wrong}' \\(did you mean '{right}"):
        environments.make(wrong)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("cube-single-noisy-singletask-v0", 28),
        ("scene-play-singletask-task4-v0", 40),
        ("puzzle-3x3-play-singletask-v0", 55),
        ("pointmaze-medium-navigate-singletask-v0", 2),
        ("antmaze-medium-navigate-singletask-v0", 29),
        ("antsoccer-arena-navigate-singletask-v0", 42),
    ],
)
def test_a_seed_repeats_an_episode_whatever_came_before(name, size):
    env = environments.make(name)
    first, other, again = (_observations(env, seed) for seed in (3, 4, 3))
    assert first.dtype == np.float32
    assert env.observation_space.shape == (size,)
    assert env.observation_space.contains(first[0])
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(first, _observations(environments.make(name), 3))


def test_the_default_task_and_the_timing_of_success_are_ogbenchs(capsys):
    for name in (
        "puzzle-3x3-play-singletask-v0",
        "cube-double-play-singletask-v0",
        "antsoccer-arena-stitch-singletask-v0",
    ):
        simulator = environments.make(name).unwrapped
        assert simulator._reward_task_id == environments.parse(name).number
        assert simulator._success_timing == "post"
    assert environments.make(name, success_timing="pre").unwrapped._success_timing == "pre"
    assert capsys.readouterr().out == ""


def test_versions_and_timing_are_told_for_the_record():
    told = environments.describe("cube-single-noisy-singletask-task1-v0")
    assert told.keys() == {"suite", "environment", "ogbench", "mujoco", "gymnasium", "success_timing"}
    assert (told["suite"], told["environment"], told["success_timing"]) == ("ogbench", "cube-single", "post")


def test_a_simulator_process_loads_neither_arrays_nor_data():
    program = (
        "import sys; from guidedflow import environments; assert 'ogbench' not in sys.modules;"
        "environments.make('cube-single-noisy-singletask-v0').reset(seed=0);"
        "assert not sys.modules.keys() & {'jax', 'guidedflow.data.dataset'}"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_pictures_need_a_graphics_library(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "off")
    with pytest.raises(InputError, match="install libegl1"):
        environments.make("cube-single-noisy-singletask-v0", render=True)


def _observations(env, seed, steps=40):
    actions = np.random.default_rng(seed).uniform(-1, 1, (steps, *env.action_space.shape))
    return np.array([env.reset(seed=seed)[0], *(env.step(action)[0] for action in actions)])
