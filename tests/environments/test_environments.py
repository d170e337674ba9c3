"""A task's name says which environment and which data; an environment repeats an episode for a seed, bit for bit."""

import subprocess
import sys

import gymnasium
import h5py
import numpy as np
import pytest
from tiny_environment import Peaceful

from guidedflow import environments, recipes
from guidedflow.environments import antmaze, vector
from guidedflow.environments.vector import Simulators, open_simulators
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
        pytest.param("puzzle-3x3-play-singletask-v0", 55, marks=pytest.mark.slow),
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


@pytest.mark.parametrize(
    ("name", "size", "goal"),
    [
        ("pointmaze-medium-navigate-v0", 2, 2),
        ("antmaze-medium-navigate-oraclerep-v0", 29, 2),
        ("cube-single-play-v0", 28, 28),
    ],
)
def test_a_goal_is_joined_to_the_observation_and_a_seed_repeats_both(name, size, goal):
    env, bare = environments.make(name), environments.make(name, goal=False)
    assert (env.observation_space.shape, bare.observation_space.shape) == ((size + goal,), (size,))
    first, other, again = (env.reset(seed=3, options={"task_id": task})[0] for task in (2, 4, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[size:], other[size:])
    np.testing.assert_array_equal(first, environments.make(name).reset(seed=3, options={"task_id": 2})[0])
    observation, info = bare.reset(seed=3, options={"task_id": 2})
    np.testing.assert_array_equal(observation, first[:size])
    assert info["goal"].shape == (goal,)
    after = env.step(env.action_space.sample())[0]
    np.testing.assert_array_equal(after[size:], first[size:])
    assert after.dtype == np.float32
    assert env.observation_space.contains(after)


def test_a_name_without_a_task_stands_for_five():
    assert environments.task_ids("cube-single-play-v0") == (1, 2, 3, 4, 5)
    assert environments.task_ids("cube-single-play-oraclerep-v0") == (1, 2, 3, 4, 5)
    for single in ("cube-single-play-singletask-v0", "pen-human-v1", "my-arm"):
        assert environments.task_ids(single) == ()
    task = environments.parse("scene-noisy-oraclerep-v0")
    assert (task.dataset, task.oracle, task.goal_conditioned) == ("scene-noisy-v0", True, True)
    for wrong in ("cube-single-play-singletask-oraclerep-v0", "visual-cube-single-play-oraclerep-v0"):
        with pytest.raises(InputError, match="unknown task"):
            environments.parse(wrong)


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
    assert told.keys() == {"suite", "environment", "ogbench", "mujoco", "gymnasium", "success_timing", "differs"}
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


def _random_return(env, seed):
    env.reset(seed=seed)
    env.action_space.seed(seed)
    total, steps, over = 0.0, 0, False
    while not over:
        _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        total, steps, over = total + reward, steps + 1, terminated or truncated
    return total, steps


@pytest.mark.parametrize(
    ("name", "size", "limit"),
    [
        ("door-human-v1", 39, 200),
        ("hammer-cloned-v1", 46, 200),
        ("pen-expert-v1", 45, 100),
        ("relocate-human-v1", 39, 200),
        ("D4RL/pen/human-v2", 45, 200),
        ("antmaze-umaze-v2", 29, 700),
        ("mujoco/hopper/medium-v0", 11, 1000),
        ("mujoco/halfcheetah/expert-v0", 17, 1000),
        ("mujoco/walker2d/simple-v0", 17, 1000),
    ],
)
def test_hands_mazes_and_walkers_repeat_and_act_in_the_box(name, size, limit, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env = environments.make(name)
    first, again = (_observations(env, 5, steps=10) for _ in range(2))
    assert (first.dtype, first.shape[1]) == (np.float32, size)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], _observations(env, 6, steps=1)[0])
    assert (env.action_space.low == -1).all()
    assert (env.action_space.high == 1).all()
    limits = [wrapper for wrapper in _wrappers(env) if isinstance(wrapper, gymnasium.wrappers.TimeLimit)]
    assert [wrapper._max_episode_steps for wrapper in limits] == [limit]
    assert capfd.readouterr() == ("", "")  # neither messages nor MuJoCo's log file
    assert list(tmp_path.iterdir()) == []


