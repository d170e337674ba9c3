"""OGBench's datasets as recipes, and one episode of each, by its scripted oracles.

`noisy` manipulation data: Markov oracles, Gaussian action noise of a scale drawn per episode, some actions at random.
`play`: oracles that follow a plan with temporally correlated noise. `navigate` and `stitch` of the point maze: shortest
paths with action noise. `visual-` data are made alike and seen through a camera, while their oracles know the state.
Settings as published (OGBench, Park et al., arXiv 2410.20092, and its generation commands); `Recipe.dialled` changes
how good the data are.
This module does not know how many episodes are wanted, in which process it runs, or where they are stored.
"""

import abc
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
from numpy.typing import NDArray

from guidedflow import environments
from guidedflow.errors import InputError, did_you_mean

Episode = dict[str, NDArray[Any]]
"""Columns of one episode as OGBench stores them: L actions make L + 1 rows, and the last row's action means nothing."""

FOLDER = Path("~/.ogbench/data")
"""Where OGBench itself looks for datasets."""

Cell = tuple[int, int]

MARKOV_NOISE = 0.1  # the upper end of the scale that is drawn per episode
MARKOV_REACH = 0.4  # metres: the shortest step that a Markov oracle aims for
PLAN_NOISE, PLAN_SMOOTHING = 0.1, 0.5
POINT_NOISE = 0.5
STITCH_STEPS = 4  # cells between start and goal

# environment: (published episodes, range of the stacking probability, probability of a random action in noisy data).
# OGBench published cube-octuple only in sets of 100M steps and more; its number here follows cube-quadruple.
_MANIPULATION: dict[str, tuple[int, tuple[float, float], float]] = {
    "cube-single": (1000, (0.0, 0.0), 0.1),
    "cube-double": (1000, (0.0, 0.25), 0.1),
    "cube-triple": (3000, (0.05, 0.35), 0.1),
    "cube-quadruple": (5000, (0.1, 0.5), 0.1),
    "cube-octuple": (5000, (0.0, 0.35), 0.1),
    "scene": (1000, (0.5, 0.5), 0.1),
    "puzzle-3x3": (1000, (0.5, 0.5), 0.2),
    "puzzle-4x4": (1000, (0.5, 0.5), 0.2),
    "puzzle-4x5": (3000, (0.5, 0.5), 0.2),
    "puzzle-4x6": (5000, (0.5, 0.5), 0.2),
}
_POINT_MAZES = ("medium", "large", "giant", "teleport")


@dataclass(frozen=True)
class Recipe:
    """How one dataset is made: published number of episodes, rows of each, and what disturbs the oracle."""

    name: str
    data: str
    episodes: int
    rows: int
    random_actions: float = 0.0
    """Probability that an action is uniform in [-1, 1]."""
    stacking: tuple[float, float] = (0.0, 0.0)
    noise: float | None = None
    """What disturbs the oracle, by default as published; see `disturbance`."""

    @property
    def disturbance(self) -> float:
        """Deviation of the noise of a plan or a point; of `noisy` data the largest that an episode may draw."""
        if self.noise is not None:
            return self.noise
        return {"play": PLAN_NOISE, "noisy": MARKOV_NOISE}.get(self.data, POINT_NOISE)

    def dialled(self, random_actions: float | None, noise: float | None) -> "Recipe":
        """The recipe at another quality; None leaves what was published. Raises `InputError` outside [0, 1]."""
        for name, value in (("random-actions", random_actions), ("noise", noise)):
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"{name} must be between 0 and 1, but is {value:g}.")
        random_actions = self.random_actions if random_actions is None else random_actions
        return replace(self, random_actions=random_actions, noise=self.noise if noise is None else noise)

    def record(self) -> dict[str, Any]:
        """How the data are made, as JSON's own types."""
        return {
            "by": "scripted oracle",
            "dataset": self.name,
            "random_actions": self.random_actions,
            "noise": self.disturbance,
            "stacking": list(self.stacking),
        }

    @property
    def folder(self) -> Path:
        """Where its suite looks for datasets."""
        return FOLDER

    def outcome(self, columns: Episode) -> dict[str, Any]:
        """What the record says of the episodes that were made, end to end; of OGBench's nothing."""
        return {}

    @property
    def family(self) -> str:
        """cube, scene, puzzle or pointmaze."""
        return self.name.removeprefix("visual-").partition("-")[0]


