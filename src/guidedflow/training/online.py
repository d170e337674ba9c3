"""From offline to online: a trained run goes on learning in its environment, one update a step.

    buffer      the published protocol of FQL (arXiv 2502.02538): dataset and replay buffer are one, drawn uniformly
    balanced    a fixed part of each batch is of the dataset (RLPD, arXiv 2302.02948), after a warm-up in which the
                frozen policy fills the replay buffer (WSRL, arXiv 2412.07762)

Networks, target networks and optimisers go on as they were. The new run is an ordinary one whose steps follow those of
the run that it goes on from; a step is one of the environment. This module does not know any algorithm.
"""

import math
import shutil
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from guidedflow import environments
from guidedflow.algorithms.contract import Algorithm, shown
from guidedflow.data.dataset import Dataset
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.replay import Replay, load, save
from guidedflow.data.sampling.crops import crop_batch
from guidedflow.data.sampling.feed import Feed, open_feed
from guidedflow.data.sampling.windows import WINDOW
from guidedflow.data.transitions import Transitions
from guidedflow.environments.vector import Simulators, open_simulators
from guidedflow.errors import InputError
from guidedflow.keys import Stream, host_bits, stream_key
from guidedflow.normalization import ObservationScale
from guidedflow.packing import PartShapes
from guidedflow.results.intervals import first_unfinite
from guidedflow.runs import checkpoint, steering
from guidedflow.runs.trained import Trained
from guidedflow.settings import check_ranges, check_types, from_plain, to_plain
from guidedflow.training.interruption import interruption
from guidedflow.training.member import Member, Order
from guidedflow.training.plan import Plan
from guidedflow.training.playing import Player, reward_shift
from guidedflow.training.updates import in_rows
from guidedflow.types import Metrics, Transition

FOLDER = "replay"
"""The folder of replay buffers in a run: one for each checkpoint, under its step."""

_WARMUP = {"buffer": 0, "balanced": 5000}


