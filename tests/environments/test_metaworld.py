"""MetaWorld's tasks: what a name says, what a reset draws, what a step pays, and when an episode ends."""

import sys

import numpy as np
import pytest
import tiny_metaworld

from guidedflow import environments
from guidedflow.environments import metaworld
from guidedflow.errors import InputError

REACH = "metaworld-reach-v3-noisy"


@pytest.fixture
def tiny(monkeypatch):
    """One task without physics; its episodes end after 30 steps."""
    tiny_metaworld.installed(monkeypatch, max_path_length=30)
    return environments.make(REACH)


def test_fifty_environments_have_four_kinds_of_data_each():
    names = metaworld.names()
    assert len(names) == len(set(names)) == 200
    assert set(names) <= set(environments.names())
    task = environments.parse("metaworld-button-press-topdown-wall-v3-dithered")
    assert (task.environment, task.data, task.suite) == ("button-press-topdown-wall-v3", "dithered", "metaworld")
    assert (task.dataset, task.goal_conditioned, task.pixels) == (task.name, False, False)
    assert environments.task_ids(task.name) == ()


@pytest.mark.parametrize("wrong", ["metaworld-reech-v3-noisy", "metaworld-reach-v3-nosy", "metaworld-reach-noisy"])
def test_an_unknown_name_is_one_sentence_with_a_proposal(wrong):
    with pytest.raises(InputError, match=rf"unknown task '{wrong}' \(did you mean 'metaworld-reach-v3-noisy'\?\)"):
        environments.make(wrong)


def test_kinds_of_data_of_one_environment_are_alike():
    assert environments.alike(REACH, "metaworld-reach-v3-expert")
    assert not environments.alike(REACH, "metaworld-reach-wall-v3-noisy")
    assert not environments.alike(REACH, "cube-single-noisy-v0")
    assert not environments.alike("cube-single-noisy-v0", "cube-single-noisy-v0")


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "metaworld", None)
    monkeypatch.delitem(sys.modules, "metaworld.env_dict", raising=False)
    with pytest.raises(
        InputError, match=r"simulator of 'metaworld-reach-v3-noisy'.*pip install 'guidedflow\[metaworld"
    ):
        environments.make(REACH)


def test_a_seed_draws_the_goal_and_the_goal_is_observed(tiny):
    first, other, again = (tiny.reset(seed=seed)[0] for seed in (3, 4, 3))
    assert first.dtype == np.float32
    assert first.shape == tiny.observation_space.shape == (39,)
    np.testing.assert_array_equal(first, again)
    assert (first[-3:] >= 0.2).all()
    assert not np.array_equal(first[-3:], other[-3:])
    assert not np.array_equal(tiny.reset()[0][-3:], tiny.reset()[0][-3:])
    assert "sawyer_observation_space" not in vars(tiny.unwrapped)  # so that it is made anew, with the goal's bounds


def test_a_reward_is_a_tenth_less_one_and_success_ends_the_episode(tiny):
    observation, info = tiny.reset(seed=0)
    assert info == {"success": False}
    script, over, rewards = tiny_metaworld.Script(), False, []
    while not over:
        observation, reward, over, truncated, info = tiny.step(np.clip(script.get_action(observation), -1, 1))
        rewards.append(reward)
        assert reward == pytest.approx(info["dense_reward"] / 10 - 1)
        assert -1 <= reward <= 0
        assert not truncated
        assert info["success"] is over
    assert 1 < len(rewards) < 30
    assert np.linalg.norm(observation[:3] - observation[-3:]) <= 0.05


def test_an_episode_without_success_is_cut_off(tiny):
    tiny.reset(seed=0)
    ends = [tiny.step(np.zeros(4, np.float32))[2:4] for _ in range(30)]
    assert ends == [(False, False)] * 29 + [(False, True)]


def test_a_picture_is_turned_the_right_way_up(tiny, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "egl")
    picture = environments.make(REACH, render=True).render()
    assert picture.flags.c_contiguous
    np.testing.assert_array_equal(picture, np.arange(12).reshape(4, 3)[::-1].reshape(2, 2, 3))
    other = environments.make(REACH, render=True, camera_name="corner").render()
    np.testing.assert_array_equal(other, np.arange(12).reshape(2, 2, 3))


@pytest.fixture(scope="module")
def suite():
    """The package itself, in whose installation these tests run."""
    return pytest.importorskip("metaworld.env_dict", reason="metaworld is not installed")


@pytest.mark.slow
def test_the_names_are_the_suites_own(suite):
    policies = pytest.importorskip("metaworld.policies")
    assert sorted(metaworld.ENVIRONMENTS) == sorted(suite.ALL_V3_ENVIRONMENTS) == sorted(policies.ENV_POLICY_MAP)


def _observations(env, seed, steps=30):
    actions = np.random.default_rng(seed).uniform(-1, 1, (steps, 4))
    return np.array([env.reset(seed=seed)[0], *(env.step(action)[0] for action in actions)])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reach-v3", "assembly-v3", "drawer-open-v3", "pick-place-v3", "peg-insert-side-v3"])
def test_a_seed_repeats_an_episode_whatever_came_before(suite, name):
    env = environments.make(f"metaworld-{name}-expert")
    first, other, again = (_observations(env, seed) for seed in (3, 4, 3))
    assert first.dtype == np.float32
    assert env.observation_space.contains(first[0])
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], other[0])
    np.testing.assert_array_equal(first, _observations(environments.make(f"metaworld-{name}-mixed"), 3))
    assert (first[:, -3:] == first[0, -3:]).all()
    assert first[0, -3:].any()  # where the goal is hidden, it is 0


@pytest.mark.slow
def test_versions_are_told_for_the_record(suite):
    told = environments.describe(REACH)
    assert told.keys() == {"suite", "environment", "metaworld", "mujoco", "gymnasium", "differs"}
    assert (told["suite"], told["environment"]) == ("metaworld", "reach-v3")


@pytest.mark.slow
def test_an_episode_ends_after_500_steps(suite):
    env = environments.make("metaworld-drawer-open-v3-expert")
    assert env.unwrapped.max_path_length == metaworld.STEPS
    env.reset(seed=0)
    for step in range(1, 501):
        _, reward, terminated, truncated, info = env.step(np.zeros(4, np.float32))
        assert -1 <= reward <= 0
        assert (terminated, truncated, info["success"]) == (False, step == 500, False)