def _wrappers(env):
    while isinstance(env, gymnasium.Wrapper):
        yield env
        env = env.env


@pytest.mark.parametrize("suite", ["d4rl", "minari"])
@pytest.mark.parametrize("hand", ["door", "hammer", "relocate"])
def test_a_random_hand_earns_the_reference_return(hand, suite):
    """The references tell the two suites' rewards apart: they differ in the sign of one term."""
    name = f"{hand}-human-v1" if suite == "d4rl" else f"D4RL/{hand}/human-v2"
    env = environments.make(name)
    found = np.mean([_random_return(env, seed)[0] for seed in range(6)])
    expected, other = (
        recipes.task(task).reference.minimum
        for task in (name, f"D4RL/{hand}/human-v2" if suite == "d4rl" else f"{hand}-human-v1")
    )
    assert abs(found - expected) < abs(found - other)
    assert found == pytest.approx(expected, abs=6)


def test_the_rewards_of_the_door_demonstrations_have_the_sign_of_d4rls(shared_data):
    """A reward is that of the state after the step, up to the cost of velocities, which is not observed."""
    with h5py.File(shared_data / "door-human-v1.hdf5") as file:
        seen, rewards, cut = (file[key][:] for key in ("observations", "rewards", "timeouts"))
    opened, reach = seen[:, 28], np.linalg.norm(seen[:, 35:38], axis=1)
    bonus = 2 * (opened > 0.2) + 8 * (opened > 1.0) + 10 * (opened > 1.35)
    for sign, furthest in ((-1, 0.03), (1, 0.2)):
        expected = sign * 0.1 * reach - 0.1 * (opened - 1.57) ** 2 + bonus
        apart = np.abs(rewards[:-1] - expected[1:])[~cut[:-1]].max()
        assert furthest / 2 < apart < furthest


def test_a_dropped_pen_ends_d4rls_episode_alone():
    steps = [min(_random_return(environments.make(name), seed)[1] for seed in range(4))
             for name in ("pen-human-v1", "D4RL/pen/human-v2")]  # fmt: skip
    assert steps[0] < 100
    assert steps[1] == 200


def test_an_ant_starts_at_the_origin_and_ends_at_its_goal():
    env = environments.make("antmaze-medium-diverse-v2")
    maze = next(wrapper for wrapper in _wrappers(env) if isinstance(wrapper, antmaze.D4RLAnt))
    goals = []
    for seed in range(20):
        observation, _ = env.reset(seed=seed)
        assert np.abs(observation[:2]).max() <= 0.1
        goals.append(maze.goal)
    low, high = np.min(goals, axis=0), np.max(goals, axis=0)
    assert (low >= 20).all()  # five cells of 4 metres to the right and down
    assert (high <= 21.5).all()
    assert (high > low).all()
    ant = maze.unwrapped.ant_env
    places = ant.data.qpos.copy()
    places[:2] = maze.goal + maze._origin
    ant.set_state(places, ant.data.qvel.copy())
    observation, reward, terminated, _, info = env.step(np.zeros(8, np.float32))
    assert (reward, terminated, info["success"]) == (1.0, True, True)
    assert np.linalg.norm(observation[:2] - maze.goal) <= antmaze.REACHED


