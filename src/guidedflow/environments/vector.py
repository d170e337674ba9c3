"""Simulators in worker processes, behind Gymnasium's vector interface.

A worker steps several environments for one message, so the cost of a message is shared; observations, actions,
rewards and flags lie in memory that parent and workers share. Nothing resets by itself (`AutoresetMode.DISABLED`):
whoever counts episodes begins each one, with its own seed. A batch may be on its way while another is prepared
(`step_async`, `step_wait`), so that a policy can compute while simulators step. Workers are spawned, never forked;
start them before JAX takes a device.

This module does not know what acts, which suite an environment is from, or what an episode is for. It never imports
JAX, because its workers import it.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from guidedflow import environments
from guidedflow.environments.own import Own
from guidedflow.environments.pool import Pool
from guidedflow.environments.worker import Board, Cast, Success
from guidedflow.environments.wrappers import layout
from guidedflow.errors import InputError
from guidedflow.packing import Shape, shape_of
from guidedflow.processes import available_cores


class Steps(NamedTuple):
    """What came back for the environments `indices`; `success` is NaN where an environment does not report it."""

    indices: NDArray[np.int64]
    observations: NDArray[Any]
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    success: NDArray[np.float32]


class Simulators(gymnasium.vector.VectorEnv):
    """`number` environments in `workers` spawned processes; environment i lives in worker i modulo `workers`.

    Observations of a dictionary space are rows of a structured array (`guidedflow.packing`).
    `factory` is called in the workers and must be importable by name: a function of a module, or
    `functools.partial(guidedflow.environments.make, task)`. Observations of floating point are float32.
    `graphics` is the workers' `MUJOCO_GL`, by default as it is here.
    Infos hold success alone, `info["success"]` or `info["is_success"]`, because a message with all of a suite's infos
    costs more than a step. An episode's is that of its last step or, with `success="any"`, that of its best one.

    Raises `InputError` where the factory does or the spaces are not boxes, and `RuntimeError` where an environment
    fails, a worker dies, or one is silent for `timeout` seconds; then every worker is stopped first.
    """

    single_observation_space: gymnasium.Space[Any]
    single_action_space: Box

    def __init__(
        self,
        factory: Callable[[], gymnasium.Env[Any, Any]],
        number: int,
        workers: int | None = None,
        *,
        graphics: str | None = None,
        timeout: float = 600.0,
        success: Success = "last",
    ) -> None:
        self.closed = True  # Until there is something to close.
        self.factory, self.success = factory, success
        if number < 1 or (workers is not None and workers < 1):
            raise InputError(f"simulators: expected at least one environment and one worker, found {number}, {workers}")
        self.num_envs = number
        self.workers = min(number, workers or available_cores())
        self._pool = Pool(self.workers, number, timeout, self.close)
        self._sent: deque[tuple[NDArray[np.int64], list[int]]] = deque()
        self._board: Board | None = None
        self._busy = np.zeros(number, bool)
        self._over = np.ones(number, bool)
        self.closed = False
        try:
            self._start(factory, graphics)
        except BaseException:
            self.close()
            raise

    def _start(self, factory: Callable[[], gymnasium.Env[Any, Any]], graphics: str | None) -> None:
        _check_importable(factory)
        first: Cast = self._pool.start(
            lambda worker: ("make", factory, self._pool.owned(worker), self.success), graphics
        )[0]
        self.single_observation_space, self.single_action_space = first.observation_space, first.action_space
        self.observation_space = batch_space(first.observation_space, self.num_envs)
        self.action_space = batch_space(first.action_space, self.num_envs)
        self.metadata = {**first.metadata, "autoreset_mode": AutoresetMode.DISABLED}
        self.render_mode = first.render_mode
        self._board = Board(self.num_envs, first.observation_space, first.action_space)
        self._pool.ask(("attach", self._board.name, self.num_envs))
        self._board.unlink()  # The memory lives as long as its users, and nothing is left behind if they are killed.

    @property
    def observation_shape(self) -> Shape:
        """The shape of one observation, or of each of its parts."""
        return shape_of(*layout(self.single_observation_space))

    @property
    def observation_layout(self) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Shape and type of the array that holds one observation; parts are the fields of a structured type."""
        return layout(self.single_observation_space)

    def step_async(
        self,
        actions: NDArray[Any],
        indices: Sequence[int] | NDArray[np.int64] | None = None,
        *,
        resets: Mapping[int, int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        """Send `actions` [n, ...] to the environments `indices` [n] (default: all) and do not wait.

        Environments in `resets` begin an episode with that seed instead, told these `options`, beside the others' step,
        and are part of what `step_wait` returns. Several batches may be on their way if they share no environment.
        Raises `gymnasium.error.ResetNeeded` where an episode is over.
        """
        resets = resets or {}
        steps = np.arange(self.num_envs) if indices is None else np.asarray(indices, np.int64)
        chosen = np.concatenate([steps, np.fromiter(resets, np.int64, len(resets))])
        board = self._open()
        if self._busy[chosen].any() or len(set(chosen.tolist())) < len(chosen):
            raise RuntimeError(f"simulators: a batch for environments {chosen.tolist()} overlaps one on its way")
        if self._over[steps].any():
            over = steps[self._over[steps]].tolist()
            raise gymnasium.error.ResetNeeded(f"simulators: the episodes of environments {over} are over; reset them")
        board.actions[steps] = actions
        self._busy[chosen] = True
        orders: dict[int, tuple[str, list[int], dict[int, int | None]]] = {}
        for index in steps.tolist():
            orders.setdefault(index % self.workers, ("advance", [], {}))[1].append(index)
        for index, seed in resets.items():
            orders.setdefault(index % self.workers, ("advance", [], {}))[2][int(index)] = seed
        for worker, order in orders.items():
            self._pool.send(worker, (*order, options))
        self._sent.append((chosen, list(orders)))

    def step_wait(self) -> Steps:
        """The result of the oldest batch that is on its way; arrays are copies, first the steps, then the resets."""
        board = self._open()
        if not self._sent:
            raise RuntimeError("simulators: step_wait without a step_async before it")
        indices, concerned = self._sent.popleft()
        for worker in concerned:
            self._pool.answer(worker)
        self._busy[indices] = False
        steps = Steps(indices, *(column[indices] for column in board.results))
        self._over[indices] = steps.terminated | steps.truncated
        return steps

    def settle(self) -> None:
        """Wait for whatever is on its way and forget it."""
        while self._sent and not self.closed:
            self.step_wait()

    def step(self, actions: NDArray[Any]) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Gymnasium's step of all environments; infos are `success` and its mask `_success`."""
        self.step_async(actions)
        steps = self.step_wait()
        told = ~np.isnan(steps.success)
        infos = {"success": np.where(told, steps.success, 0) > 0, "_success": told} if told.any() else {}
        return steps.observations, steps.rewards, steps.terminated, steps.truncated, infos

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Begin episodes where `options["reset_mask"]` is true (default: everywhere), and return all observations.

        An integer seed s becomes s, s + 1, ...; a list has one entry an environment. Other options go to each of them.
        """
        if seed is None:
            seed = [None] * self.num_envs
        seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else list(seed)
        options = dict(options or {})
        mask = np.asarray(options.pop("reset_mask", np.ones(self.num_envs, bool)))
        if len(seeds) != self.num_envs or mask.shape != (self.num_envs,) or mask.dtype != bool or not mask.any():
            raise InputError(
                f"simulators: expected {self.num_envs} seeds and a boolean reset_mask of that length with at least one "
                f"True, found {len(seeds)} seeds and a {mask.dtype} mask of shape {mask.shape}, {mask.sum()} set"
            )
        chosen = np.flatnonzero(mask).tolist()
        nothing = np.empty((0, *self._open().actions.shape[1:]))
        self.step_async(nothing, [], resets={i: seeds[i] for i in chosen}, options=options or None)
        self.step_wait()
        return self._open().observations.copy(), {}

    def render(self) -> tuple[NDArray[np.uint8], ...]:
        """One picture an environment; call it while no batch is on its way."""
        self._open()
        pictures = self._pool.ask(("render",))
        return tuple(pictures[i % self.workers][i // self.workers] for i in range(self.num_envs))

    def close_extras(self, patience: float = 5.0) -> None:
        """Stop the workers: ask, then terminate, then kill, each time waiting up to `patience` seconds."""
        self._pool.stop(patience)
        if self._board is not None:
            self._board.close()
            self._board = None

    def __enter__(self) -> "Simulators":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Simulators(number={self.num_envs}, workers={self.workers})"

    def _open(self) -> Board:
        if self._board is None:
            raise RuntimeError("simulators: they are closed")
        return self._board


def _check_importable(factory: Callable[[], gymnasium.Env[Any, Any]]) -> None:
    """Raise `InputError` for a factory that cannot be sent to a worker."""
    try:
        ForkingPickler.dumps(factory)
    except Exception as error:  # Pickling raises whatever it likes.
        raise InputError(
            f"simulators: expected an environment factory that is importable by name, found {factory!r}; "
            f"put the function into a module of its own ({error})"
        ) from error


def factory_of(
    task: str, frame_stack: int = 1, own: Own | None = None, *, render: bool = False
) -> Callable[[], gymnasium.Env[Any, Any]]:
    """What makes an environment of a task, or of `own`, that draws if `render`.

    Raises `InputError` for a task that cannot be simulated.
    """
    if own is not None:
        return partial(own, render=True) if render else own
    environments.simulated(task)
    return partial(environments.make, task, render=render, frame_stack=frame_stack)


def open_simulators(
    task: str,
    workers: int | None = None,
    episodes: int | None = None,
    frame_stack: int = 1,
    *,
    own: Own | None = None,
    success: Success = "last",
) -> Simulators:
    """Simulators of a task: five environments a core, as episodes come in tens, but not more than there are episodes.

    Each takes 100 to 200 MB. With `own` they are of that environment in the place of the task's.
    """
    factory = factory_of(task, frame_stack, own)
    workers = workers or available_cores()
    return Simulators(factory, min(5 * workers, episodes or 5 * workers), workers, success=success)


@contextlib.contextmanager
def given_or_opened(
    simulators: Simulators | None, task: str, episodes: int, frame_stack: int = 1
) -> Iterator[Simulators]:
    """Simulators that were given, or else those of a task for so many episodes, which are closed at the end."""
    if simulators is not None:
        yield simulators
        return
    with open_simulators(task, None, episodes, frame_stack) as made:
        yield made
