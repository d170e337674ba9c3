"""MetaWorld's data as recipes, and one episode of each, by the scripted policy that the suite has for every task.

    expert     the scripted policy itself
    noisy      Gaussian noise of one deviation on all of its actions
    mixed      of the episodes, half are the expert's; of the other half's steps, half are random and the others noisy
    dithered   the expert with random actions that are each held for ten steps

A held random action is a simple form of temporally extended exploration (Dabney et al., arXiv 2006.01782). It leads
away from the expert's states, while noise of single steps averages out. What the numbers below say may be changed by
`Recipe.dialled`. An episode ends with success, or after 500 steps. This module does not know how many episodes are
wanted, in which process it runs, or where they are stored.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidedflow import environments
from guidedflow.data.obtain.oracles import Collector, Episode, Recipe
from guidedflow.environments import metaworld
from guidedflow.environments.wrappers import installed, quiet
from guidedflow.errors import InputError, did_you_mean

FOLDER = Path("~/.metaworld/data")
"""Where datasets of MetaWorld are looked for; the suite itself has no place for them."""

EPISODES = 200
HELD = 10  # steps of a random action in dithered data
EXPERTS = 0.5  # share of undisturbed episodes in mixed data

# data: (probability that an action is random, deviation of the noise on the others)
_QUALITIES = {"expert": (0.0, 0.0), "noisy": (0.0, 0.3), "mixed": (0.5, 0.3), "dithered": (0.3, 0.0)}


@dataclass(frozen=True)
class Scripted(Recipe):
    """How one dataset is made; of mixed data, probability and noise are those of the disturbed episodes."""

    def record(self) -> dict[str, Any]:
        """How the data are made, as JSON's own types."""
        record = super().record()
        del record["stacking"]
        if self.data == "mixed":
            record["experts"] = EXPERTS
        return record | ({"held": HELD} if self.data == "dithered" else {})

    @property
    def folder(self) -> Path:
        """Where its suite's datasets are looked for."""
        return FOLDER

    def outcome(self, columns: Episode) -> dict[str, Any]:
        """The share of episodes that were solved."""
        solved = (columns["masks"] == 0) & ~columns["last"]
        return {"success_rate": round(float(solved.sum() / columns["last"].sum()), 4)}


RECIPES = {
    f"metaworld-{environment}-{data}": Scripted(
        f"metaworld-{environment}-{data}", data, EPISODES, metaworld.STEPS + 1, share, noise=noise
    )
    for environment in metaworld.ENVIRONMENTS
    for data, (share, noise) in _QUALITIES.items()
}


def recipe(name: str) -> Scripted:
    """The recipe of a dataset. Raises `InputError` for an unknown name."""
    if name not in RECIPES:
        raise InputError(
            f"unknown dataset {name!r}{did_you_mean(name, RECIPES)}; MetaWorld's are named like "
            "'metaworld-reach-v3-noisy', with one of expert, noisy, mixed, dithered"
        )
    return RECIPES[name]


class ScriptedPolicy(Collector):
    """Episodes of one task by its scripted policy, disturbed as a recipe says."""

    def __init__(self, recipe: Scripted) -> None:
        self._recipe = recipe
        task = environments.parse(recipe.name)
        self.env = environments.make(recipe.name)
        with installed(recipe.name, "metaworld"):
            from metaworld.policies import ENV_POLICY_MAP

            self._policy = ENV_POLICY_MAP[task.environment]()

    def episode(self, seed: np.random.SeedSequence) -> Episode:
        """One episode: a row for each observation; the last one's action is that of the row before it."""
        resets, disturbances = seed.spawn(2)
        noise, random_rows, random_actions = disturbed(self._recipe, np.random.default_rng(disturbances))
        observation, _ = self.env.reset(seed=int(resets.generate_state(1)[0]))
        observations: list[NDArray[Any]] = [observation]
        actions: list[NDArray[Any]] = []
        rewards: list[float] = []
        over = solved = False
        with quiet():  # The policies warn of actions outside the box, to which they are clipped here.
            while not over:
                row = len(actions)
                action = random_actions[row]
                if not random_rows[row]:
                    action = np.clip(self._policy.get_action(observation) + noise[row], -1, 1)
                action = action.astype(np.float32)
                observation, reward, solved, truncated, _ = self.env.step(action)
                observations.append(observation)
                actions.append(action)
                rewards.append(float(reward))
                over = solved or truncated
        return _columns(observations, actions, rewards, solved)


def disturbed(
    recipe: Recipe, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """What disturbs one episode: the noise [steps, 4], which steps are random [steps], and the random actions."""
    steps, share = metaworld.STEPS, recipe.random_actions
    expert = recipe.data == "mixed" and rng.random() < EXPERTS
    noise = rng.normal(0, 1, (steps, 4)) * recipe.disturbance
    dice, actions = rng.random(steps), rng.uniform(-1, 1, (steps, 4))
    if expert:
        return np.zeros_like(noise), np.zeros(steps, bool), actions
    if recipe.data != "dithered":
        return noise, dice < share, actions
    return noise, *held(dice, actions, share, HELD)


def held(
    dice: NDArray[np.float64], actions: NDArray[np.float64], share: float, steps: int
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which rows are random, and the actions there, if each random action is held for so many steps.

    A hold begins where none goes on and the row's number in `dice`, uniform in [0, 1), is small enough; the chance is
    chosen so that in the long run `share` of the rows are random.
    """
    chance = share / (share + steps * (1 - share))
    random_rows, chosen = np.zeros(len(dice), bool), actions.copy()
    left = 0
    for row, number in enumerate(dice):
        if left:
            chosen[row] = chosen[row - 1]
        elif number < chance:
            left = steps
        random_rows[row] = left > 0
        left = max(left - 1, 0)
    return random_rows, chosen


def _columns(
    observations: list[NDArray[Any]], actions: list[NDArray[Any]], rewards: list[float], solved: bool
) -> Episode:
    rows = len(observations)
    masks = np.ones(rows, np.float32)
    masks[-1] = 0
    masks[-2] = not solved
    return {
        "observations": np.array(observations, np.float32),
        "actions": np.array([*actions, actions[-1]], np.float32),
        "rewards": np.array([*rewards, 0], np.float32),
        "masks": masks,
        "last": np.arange(rows) == rows - 1,
    }
