"""D4RL's ant mazes (Fu et al., arXiv 2004.07219): `antmaze-{umaze,medium,large}...-v2`, an ant that must reach a goal.

gymnasium-robotics has the mazes, but another ant in another frame: its motors are five times stronger, it steps half as
long, its y axis points the other way, its observation is a dictionary without a place, and start and goal are drawn
from wider ranges. Here the mazes stand as in D4RL (the rows of each map reversed), the ant has D4RL's motors, step and
contacts, and an observation is D4RL's 29 numbers: place, joints, velocities. The goal is not observed. An episode ends
within 0.5 metres of the goal, with reward 1; all other rewards are 0. This module does not know what is in a dataset,
nor what acts.
"""

from typing import Any, cast

import gymnasium
import numpy as np
from numpy.typing import NDArray

from guidedflow.environments.tasks import Task
from guidedflow.environments.wrappers import installed, silent

PACKAGES = ("gymnasium-robotics", "mujoco", "gymnasium")

CELL = 4.0  # metres
REACHED = 0.5  # metres
_MOTOR = 30.0  # newton metres at an action of 1
_STEP = 0.02  # seconds; five of them are a step of the environment
_SOLREF, _SOLIMP = (0.02, 1.0), (0.8, 0.8, 0.01)

# environment: (map as D4RL prints it, limit of steps); # is a wall, s the start, g the goal
_MAZES = {
    "umaze": ("##### #s..# ###.# #g..# #####", 700),
    "medium": ("######## #s.##..# #..#...# ##...### #..#...# #.#..#.# #...#.g# ########", 1000),
    "large": (
        "############ #s...#.....# #.##.#.#.#.# #......#...# #.####.###.# #..#.#.....# ##.#.#.#.### #..#...#.g.# "
        "############",
        1000,
    ),
}
_TASKS = {
    f"antmaze-{data}-v2": Task(f"antmaze-{data}-v2", f"antmaze-{data.split('-')[0]}", data, suite="d4rl")
    for data in ("umaze", "umaze-diverse", "medium-play", "medium-diverse", "large-play", "large-diverse")
}


def names() -> list[str]:
    """The six tasks."""
    return list(_TASKS)


def find(name: str) -> Task | None:
    """The task of that name, if it is one of these."""
    return _TASKS.get(name)


def steps(task: Task) -> int:
    """Steps after which an episode is cut off."""
    return _MAZES[task.environment.removeprefix("antmaze-")][1]


def make(task: Task, render: bool, **settings: Any) -> gymnasium.Env[Any, Any]:
    """The environment of a task; `info["success"]` tells whether the goal is reached."""
    if render:
        settings = {"render_mode": "rgb_array", "width": 480, "height": 480} | settings
    rows = _MAZES[task.environment.removeprefix("antmaze-")][0].split()
    with installed(task.name, "d4rl"), silent():
        from gymnasium_robotics.envs.maze.ant_maze_v4 import AntMazeEnv

        cells = [[{"#": 1, "s": "r", "g": "g"}.get(cell, 0) for cell in row] for row in reversed(rows)]
        ant = D4RLAnt(AntMazeEnv(maze_map=cells, continuing_task=False, **settings), rows)
    return gymnasium.wrappers.TimeLimit(ant, steps(task))


def describe(task: Task) -> dict[str, str]:
    """What differs from the simulators of the papers."""
    differs = (
        "published D4RL scores were made with d4rl on MuJoCo 2.1; this is gymnasium-robotics with D4RL's maze, ant, "
        "start and goal"
    )
    return {"differs": differs}


class D4RLAnt(gymnasium.Wrapper[Any, Any, Any, Any]):
    """D4RL's ant in D4RL's frame: the origin is the start cell, x grows with the map's columns, y with its rows."""

    def __init__(self, env: gymnasium.Env[Any, Any], rows: list[str]) -> None:
        super().__init__(env)
        self._maze = cast(Any, env.unwrapped)
        self._ant = self._maze.ant_env
        model = self._ant.model
        model.opt.timestep = _STEP
        model.actuator_gear[:, 0] = _MOTOR
        model.geom_solref[:] = _SOLREF
        model.geom_solimp[:, :3] = _SOLIMP
        (row, column), (goal_row, goal_column) = (_cell(rows, letter) for letter in "sg")
        self._origin = np.array(self._maze.maze.cell_rowcol_to_xy(np.array([len(rows) - 1 - row, column])))
        self._goal_cell = CELL * np.array([goal_column - column, goal_row - row])
        self.goal = self._goal_cell
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (29,), np.float64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start near the origin, with a goal drawn in its cell."""
        self.env.reset(seed=seed)
        random = self._maze.np_random
        self.goal = np.maximum(self._goal_cell + random.uniform(0, 1, 2) + random.uniform(0, 0.5, 2), 0)
        self._maze.goal = self.goal + self._origin
        self._maze.update_target_site_pos()
        places, speeds = self._ant.init_qpos.copy(), self._ant.init_qvel.copy()
        places[:2] = self._origin
        places[:15] += random.uniform(-0.1, 0.1, 15)
        speeds[:14] += 0.1 * random.standard_normal(14)
        self._ant.set_state(places, speeds)
        return self._observation(), {"success": False}

    def step(self, action: NDArray[Any]) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """One step of the simulator."""
        *_, truncated, info = self.env.step(action)
        observation = self._observation()
        reached = bool(np.linalg.norm(observation[:2] - self.goal) <= REACHED)
        return observation, float(reached), reached, bool(truncated), info | {"success": reached}

    def _observation(self) -> NDArray[Any]:
        places, speeds = self._ant.data.qpos[:15].copy(), self._ant.data.qvel[:14]
        places[:2] -= self._origin
        return np.concatenate([places, speeds])


def _cell(rows: list[str], letter: str) -> tuple[int, int]:
    return next((row, line.index(letter)) for row, line in enumerate(rows) if letter in line)
