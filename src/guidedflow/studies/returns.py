"""What a policy really earns from the states that it visits, beside what its critic claims there.

An episode that is cut off goes on with its last reward for ever: where that is the reward of not having succeeded, its
return is a lower bound. This module does not know how the numbers are compared.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray, Shaped

from guidedflow import environments
from guidedflow.evaluation.rollout import episode_seeds
from guidedflow.keys import Stream
from guidedflow.types import Action, Observation

Act = Callable[[Observation, PRNGKeyArray], Action]


class Visited(NamedTuple):
    """States of rollouts, what was done there, and the discounted return from there on."""

    observations: Shaped[np.ndarray, " states *observation"]
    actions: Float[np.ndarray, "states action"]
    returns: Float[np.ndarray, " states"]


def visited(act: Act, task: str, episodes: int, discount: float, frame_stack: int = 1) -> Visited:
    """Roll a policy out, which acts by an observation and a key, in one simulator, on episodes of selection."""
    env = environments.make(task, frame_stack=frame_stack)
    act = jax.jit(act)
    found: list[Visited] = []
    try:
        for number, seed in enumerate(episode_seeds(0, Stream.SELECTION_EPISODES, episodes)):
            found.append(_episode(env, act, int(seed), jax.random.key(number), discount))
    finally:
        env.close()
    return Visited(*(np.concatenate(columns) for columns in zip(*found, strict=True)))


def _episode(env: Any, act: Any, seed: int, key: Any, discount: float) -> Visited:
    observation, _ = env.reset(seed=seed)
    observations: list[Any] = []
    actions: list[Any] = []
    rewards: list[float] = []
    terminated = truncated = False
    while not (terminated or truncated):
        action = np.asarray(act(observation, jax.random.fold_in(key, len(actions))))
        observations.append(observation)
        actions.append(action)
        observation, reward, terminated, truncated, _ = env.step(action)
        rewards.append(float(reward))
    returns, following = np.zeros(len(rewards), np.float32), 0.0 if terminated else rewards[-1] / (1 - discount)
    for index in reversed(range(len(rewards))):
        following = returns[index] = rewards[index] + discount * following
    return Visited(np.stack(observations), np.stack(actions), returns)