def _recipes() -> dict[str, Recipe]:
    recipes = []
    for name, (episodes, stacking, random_actions) in _MANIPULATION.items():
        for environment in filter(environments.ENVIRONMENTS.get, (name, f"visual-{name}")):
            recipes.append(Recipe(f"{environment}-play-v0", "play", episodes, 1001, 0.0, stacking))
            recipes.append(Recipe(f"{environment}-noisy-v0", "noisy", episodes, 1001, random_actions, stacking))
    for maze in _POINT_MAZES:
        episodes, rows = (500, 2001) if maze == "giant" else (1000, 1001)
        recipes.append(Recipe(f"pointmaze-{maze}-navigate-v0", "navigate", episodes, rows))
        recipes.append(Recipe(f"pointmaze-{maze}-stitch-v0", "stitch", 5000, 201))
    return {recipe.name: recipe for recipe in recipes}


RECIPES = _recipes()


def recipe(name: str) -> Recipe:
    """The recipe of a dataset. Raises `InputError` for an unknown name, and for data that no scripted oracle makes."""
    if name in RECIPES:
        return RECIPES[name]
    if name in environments.datasets():
        raise InputError(
            f"{name!r} needs a trained expert to be collected: download it by `guidedflow data download {name}`"
        )
    raise InputError(
        f"unknown dataset {name!r}{did_you_mean(name, RECIPES)}; datasets are named like 'cube-single-noisy-v0'"
    )


def collector(recipe: Recipe) -> "Collector":
    """Start the simulator of a recipe; the result makes the episode of a seed, whatever was made before."""
    return PointMaze(recipe) if recipe.data in ("navigate", "stitch") else Manipulation(recipe)


class Collector(abc.ABC):
    """Makes episodes in one simulator."""

    env: gymnasium.Env[Any, Any]

    def __call__(self, seed: np.random.SeedSequence) -> Episode:
        """The episode of a seed. The suite's oracles draw from NumPy's global generator, as its simulators do."""
        with environments.drawing_as(self.env):
            return self.episode(seed)

    @abc.abstractmethod
    def episode(self, seed: np.random.SeedSequence) -> Episode:
        """The same, where NumPy's global generator is the simulator's own."""