@pytest.mark.parametrize("name", antmaze._MAZES)
def test_the_walls_of_a_maze_stand_as_d4rl_prints_them(name):
    rows = antmaze._MAZES[name][0].split()
    assert {len(row) for row in rows} == {len(rows[0])}
    env = environments.make(f"antmaze-{name}-v2" if name == "umaze" else f"antmaze-{name}-play-v2")
    maze = next(wrapper for wrapper in _wrappers(env) if isinstance(wrapper, antmaze.D4RLAnt))
    model = maze.unwrapped.model
    blocks = [model.geom(i) for i in range(model.ngeom) if model.geom(i).name.startswith("block")]
    cells = {tuple(np.rint((block.pos[:2] - maze._origin) / antmaze.CELL).astype(int) + 1) for block in blocks}
    assert cells == {(x, y) for y, row in enumerate(rows) for x, cell in enumerate(row) if cell == "#"}


def test_scores_are_those_of_the_published_references():
    assert recipes.normalized("door-human-v1", -56.512833) == 0
    assert recipes.normalized("D4RL/pen/cloned-v2", 8820.50845967583) == 100
    assert recipes.normalized("antmaze-large-play-v2", 0.25) == 25
    assert recipes.normalized("cube-single-noisy-singletask-task1-v0", 1.0) is None


def test_every_task_of_the_paper_has_a_simulator():
    tasks = recipes.tasks()
    assert len(tasks) == 144
    for task in tasks:
        assert environments.parse(task.name).suite == task.suite
        scored = recipes.normalized(task.name, 0.5) is not None
        assert scored == (task.suite != "ogbench")


@pytest.mark.parametrize("name", ["door-human-v1", "D4RL/door/human-v2", "antmaze-umaze-v2", "mujoco/hopper/expert-v0"])
def test_what_differs_from_the_papers_simulator_is_told(name):
    told = environments.describe(name)
    assert "MuJoCo" in told["differs"]
    assert told["mujoco"].count(".") == 2
    assert told["suite"] in ("d4rl", "minari")


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("door-human-v1", "gymnasium_robotics", "d4rl"),
        ("antmaze-umaze-v2", "gymnasium_robotics.envs.maze.ant_maze_v4", "d4rl"),
        ("mujoco/hopper/medium-v0", "mujoco", "minari"),
    ],
)
def test_a_suite_that_is_not_installed_is_named_with_its_extra(monkeypatch, name, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"pip install 'guidedflow\[{extra}\]'"):
        environments.make(name)


def test_data_without_a_simulator_is_told_how_to_act():
    assert not environments.known("my-arm")
    with pytest.raises(InputError, match="task 'my-arm' has no simulator here"):
        open_simulators("my-arm")


class Gusts(gymnasium.Env):
    """Draws the wind of each step from NumPy's global generator, as OGBench's teleporters do."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        return np.random.normal(size=1), {}  # noqa: NPY002

    def step(self, action):
        return np.random.uniform(size=1), 0.0, False, False, {}  # noqa: NPY002


def test_environments_of_one_process_do_not_disturb_each_other():
    alone, other, again = (environments.Repeatable(Gusts()) for _ in range(3))

    def episode(env, meanwhile=lambda: None):
        seen = [env.reset(seed=5)[0]]
        for _ in range(5):
            meanwhile()
            seen.append(env.step(np.zeros(1))[0])
        return np.concatenate(seen)

    state = np.random.get_state()[1].copy()  # noqa: NPY002
    expected = episode(alone)
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002
    other.reset(seed=99)
    np.testing.assert_array_equal(episode(again, lambda: other.step(np.zeros(1))), expected)
    np.testing.assert_array_equal(episode(again, lambda: other.reset(seed=7)), expected)


def test_no_more_simulators_are_made_than_there_are_episodes(monkeypatch):
    made = []

    class Counted(Simulators):
        def __init__(self, factory, number, workers, **_):
            made.append((number, workers))
            super().__init__(Peaceful, 1, 1)

    monkeypatch.setattr(vector, "Simulators", Counted)
    name = "cube-single-noisy-singletask-task1-v0"
    for episodes in (None, 3, 1000):
        vector.open_simulators(name, 4, episodes).close()
    assert made == [(20, 4), (3, 4), (20, 4)]