@dataclass(frozen=True)
class Online:
    """How a run goes on in its environment. Raises `InputError` for settings that cannot be."""

    steps: int = 1_000_000
    """Steps of the environment, and of training beyond those of the run."""
    protocol: Literal["buffer", "balanced"] = "buffer"
    """The dataset in the replay buffer, as FQL published; or a set part of each batch from the dataset."""
    offline_share: tuple[float, ...] = ()
    """Part of each batch that is of the dataset, by default 0.5; two numbers: from the first to the last step."""
    warmup: int | None = None
    """First steps, in which the frozen policy acts and nothing is learned; by default 0, if balanced 5,000."""
    capacity: int | None = None
    """Rows of the replay buffer, one a step and one an episode; by default all of the online steps."""
    on_disk: bool = False
    """Keep the replay buffer in files of the run, mapped into memory."""
    policy: str | None = None
    """Policy that acts; by default the algorithm's main one."""
    log_interval: int = 1000
    """Steps between two rows of metrics."""
    eval_interval: int = 0
    """Steps between two evaluations of every policy, the first before the first step; 0: only when asked."""
    eval_episodes: int = 20
    """Episodes of each policy and seed in such an evaluation."""
    checkpoint_interval: int | None = None
    """Steps between two checkpoints with the replay buffer; by default a twentieth of the steps, at most 5,000."""
    keep_checkpoints: int | None = None
    """Checkpoints that stay, the newest; 0: all; by default 2 of the default interval, else all."""
    workers: int | None = None
    """Simulator processes for evaluations; by default one a core."""

    def __post_init__(self) -> None:
        share: Any = self.offline_share
        if isinstance(share, list | int | float):
            object.__setattr__(self, "offline_share", tuple(share) if isinstance(share, list) else (share,))
        check_types(self)
        check_ranges(
            self, offline_share=(0, 1), **dict.fromkeys(("steps", "log_interval", "eval_episodes"), (1, math.inf))
        )
        for name, least in (("warmup", 0), ("capacity", 1), ("checkpoint_interval", 0), ("keep_checkpoints", 0)):
            if getattr(self, name) is not None:
                check_ranges(self, **{name: (least, math.inf)})
        if len(self.offline_share) > 2:
            raise InputError(f"offline-share takes one number or two, but got {len(self.offline_share)}.")
        if self.offline_share and self.protocol == "buffer":
            raise InputError(
                "offline-share changes nothing where the dataset is in the buffer; add --protocol balanced."
            )
        if self.frozen >= self.steps:
            raise InputError(f"warmup must be less than the {self.steps} online steps, but is {self.frozen}.")

    @property
    def frozen(self) -> int:
        """First steps in which nothing is learned."""
        return _WARMUP[self.protocol] if self.warmup is None else self.warmup

    @property
    def saves(self) -> int:
        """Steps between two checkpoints."""
        if self.checkpoint_interval is not None:
            return self.checkpoint_interval
        return max(min(self.steps // 20, 5000) // self.log_interval, 1) * self.log_interval

    def offline(self, done: int, batch_size: int) -> int:
        """How many transitions of the batch are of the dataset after `done` online steps, if it is balanced.

        The share goes from its first to its last value in equal parts, and is rounded to a whole number.
        """
        begin, *end = self.offline_share or (0.5,)
        share = begin + ((end[0] if end else begin) - begin) * done / max(self.steps - 1, 1)
        return min(batch_size, math.floor(share * batch_size + 0.5))


def finetune(
    trained: Trained,
    dataset: Dataset | Mapped,
    online: Online = Online(),
    *,
    out: Path | str,
    env: Callable[[], gymnasium.Env[Any, Any]] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    simulators: Simulators | None = None,
    command: Sequence[str] | None = None,
) -> Trained:
    """Go on training a run in its environment, into the folder `out`, and return what it learned.

    `dataset` is the run's own (`Trained.load`). Each training seed has an environment and a replay buffer of its own:
    those of the suite, or what `env` makes. Evaluations are in the suite's simulators, in those of `env`, or in those
    given. With `resume`, a run that was killed ends with the bits of one that was not, if its environment gives the
    same observations for the same seed and actions. Raises `InputError` for goal-conditioned data, for an environment
    whose spaces do not fit, for a folder that is in use or holds something, and for a loss that is no longer finite.
    """
    _check(trained, dataset, online)
    plan = _plan(trained, online)
    cutting = replace(plan.cutting, observation_scale=trained.configuration.observation_scale)
    kept = {name: value for name, value in to_plain(online).items() if name not in _MAY_CHANGE}
    beside = {
        "online": {**kept, "warmup": online.frozen, "from_step": trained.step},
        "goes_on_from": {"run": str(trained.run.path), "step": trained.step},
    }
    order = Order(
        trained.algorithm, plan, Path(out).expanduser(), resume, overwrite,
        trained.run.config.get("recipe"), command, beside,
    )  # fmt: skip
    window = replace(WINDOW, updates=WINDOW.lasting(plan.batch_size, plan.log_interval))
    with ExitStack() as stack:
        stack.enter_context(jax.enable_x64(False))
        caught = stack.enter_context(interruption())
        feed = stack.enter_context(open_feed(dataset, cutting, window=window, seed=plan.seed, steps=plan.steps))
        member = Member(order, dataset, feed.example(), cutting, window, None)
        with caught.held():
            member.run = stack.enter_context(member.claim())
            caught.undo.append(member.run.close)
        made = env or partial(environments.make, trained.task, frame_stack=plan.frame_stack)
        worlds = [made() for _ in plan.each_seed]
        for world in worlds:
            stack.callback(world.close)
        _check_spaces(trained, worlds[0])
        if plan.eval_interval and simulators is None:
            most = plan.eval_episodes * plan.seeds
            simulators = stack.enter_context(
                open_simulators(trained.task, plan.workers, most, plan.frame_stack, own=env)  # type: ignore[arg-type]
            )
        member.tracker = stack.enter_context(member.track(shown(member.algorithm)))
        step, state = _restored(member, trained)
        member.begin(0 if step == trained.step else step)
        caught.at_once = False
        folder = member.run.path / FOLDER
        if step == trained.step:
            shutil.rmtree(folder, ignore_errors=True)
        players = [
            Player(
                world, _replay(online, plan, member, folder / f"working-{seed}"), seed,
                scale=trained.action_scale, shift=0.0 if env else reward_shift(trained.task),
            )
            for world, seed in zip(worlds, plan.each_seed, strict=True)
        ]  # fmt: skip
        if step > trained.step:
            _restore(players, folder / str(step))
        elif plan.eval_interval and simulators is not None:
            member.evaluate(state, step, simulators)
        learner = _Learner(member, online, players, feed, len(dataset), trained.step, state)
        while step < plan.steps:
            end = plan.end_of_interval(step)
            start = time.perf_counter()
            numbers = learner.advance(step, end)
            if bad := first_unfinite(numbers):
                raise InputError(
                    f"Fine-tuning stopped between steps {step} and {end}: {bad} is no longer finite; look for extreme "
                    "rewards of the environment, or fine-tune a run of a lower --learning-rate. Earlier checkpoints "
                    "are unharmed."
                )
            speed = (end - step) / max(time.perf_counter() - start, 1e-9)
            member.tracker.log(end, numbers, speed)
            member.tracker.advance(end, numbers, speed)
            if plan.evaluates_at(end) and simulators is not None:
                member.evaluate(learner.state, end, simulators)
            if plan.saves_at(end) or caught.number is not None:
                _save(member, players, learner.state, end)
            step = end
            if caught.number is not None:
                member.tracker.note(f"interrupted: saved at step {step:,}; go on with --resume")
                caught.leave(step)
        return member.trained(learner.state, step)


_MAY_CHANGE = frozenset(
    {"log_interval", "eval_interval", "eval_episodes", "checkpoint_interval", "keep_checkpoints", "workers", "warmup"}
)
"""Settings that the plan records, or that a resumed run may change."""


class _Learner:
    """The state of a run that learns online, and one step after another."""

    def __init__(
        self,
        member: Member,
        online: Online,
        players: Sequence[Player],
        feed: Feed,
        transitions: int,
        begun: int,
        state: Any,
    ) -> None:
        self.state, self._online, self._players, self._feed = state, online, players, feed
        self._transitions, self._begun, self._plan = transitions, begun, member.plan
        self._algorithms = in_rows([member.algorithm] * len(players))
        self._seeds = jnp.asarray(member.seeds, jnp.int32)
        self._policy = online.policy or next(iter(member.algorithm.policies(state)))
        self._scale = member.configuration.observation_scale

    def advance(self, step: int, end: int) -> dict[str, np.ndarray]:
        """Steps and updates until `end`; returns the mean of each metric, and of the episodes that ended."""
        totals: Metrics | None = None
        updates = 0
        for now in range(step, end):
            self._act()
            if now - self._begun >= self._online.frozen:
                metrics = self._update(now)
                totals = metrics if totals is None else jax.tree.map(jnp.add, totals, metrics)
                updates += 1
        numbers = {name: np.asarray(value) / updates for name, value in (totals or {}).items()}
        ended = [player.outcomes for player in self._players]
        if all(ended):
            for name, column in (
                ("online_return", "total"),
                ("online_length", "length"),
                ("online_success", "success"),
            ):
                means = np.asarray([np.mean([getattr(each, column) for each in mine]) for mine in ended])
                if np.isfinite(means).all():
                    numbers[name] = means
        numbers["online_episodes"] = np.asarray([len(mine) for mine in ended], np.float64)
        for player in self._players:
            player.outcomes = []
        return numbers

    def _act(self) -> None:
        """One step of every environment; the policy is asked where an action or a chunk is at its end."""
        observations = np.stack([player.observe() for player in self._players])
        if any(player.waits for player in self._players):
            episodes = np.asarray([player.episode for player in self._players], np.int32)
            times = np.asarray([player.time for player in self._players], np.int32)
            actions = np.asarray(
                _act(
                    self._algorithms, self.state, observations, self._seeds, episodes, times, self._policy, self._scale
                )
            )
            for player, action in zip(self._players, actions, strict=True):
                if player.waits:
                    player.plan(action)
        for player in self._players:
            player.step()

    def _update(self, step: int) -> Metrics:
        """One update of every seed from dataset and replay buffer."""
        size = self._plan.batch_size
        masks, batches = [], []
        for player in self._players:
            stored = len(player.replay)
            which, place = host_bits(player.seed, Stream.REPLAY, step, 2 * size).reshape(2, size)
            if not stored:
                offline = np.ones(size, bool)
            elif self._online.protocol == "buffer":
                offline = which % np.uint64(self._transitions + stored) < self._transitions
            else:
                offline = np.arange(size) < self._online.offline(step - self._begun, size)
            masks.append(offline)
            batches.append(player.replay.take((place % np.uint64(max(stored, 1))).astype(np.int64)))
        online = jax.tree.map(lambda *rows: jnp.stack(rows), *batches)
        self.state, metrics = _updated(
            self._algorithms, self.state, self._feed.at(step), online, jnp.asarray(np.stack(masks)), self._seeds, step
        )
        return metrics


@partial(jax.jit, static_argnames=("policy", "scale"))
def _act(
    algorithms: Algorithm[Any],
    state: Any,
    observations: Array,
    seeds: Int[Array, " rows"],
    episodes: Array,
    times: Array,
    policy: str,
    scale: ObservationScale | None,
) -> Array:
    """The action in the box of each row's policy, a row for each training seed."""

    def one(row: tuple[Any, ...]) -> Array:
        algorithm, state, observation, seed, episode, time = row
        key = jax.random.fold_in(stream_key(seed, Stream.ONLINE_ACTIONS, episode), time)
        return algorithm.policies(state)[policy].act(observation if scale is None else scale(observation), key)

    return jax.lax.map(one, (algorithms, state, observations, seeds, episodes, times))


@jax.jit
def _updated(
    algorithms: Algorithm[Any],
    state: Any,
    batches: Transitions,
    online: Transition,
    offline: Bool[Array, "rows batch"],
    seeds: Int[Array, " rows"],
    step: int | Int[Array, ""],
) -> tuple[Any, Metrics]:
    """One update of every row from batches that are of the dataset where `offline` is True; keys as in `advance`."""
    uncropped = replace(batches, crops=None)

    def one(row: tuple[Any, ...]) -> tuple[Any, Metrics]:
        algorithm, state, online, offline, seed = row
        key = stream_key(seed, Stream.DATA, step)
        drawn = uncropped.sample(key, len(offline))
        batch = jax.tree.map(
            lambda ours, theirs: jnp.where(offline.reshape(-1, *[1] * (ours.ndim - 1)), ours, theirs), drawn, online
        )
        batch = batch if batches.crops is None else crop_batch(batch, key, batches.crops)
        return algorithm.update(state, batch, stream_key(seed, Stream.UPDATE, step))

    rows = algorithms, state, online, offline, seeds
    return jax.lax.map(one, rows) if jax.default_backend() == "cpu" else jax.vmap(lambda *row: one(row))(*rows)


def _check(trained: Trained, dataset: Dataset | Mapped, online: Online) -> None:
    """Raise `InputError` for what cannot be fine-tuned."""
    if dataset.goal_conditioned:
        raise InputError(f"{dataset.name!r} is goal-conditioned; fine-tuning is for tasks with rewards.")
    if isinstance(trained.configuration.transition.observation_shape, PartShapes):
        raise InputError(f"{trained.run.path} has observations of several parts, which cannot be fine-tuned yet.")
    expected = trained.run.config.get("dataset", {}).get("fingerprint")
    if expected is not None and dataset.fingerprint != expected:
        warnings.warn(f"{trained.run.path} was trained on another dataset than this one.", stacklevel=3)
    steering.named(trained.policies(), online.policy, trained.run.path)


def _check_spaces(trained: Trained, env: gymnasium.Env[Any, Any]) -> None:
    """Raise `InputError` for an environment that the policy cannot act in."""
    told = trained.configuration
    seen, taken = env.observation_space.shape, math.prod(env.action_space.shape or ())
    size = told.transition.action_size // (told.horizon if told.chunk else 1)
    if (told.transition.observation_shape, size) != (seen, taken):
        raise InputError(
            f"{trained.run.path} takes observations of shape {told.transition.observation_shape} and acts in {size} "
            f"numbers, but the environment gives {seen} and takes {taken}; name the one that its data are of by --env."
        )


def _plan(trained: Trained, online: Online) -> Plan:
    """The plan of the run, as far as its mathematics go, with the steps and intervals of the online part."""
    config = trained.run.config
    own = from_plain(Plan, {each.name: config[each.name] for each in fields(Plan) if each.name in config})
    keep = online.keep_checkpoints
    return replace(
        own,
        steps=trained.step + online.steps,
        log_interval=online.log_interval,
        eval_interval=online.eval_interval,
        eval_episodes=online.eval_episodes,
        checkpoint_interval=online.saves,
        keep_checkpoints=2 if keep is None and online.checkpoint_interval is None else keep,
        workers=online.workers,
        wandb=None,
    )


def _replay(online: Online, plan: Plan, member: Member, folder: Path) -> Replay:
    """An empty replay buffer, in memory or in files of the run."""
    spaces = member.configuration.transition
    size, shape = spaces.action_size // (plan.horizon if plan.chunk else 1), spaces.observation_shape
    assert not isinstance(shape, PartShapes)  # refused before
    cutting = replace(plan.cutting, observation_scale=member.configuration.observation_scale)
    capacity = 2 * online.steps + 1 if online.capacity is None else online.capacity  # episodes may be of one step
    return Replay(
        capacity, shape, size, observation_dtype=spaces.observation_dtype, cutting=cutting,
        folder=folder if online.on_disk else None,
    )  # fmt: skip


def _restored(member: Member, trained: Trained) -> tuple[int, Any]:
    """The step and state of the newest intact checkpoint; those of the run that is fine-tuned where there is none."""
    if member.order.resume and checkpoint.latest(member.run.checkpoints) is not None:
        return member.restore()
    if member.order.resume:
        member.tracker.note(f"no checkpoint was found in {member.run.path}; starting from step {trained.step:,}")
    return trained.step, jax.tree.map(jnp.asarray, trained.state)


def _save(member: Member, players: Sequence[Player], state: Any, step: int) -> None:
    """The replay buffers, then the checkpoint that they belong to; those of checkpoints that are gone are removed."""
    folder = member.run.path / FOLDER
    arrays = {f"{player.seed}.{name}": array for player in players for name, array in player.state().items()}
    save(folder / str(step), arrays)
    checkpoint.save(member.run.checkpoints, step, state, member.plan.kept)
    kept = set(map(str, checkpoint.steps(member.run.checkpoints)))
    for old in folder.iterdir():
        if old.name.isdecimal() and old.name not in kept:
            shutil.rmtree(old, ignore_errors=True)


def _restore(players: Sequence[Player], folder: Path) -> None:
    """Replay buffers and episodes in progress, as they were at a checkpoint."""
    arrays = load(folder)
    for player in players:
        prefix = f"{player.seed}."
        own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        player.restore(own)