class Manipulation(Collector):
    """Episodes of cube, scene and puzzle: an arm that is given a new random target whenever it is done with one."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self.env = environments.make(
            recipe.name,
            goal=False,
            terminate_at_goal=False,
            mode="data_collection",
            max_episode_steps=recipe.rows,
        )
        closed = recipe.family == "puzzle"
        if recipe.data == "play":
            self._oracles = _plan_oracles(self.env, closed, recipe.disturbance)
        else:
            self._oracles = _markov_oracles(self.env, closed)

    def episode(self, seed: np.random.SeedSequence) -> Episode:
        """One episode. A scene whose cube leaves the table is thrown away and drawn again, as published."""
        resets, disturbances = seed.spawn(2)
        rng = np.random.default_rng(disturbances)
        episode = self._attempt(int(resets.generate_state(1)[0]), rng)
        while self._recipe.family == "scene" and not _cube_in_sight(episode["qpos"]):
            episode = self._attempt(None, rng)
        return episode

    def _attempt(self, seed: int | None, rng: np.random.Generator) -> Episode:
        rows, env = self._recipe.rows, self.env
        arm: Any = env.unwrapped
        if self._recipe.family == "scene":
            _forget_targets(arm)
        observation, info = env.reset(seed=seed)
        stacking = rng.uniform(*self._recipe.stacking)
        random_rows = rng.random(rows) < self._recipe.random_actions
        random_actions = rng.uniform(-1, 1, (rows, 5))
        noise = self._noise(rng)
        oracle = self._oracles[info["privileged/target_task"]]
        oracle.reset(observation, info)
        columns: dict[str, list[Any]] = defaultdict(list)
        for row in range(rows):
            action = random_actions[row]
            if not random_rows[row]:
                action = np.clip(oracle.select_action(observation, info) + noise[row], -1, 1)
            following, _, _, _, info = env.step(action)
            _append(columns, observation, action, info)
            observation = following
            if oracle.done:
                # As published, `info` stays that of the step: the first action still sees the target before.
                target_observation, target_info = arm.set_new_target(p_stack=stacking)
                oracle = self._oracles[target_info["privileged/target_task"]]
                oracle.reset(target_observation, target_info)
        return _episode(columns)

    def _noise(self, rng: np.random.Generator) -> NDArray[Any]:
        """Added to the oracle's actions; a plan carries its own noise. Yaw and gripper move in larger units."""
        scale = rng.uniform(0, self._recipe.disturbance) if self._recipe.data == "noisy" else 0.0
        return rng.normal(0, 1, (self._recipe.rows, 5)) * (scale * np.array([1, 1, 1, 3, 10]))


