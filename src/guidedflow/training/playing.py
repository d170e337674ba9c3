"""One environment that a policy learns in: its episodes, one step at a time, into a replay buffer.

Episode e of a training seed has an environment seed of its own, and the actions of the episode in progress are kept.
A resumed run resets the environment to that seed and repeats these actions, so that it goes on where it was. This
module does not know how actions are computed, nor who learns.
"""

import math
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import gymnasium
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Shaped
from numpy.typing import NDArray

from guidedflow import environments
from guidedflow.data.actions import ACTION_LIMIT
from guidedflow.data.replay import Replay
from guidedflow.errors import InputError
from guidedflow.keys import Stream
from guidedflow.normalization import ActionScale
from guidedflow.packing import finite_rows, row_of, unpacked


class Outcome(NamedTuple):
    """An episode that has ended."""

    total: float
    """Sum of the environment's rewards."""
    length: int
    success: float
    """Of its last step; NaN where the environment says nothing."""


class Player:
    """An environment and the replay buffer of one training seed."""

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        replay: Replay,
        seed: int,
        *,
        scale: ActionScale | None = None,
        shift: float = 0.0,
    ) -> None:
        """`scale` takes actions from the box to the environment's units, and `shift` is added to rewards in the buffer.

        Raises `InputError` for an environment whose actions are no box.
        """
        if not isinstance(env.action_space, gymnasium.spaces.Box):
            raise InputError(f"the environment's actions must be a box of numbers, but are {env.action_space}.")
        self.env, self.replay, self.seed, self.scale, self.shift = env, replay, seed, scale, shift
        self.episode = -1
        self.outcomes: list[Outcome] = []
        """Episodes that have ended, for whoever reports them to take."""
        self._size = math.prod(env.action_space.shape)
        self._actions: list[Float32[np.ndarray, " action"]] = []
        self._plan = np.zeros((0, self._size), np.float32)
        self._total = 0.0

    @property
    def time(self) -> int:
        """Steps of the episode in progress."""
        return len(self._actions)

    @property
    def waits(self) -> bool:
        """Whether it needs a new action, or chunk, for its next step."""
        return not len(self._plan)

    def observe(self) -> Shaped[np.ndarray, "*observation"]:
        """The newest observation; begins an episode where none is in progress."""
        if self.replay.first < 0:
            self.episode += 1
            self._plan, self._actions, self._total = self._plan[:0], [], 0.0
            self.replay.begin(self._reset())
        return self.replay.newest

    def plan(self, action: Float[np.ndarray, " numbers"]) -> None:
        """What to do next, in the box: an action, or a chunk that is executed to its end."""
        if not np.isfinite(action).all():
            raise InputError(
                f"the policy of seed {self.seed} gave an action that is not finite in step {self.time} of online "
                f"episode {self.episode}; lower --learning-rate, or look for where its training diverged."
            )
        self._plan = np.clip(action, -ACTION_LIMIT, ACTION_LIMIT).astype(np.float32).reshape(-1, self._size)

    def step(self) -> None:
        """Execute the next planned action, and keep what it led to."""
        action, self._plan = self._plan[0], self._plan[1:]
        observation, reward, terminated, truncated, success = self._execute(action)
        self._actions.append(action)
        self._total += reward
        self.replay.add(action, reward + self.shift, float(not terminated), observation)
        if terminated or truncated:
            self.outcomes.append(Outcome(self._total, self.time, success))
            self.replay.end()

    def state(self) -> dict[str, NDArray[Any]]:
        """All that `restore` needs, buffer included."""
        actions = np.asarray(self._actions, np.float32).reshape(-1, self._size)
        own: dict[str, NDArray[Any]] = {
            "episode": np.asarray(self.episode, np.int64),
            "episode_actions": actions,
            "plan": self._plan,
        }
        return {**self.replay.state(), **own}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `state`: the episode in progress is played again from its seed and actions.

        Warns where it does not come to the same observation; that episode then ends there, as if it was cut off.
        """
        self.replay.restore(state)
        self.episode, self._plan = int(state["episode"]), np.asarray(state["plan"])
        self._actions, self._total = [], 0.0
        if self.replay.first < 0:
            return
        observation, over = self._reset(), False
        for action in np.asarray(state["episode_actions"]):
            observation, reward, terminated, truncated, _ = self._execute(action)
            self._actions.append(action)
            self._total += reward
            over = over or terminated or truncated
        if over or not _same(observation, self.replay.newest):
            warnings.warn(
                f"online episode {self.episode} of seed {self.seed} could not be repeated: its environment does not "
                "give the same observations for the same seed and actions; it is cut off there.",
                stacklevel=2,
            )
            self.replay.end()

    def _reset(self) -> NDArray[Any]:
        sequence = np.random.SeedSequence([self.seed, Stream.ONLINE_EPISODES, self.episode])
        try:
            observation, _ = self.env.reset(seed=int(sequence.generate_state(1)[0]))
        except InputError:
            raise
        except Exception as error:  # an environment raises whatever it likes
            raise self._failed("reset", error) from error
        return self._seen(observation)

    def _execute(self, action: Float32[np.ndarray, " action"]) -> tuple[NDArray[Any], float, bool, bool, float]:
        """One step of the environment; raises `InputError` where it fails or gives what is not finite."""
        space: Any = self.env.action_space
        own = action if self.scale is None else np.asarray(self.scale.from_box(jnp.asarray(action)))
        try:
            observation, reward, terminated, truncated, info = self.env.step(
                np.clip(own.reshape(space.shape), space.low, space.high).astype(space.dtype)
            )
            number = np.asarray(reward, np.float64)
        except InputError:
            raise
        except Exception as error:
            raise self._failed("step", error) from error
        if number.size != 1 or not np.isfinite(number).all():
            raise InputError(f"the environment's reward must be one finite number, but is {reward!r}.")
        found = info.get("success", info.get("is_success"))
        success = math.nan if found is None else float(np.min(np.asarray(found, np.float64)))
        return self._seen(observation), float(number.item()), bool(terminated), bool(truncated), success

    def _seen(self, observation: Any) -> NDArray[Any]:
        dtype = self.replay.newest.dtype
        seen = np.asarray(observation).astype(dtype, copy=True) if dtype.names is None else row_of(observation, dtype)
        if not finite_rows(seen[None]).all():
            raise InputError(f"the environment gave an observation that is not finite in episode {self.episode}.")
        return seen

    def _failed(self, doing: str, error: Exception) -> InputError:
        return InputError(
            f"the environment failed in a {doing} of online episode {self.episode}: {type(error).__name__}: {error}."
        )


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two observations are equal, in each of their parts."""
    pairs = zip(unpacked(one[None]).values(), unpacked(other[None]).values(), strict=True)
    return all(np.array_equal(*pair) for pair in pairs)


def reward_shift(task: str) -> float:
    """What is added to a simulator's rewards, so that they are those of its dataset: -1 in D4RL's mazes, else 0."""
    if not environments.known(task):
        return 0.0
    parsed = environments.parse(task)
    return -1.0 if parsed.suite == "d4rl" and parsed.environment.startswith("antmaze") else 0.0
