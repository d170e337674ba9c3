"""Play episodes of every training seed at once, on the environments of some simulators.

All training seeds act in one compiled call of one fixed shape. The environments are split into groups: while the policy
acts for one group, the simulators of the others step. An action's key comes from the evaluation's seed, the training
seed, the episode and the step, so neither the number of workers nor that of environments changes a result (beyond the
rounding of a matrix product, which on the CPUs that we tried depends on its width only above 50 rows or below 2).

This module does not know which episodes are played, nor what becomes of their rows.
"""

import functools
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import PyTreeDef
from jaxtyping import Array, Float, Key, PyTree, Shaped, UInt32
from numpy.typing import NDArray

from guidedflow.environments.vector import Simulators, Steps
from guidedflow.errors import InputError
from guidedflow.evaluation.pace import Pace
from guidedflow.flows.realtime import binding, check_delay, shifted
from guidedflow.packing import finite_rows, unpacked
from guidedflow.parts import Parts

_WIDEST = 32  # Rows of one policy call; see the module's docstring.


@functools.cache
def _acting(structure: PyTreeDef, bound: bool) -> Callable[..., Float[Array, "seeds rows *action"]]:
    """The compiled call of a policy of this structure: one action for every row of every training seed.

    If it is `bound`, each row has a target and a binding besides. It takes the policy's leaves: it is called thousands
    of times, and a list is taken apart faster than modules.
    """

    @jax.jit
    def act(
        leaves: list[Any],
        root: Key[Array, ""],
        seeds: UInt32[Array, " seeds"],
        observations: Shaped[Array | np.ndarray, "seeds rows *observation"] | Parts,
        episodes: UInt32[Array, "seeds rows"],
        steps: UInt32[Array, "seeds rows"],
        *pulls: Float[Array, "seeds rows action"],
    ) -> Float[Array, "seeds rows *action"]:
        fold = jax.random.fold_in

        def one(leaves: list[Any], seed: Array, observation: Any, episode: Array, step: Array, *pull: Array) -> Array:
            policy = jax.tree.unflatten(structure, leaves)
            policy = policy.bound(*pull) if bound else policy
            return policy(observation, fold(fold(fold(root, seed), episode), step))

        each = (0,) * (3 + len(pulls))
        rows = jax.vmap(one, in_axes=(None, None, *each))
        own = [0 if jnp.ndim(leaf) else None for leaf in leaves]
        return jax.vmap(rows, in_axes=(own, 0, *each))(leaves, seeds, observations, episodes, steps, *pulls)

    return act