class PointMaze(Collector):
    """Episodes of a point that walks shortest paths: to one goal four cells away, or to one goal after another."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self.env = environments.make(recipe.name, goal=False, terminate_at_goal=False, max_episode_steps=recipe.rows)
        self._maze = cast(Any, self.env.unwrapped)
        free: NDArray[np.bool_] = self._maze.maze_map == 0
        self._cells: list[Cell] = [(int(i), int(j)) for i, j in np.argwhere(free)]
        self._corners = [cell for cell in self._cells if not _in_hallway(free, cell)]
        self._subgoals: dict[tuple[Cell, Cell], NDArray[Any]] = {}

    def episode(self, seed: np.random.SeedSequence) -> Episode:
        """One episode, from a random free cell."""
        resets, disturbances, dice = seed.spawn(3)
        rng, other = np.random.default_rng(disturbances), np.random.default_rng(dice)
        rows, maze = self._recipe.rows, self._maze
        start, goal = self._endpoints(rng)
        noise = rng.normal(0, self._recipe.disturbance, (rows, 2))
        random_rows, random_actions = other.random(rows) < self._recipe.random_actions, other.uniform(-1, 1, (rows, 2))
        observation, info = self.env.reset(
            seed=int(resets.generate_state(1)[0]), options={"task_info": {"init_ij": start, "goal_ij": goal}}
        )
        columns: dict[str, list[Any]] = defaultdict(list)
        for row in range(rows):
            direction = self._subgoal() - maze.get_xy()
            action = np.clip(direction / (np.linalg.norm(direction) + 1e-6) + noise[row], -1, 1)
            action = random_actions[row] if random_rows[row] else action
            following, _, _, _, info = self.env.step(action)
            _append(columns, observation, action, info)
            observation = following
            if info["success"] and self._recipe.data == "navigate":
                goal = self._corners[rng.integers(len(self._corners))]
                maze.set_goal(goal_xy=maze.add_noise(maze.ij_to_xy(goal)))
        return _episode(columns)

    def _endpoints(self, rng: np.random.Generator) -> tuple[Cell, Cell]:
        start = self._cells[rng.integers(len(self._cells))]
        if self._recipe.data == "navigate":
            return start, self._corners[rng.integers(len(self._corners))]
        here = self._maze.ij_to_xy(start)
        _, distances = self._maze.get_oracle_subgoal(here, here)
        goals = [cell for cell in self._cells if distances[cell] == STITCH_STEPS] or [start]
        return start, goals[rng.integers(len(goals))]

    def _subgoal(self) -> NDArray[Any]:
        """Centre of the next cell on the way; OGBench searches the maze for it, once for each pair of cells."""
        here, goal = self._maze.get_xy(), self._maze.cur_goal_xy
        pair = self._maze.xy_to_ij(here), self._maze.xy_to_ij(goal)
        if pair not in self._subgoals:
            self._subgoals[pair] = self._maze.get_oracle_subgoal(here, goal)[0]
        return self._subgoals[pair]


def _plan_oracles(env: gymnasium.Env[Any, Any], gripper_always_closed: bool, noise: float) -> dict[str, Any]:
    from ogbench.manipspace.oracles.plan import button_plan, cube_plan, drawer_plan, window_plan

    settings = {"env": env, "noise": noise, "noise_smoothing": PLAN_SMOOTHING}
    return {
        "cube": cube_plan.CubePlanOracle(**settings),
        "button": button_plan.ButtonPlanOracle(gripper_always_closed=gripper_always_closed, **settings),
        "drawer": drawer_plan.DrawerPlanOracle(**settings),
        "window": window_plan.WindowPlanOracle(**settings),
    }


def _markov_oracles(env: gymnasium.Env[Any, Any], gripper_always_closed: bool) -> dict[str, Any]:
    from ogbench.manipspace.oracles.markov import button_markov, cube_markov, drawer_markov, window_markov

    settings = {"env": env, "min_norm": MARKOV_REACH}
    return {
        "cube": cube_markov.CubeMarkovOracle(**settings),
        "button": button_markov.ButtonMarkovOracle(gripper_always_closed=gripper_always_closed, **settings),
        "drawer": drawer_markov.DrawerMarkovOracle(**settings),
        "window": window_markov.WindowMarkovOracle(**settings),
    }


def _append(
    columns: dict[str, list[Any]], observation: NDArray[Any], action: NDArray[Any], info: dict[str, Any]
) -> None:
    columns["observations"].append(observation)
    columns["actions"].append(action)
    columns["qpos"].append(info["prev_qpos"])
    columns["qvel"].append(info["prev_qvel"])
    if "prev_button_states" in info:
        columns["button_states"].append(info["prev_button_states"])


def _episode(columns: dict[str, list[Any]]) -> Episode:
    types = {"button_states": np.int64, "observations": columns["observations"][0].dtype}  # images are bytes
    episode = {key: np.array(rows, types.get(key, np.float32)) for key, rows in columns.items()}
    return episode | {"terminals": np.arange(len(columns["actions"])) == len(columns["actions"]) - 1}


def _forget_targets(scene: Any) -> None:
    """A reset draws one kind of target and keeps the others of the episode before, which an oracle may look at."""
    scene._target_block, scene._target_button = 0, 0
    scene._target_button_states[:] = 0
    scene._target_drawer_pos, scene._target_window_pos = 0.0, 0.0
    scene.model.site("drawer_handle_center_target").pos[1] = 0.0
    scene.model.site("window_handle_center_target").pos[0] = 0.0


def _cube_in_sight(qpos: NDArray[Any]) -> bool:
    """Whether the scene's cube stays where a picture of the goal would show it: on the table or in the drawer."""
    y, z = qpos[:, 15], qpos[:, 16]
    beside_the_drawer = (y <= -0.3) & ((z < 0.06) | (z > 0.08))
    return not np.any((y >= 0.29) | beside_the_drawer)


def _in_hallway(free: NDArray[Any], cell: Cell) -> bool:
    """Whether the only ways out of a cell are two opposite ones."""
    i, j = cell
    vertical, horizontal = [free[i - 1, j], free[i + 1, j]], [free[i, j - 1], free[i, j + 1]]
    return (all(vertical) and not any(horizontal)) or (all(horizontal) and not any(vertical))
