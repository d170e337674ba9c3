"""The other side of `vector`: one spawned process that owns several environments and answers messages about them.

This module does not know how many workers there are, or who sends the messages. It imports neither JAX nor a suite.
"""

import contextlib
import math
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict
from numpy.typing import DTypeLike, NDArray

from guidedflow.environments.wrappers import layout
from guidedflow.errors import InputError

_LINE = 64  # Bytes of a cache line: columns start on one.


class Board:
    """Columns that parent and workers share, one row an environment; without a `name`, new memory."""

    def __init__(
        self,
        number: int,
        observation_space: gymnasium.Space[Any],
        action_space: Box,
        name: str | None = None,
    ) -> None:
        columns: list[tuple[tuple[int, ...], DTypeLike]] = [
            layout(observation_space),
            ((), np.float64),
            ((), np.bool_),
            ((), np.bool_),
            ((), np.float32),
            (action_space.shape, action_space.dtype),
        ]
        sizes = [number * math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in columns]
        starts = np.cumsum([0, *(-(-size // _LINE) * _LINE for size in sizes)])
        self._memory = SharedMemory(name, create=name is None, size=int(starts[-1]))
        self.observations, self.rewards, self.terminated, self.truncated, self.success, self.actions = (
            np.ndarray((number, *shape), dtype, self._memory.buf, int(start))
            for (shape, dtype), start in zip(columns, starts, strict=False)
        )

    @property
    def name(self) -> str:
        return self._memory.name

    @property
    def results(self) -> tuple[NDArray[Any], ...]:
        """What a step fills, in the order of Gymnasium's step: observations, rewards, two flags, success."""
        return self.observations, self.rewards, self.terminated, self.truncated, self.success

    def unlink(self) -> None:
        self._memory.unlink()

    def close(self) -> None:
        del self.observations, self.rewards, self.terminated, self.truncated, self.success, self.actions
        self._memory.close()


@dataclass(frozen=True)
class Cast:
    """What the parent must know of a worker's environments, which are all alike."""

    observation_space: gymnasium.Space[Any]
    action_space: Box
    metadata: dict[str, Any]
    render_mode: str | None


@dataclass(frozen=True)
class Failure:
    """What went wrong in a worker; `from_input` says whether the user can put it right."""

    from_input: bool
    sentence: str
    trace: str


Success = Literal["last", "any"]
"""When an episode counts as a success: by its last step, or by any of its steps."""


class Environments:
    """The environments of one worker, by the number that they have in the parent."""

    def __init__(
        self, factory: Callable[[], gymnasium.Env[Any, Any]], numbers: Sequence[int], success: Success = "last"
    ) -> None:
        self.doing = "making an environment"
        self._any = success == "any"
        self._environments = {number: factory() for number in numbers}
        self._parts = False

    def cast(self) -> Cast:
        """Their spaces, with observations of floating point as float32. Raises `InputError` unless both are boxes.

        Observations may also be a dictionary of boxes, as `in_parts` makes it.
        """
        environment = next(iter(self._environments.values()))
        action = _box(environment.action_space, "actions")
        if isinstance(environment.observation_space, Dict):
            self._parts = True
            return Cast(environment.observation_space, action, dict(environment.metadata), environment.render_mode)
        observation = _box(environment.observation_space, "observations")
        if np.issubdtype(observation.dtype, np.floating):
            low, high = (bound.astype(np.float32) for bound in (observation.low, observation.high))
            observation = Box(low, high, dtype=np.float32)
        return Cast(observation, action, dict(environment.metadata), environment.render_mode)

    def attach(self, name: str, number: int) -> None:
        cast = self.cast()
        self._board = Board(number, cast.observation_space, cast.action_space, name)

    def advance(self, steps: Sequence[int], resets: Mapping[int, int | None], options: dict[str, Any] | None) -> None:
        """One step of each environment in `steps`, and a new episode, with these options, for each in `resets`."""
        board = self._board
        for number in steps:
            self.doing = f"stepping environment {number}"
            observation, reward, terminated, truncated, info = self._environments[number].step(board.actions[number])
            self._see(number, observation)
            board.rewards[number] = reward if type(reward) is float else _one_number(reward)
            board.terminated[number] = terminated
            board.truncated[number] = truncated
            success = _success(info)
            board.success[number] = np.fmax(board.success[number], success) if self._any else success
        for number, seed in resets.items():
            self.doing = f"resetting environment {number} with seed {seed}"
            self._see(number, self._environments[number].reset(seed=seed, options=options)[0])
            board.rewards[number] = 0.0
            board.terminated[number] = board.truncated[number] = False
            board.success[number] = math.nan

    def _see(self, number: int, observation: Any) -> None:
        """Put an observation, or each of its parts, on the board."""
        if not self._parts:
            self._board.observations[number] = observation
            return
        for name, part in observation.items():
            self._board.observations[name][number] = part

    def render(self) -> list[Any]:
        self.doing = "drawing an environment"
        return [environment.render() for environment in self._environments.values()]

    def close(self) -> None:
        for environment in self._environments.values():
            environment.close()


def serve(connection: Connection) -> None:
    """Answer messages until None or until the parent is gone; an exception is the last answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent closes its workers.
    environments: Environments | None = None
    try:
        for message in _messages(connection):
            match message:
                case "make", factory, numbers, success:
                    environments = Environments(factory, numbers, success)
                    connection.send(environments.cast())
                case verb, *rest if environments is not None:
                    connection.send(getattr(environments, verb)(*rest))
        if environments is not None:
            environments.close()
    except BaseException as error:
        doing = environments.doing if environments is not None else "making an environment"
        sentence = str(error) if isinstance(error, InputError) else f"simulators: {doing} failed: {_told(error)}"
        with contextlib.suppress(ConnectionError):
            connection.send(Failure(isinstance(error, InputError), sentence, traceback.format_exc()))


def _success(info: Mapping[str, Any]) -> float:
    """What a step says of success, under the name `success` or `is_success`; NaN where it says nothing."""
    found = info.get("success", info.get("is_success"))
    return math.nan if found is None else float(np.min(np.asarray(found, np.float64)))


def _one_number(reward: Any) -> float:
    """The reward of a step; raises `InputError` for several numbers."""
    array = np.asarray(reward)
    if array.size != 1 or array.dtype.kind not in "fiub":
        found = f"an array of shape {array.shape}" if array.ndim else f"a {type(reward).__name__}"
        raise InputError(f"the environment's reward must be one number, but is {found}; sum or choose among its parts")
    return float(array.item())


def _box(space: gymnasium.Space[Any], role: str) -> Box:
    if not isinstance(space, Box):
        raise InputError(f"simulators: expected a box of {role}, found {space}")
    return space


def _messages(connection: Connection) -> Iterator[Any]:
    with contextlib.suppress(EOFError, ConnectionError):
        while (message := connection.recv()) is not None:
            yield message


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