class Rollout:
    """Every episode of every training seed, played on the environments of some simulators.

    A playing environment holds one row of its group's policy call: training seed `owner`, row `row`. Rows without an
    environment are computed and ignored, so the call keeps its shape while episodes end.
    """

    def __init__(
        self,
        policy: PyTree,
        simulators: Simulators,
        task: str,
        seeds: Sequence[int],
        episode_seeds: Sequence[int],
        root: Array,
        pace: Pace,
        options: dict[str, Any],
    ) -> None:
        self.options = options or None
        self.simulators, self.task, self.seeds, self.episode_seeds = simulators, task, seeds, episode_seeds
        self.waiting = deque((owner, e) for e in range(len(episode_seeds)) for owner in range(len(seeds)))
        used = _even(len(self.waiting), simulators.num_envs, simulators.workers)
        groups = max(min(2, used), math.ceil(used / _WIDEST))
        self.groups = np.array_split(np.arange(used), groups)
        self.group_of = np.repeat(np.arange(groups), [len(group) for group in self.groups])
        rows = max(2, math.ceil(len(self.groups[0]) / len(seeds)))
        self.free = [[list(range(rows)) for _ in seeds] for _ in self.groups]
        self.shape = (len(seeds), rows)
        leaves, structure = jax.tree.flatten(policy)
        self.act = functools.partial(
            _acting(structure, bool(pace.realtime)), leaves, root, jnp.asarray(seeds, jnp.uint32)
        )
        shape, dtype = simulators.observation_layout
        self.observations = np.zeros((*self.shape, *shape), dtype)
        self.owner, self.row, self.episode, self.length = np.zeros((4, used), np.int64)
        self.total = np.zeros(used)
        self.seam, self.seams = np.zeros((2, used))
        self.pace = pace
        self.chunks: NDArray[Any] | None = None  # what each environment is executing; allocated when its size is known
        self.plans: NDArray[Any] | None = None  # the whole chunk that each got last, of which a part is executed
        if pace.realtime:
            self.pulls = np.zeros((2, *self.shape, policy.action_size), np.float32)
        self.rows: dict[tuple[int, int], dict[str, Any]] = {}

    def run(self, watch: Callable[[], None]) -> None:
        """Play until no episode waits and none is on its way."""
        nothing = np.zeros((0, *self.simulators.single_action_space.shape))
        flying = 0
        for group in self.groups:
            resets = self._begin(group)
            self.simulators.step_async(nothing, [], resets=resets, options=self.options)
            flying += bool(resets)
        while flying:
            steps = self.simulators.step_wait()
            watch()
            flying += self._continue(steps) - 1

    def _continue(self, steps: Steps) -> bool:
        """Book what came back, begin what waits, act in the rest; whether the group is on its way again."""
        indices = steps.indices
        self.length[indices] += 1
        self.total[indices] += steps.rewards
        over = steps.terminated | steps.truncated
        for index, success in zip(indices[over].tolist(), steps.success[over].tolist(), strict=True):
            self._end(index, success)
        resets = self._begin(indices[over])
        going = indices[~over]
        if len(going):
            actions = self._actions(going, steps.observations[~over])
            self.simulators.step_async(actions, going, resets=resets, options=self.options)
        elif resets:
            nothing = np.zeros((0, *self.simulators.single_action_space.shape))
            self.simulators.step_async(nothing, [], resets=resets, options=self.options)
        return bool(len(going) or resets)

    def _begin(self, indices: NDArray[np.int64]) -> dict[int, int]:
        """Give waiting episodes to idle environments while their training seed has a free row; returns the resets."""
        resets = {}
        for index in indices.tolist():
            free = self.free[self.group_of[index]]
            job = next((job for job in self.waiting if free[job[0]]), None)
            if job is None:
                break
            self.waiting.remove(job)
            self.owner[index], self.episode[index] = job
            self.row[index] = free[job[0]].pop()
            self.seam[index] = self.seams[index] = 0
            self.length[index], self.total[index] = -1, 0.0  # The reset is counted as the step before the first.
            resets[index] = self.episode_seeds[job[1]]
        return resets

    def _end(self, index: int, success: float) -> None:
        owner, episode = int(self.owner[index]), int(self.episode[index])
        if not math.isfinite(self.total[index]):
            raise self._broken(index, "rewards")
        self.free[self.group_of[index]][owner].append(int(self.row[index]))
        self.rows[owner, episode] = {
            "seed": int(self.seeds[owner]),
            "episode": episode,
            "episode_seed": self.episode_seeds[episode],
            "return": float(self.total[index]),
            "length": int(self.length[index]),
            "success": None if math.isnan(success) else success,
            "seam": self.seam[index] / self.seams[index] if self.seams[index] else None,
        }

    def _broken(self, index: int, what: str) -> InputError:
        seed = self.episode_seeds[self.episode[index]]
        return InputError(f"evaluation: {self.task!r} gave {what} that are not finite in the episode of seed {seed}")

    def _actions(self, indices: NDArray[np.int64], observations: NDArray[Any]) -> NDArray[Any]:
        """What these environments do next, clipped to their box: the next step of a chunk, or of a new one."""
        due = np.ones(len(indices), bool) if self.chunks is None else self.length[indices] % self.chunks.shape[1] == 0
        if due.any():
            chunks = self._executed(indices[due], self._plan(indices[due], observations[due]))
            if self.chunks is None:
                self.chunks = np.zeros((len(self.owner), *chunks.shape[1:]), chunks.dtype)
            self.chunks[indices[due]] = chunks
        assert self.chunks is not None
        box = self.simulators.single_action_space
        return np.clip(self.chunks[indices, self.length[indices] % self.chunks.shape[1]], box.low, box.high)

    def _plan(self, indices: NDArray[np.int64], observations: NDArray[Any]) -> NDArray[Any]:
        """The policy's chunks for these environments: [row, step, ...].

        Raises `InputError` where they are of another task, or not finite.
        """
        place = self.owner[indices], self.row[indices]
        episodes, steps = np.zeros((2, *self.shape), np.uint32)
        self.observations[place], episodes[place], steps[place] = (
            observations,
            self.episode[indices],
            self.length[indices],
        )
        pulls = self._pulls(indices) if self.pace.realtime else ()
        actions = np.asarray(self.act(_seen(self.observations), episodes, steps, *pulls))[place]
        box = self.simulators.single_action_space
        if actions.ndim != 2 or actions.shape[1] % math.prod(box.shape):
            raise InputError(
                f"evaluation: expected actions of shape {box.shape}, found {actions.shape[1:]}; "
                "the policy was trained for another task"
            )
        if not np.isfinite(actions).all():
            first = np.argmin(np.isfinite(actions).all(axis=1))
            bad = int(indices[first])
            if not finite_rows(observations[first : first + 1]).all():
                raise self._broken(bad, "observations")
            raise InputError(
                f"evaluation: the policy of seed {self.seeds[self.owner[bad]]} gave an action that is not finite in "
                f"step {self.length[bad]} of episode {self.episode[bad]}; look for where its training diverged"
            )
        return actions.reshape(len(actions), -1, *box.shape)

    def _executed(self, indices: NDArray[np.int64], chunks: NDArray[Any]) -> NDArray[Any]:
        """What these environments do until the next request: the chunk before while the new one is on its way."""
        every, delay = self.pace.every(chunks.shape[1]), self.pace.delay
        executed = chunks[:, :every]
        if delay is None:
            return executed
        check_delay(chunks.shape[1], delay, every)
        if self.plans is None:
            self.plans = np.zeros((len(self.owner), *chunks.shape[1:]), chunks.dtype)
        going = self.length[indices] > 0
        executed, old = executed.copy(), self.plans[indices]
        executed[going, :delay] = old[going, every : every + delay]
        # The last old action is that before the delay's end, or of the time before the request.
        last = old[:, every + delay - 1]
        jumps = np.sqrt(np.mean(np.square(executed[:, delay] - last), axis=tuple(range(1, last.ndim))))
        self.seam[indices] += np.where(going, jumps, 0)
        self.seams[indices] += going
        self.plans[indices] = chunks
        return executed

    def _pulls(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Target and binding of every row of the policy's call; the first chunk of an episode is free."""
        size = math.prod(self.simulators.single_action_space.shape)
        chunk, going = self.pulls.shape[-1] // size, indices[self.length[indices] > 0]
        self.pulls[1] = 0
        if self.plans is not None:
            place, every = (self.owner[going], self.row[going]), self.pace.every(chunk)
            rests = [shifted(self.plans[index], every).ravel() for index in going]
            self.pulls[0][place] = np.reshape(rests, (len(going), size * chunk))
            self.pulls[1][place] = np.repeat(binding(chunk, self.pace.delay or 0, every), size)
        return self.pulls


def _seen(observations: NDArray[Any]) -> NDArray[Any] | Parts:
    """Observations as the compiled call takes them; those of several parts by name."""
    return observations if observations.dtype.names is None else Parts(unpacked(observations))


def _even(episodes: int, environments: int, workers: int) -> int:
    """So many of the environments that they are done soonest, if all episodes are of one length.

    A round takes as long as the worker with the most environments, and half a step more for messages and policy.
    """

    def duration(used: int) -> float:
        return math.ceil(episodes / used) * (math.ceil(used / workers) + 0.5)

    return min(range(min(episodes, environments), 0, -1), key=duration)
