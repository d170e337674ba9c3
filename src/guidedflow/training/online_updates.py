"""Steps of a run in its environment, one update a step, from dataset and replay buffer.

This module does not know what is written, nor when a run is evaluated.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from guidedflow.algorithms.contract import Algorithm
from guidedflow.data.sampling.crops import crop_batch
from guidedflow.data.sampling.feed import Feed
from guidedflow.data.transitions import Transitions
from guidedflow.keys import Stream, host_bits, stream_key
from guidedflow.normalization import ObservationScale
from guidedflow.parts import Parts, on_device
from guidedflow.training.member import Member
from guidedflow.training.online_plan import Online
from guidedflow.training.playing import Player
from guidedflow.training.updates import in_rows
from guidedflow.types import Metrics, Transition


class OnlineLearner:
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
        self.algorithms = in_rows([member.algorithm] * len(players))
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
                    self.algorithms,
                    self.state,
                    on_device(observations),
                    self._seeds,
                    episodes,
                    times,
                    self._policy,
                    self._scale,
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
            self.algorithms, self.state, self._feed.at(step), online, jnp.asarray(np.stack(masks)), self._seeds, step
        )
        return metrics


@partial(jax.jit, static_argnames=("policy", "scale"))
def _act(
    algorithms: Algorithm[Any],
    state: Any,
    observations: Array | Parts,
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
