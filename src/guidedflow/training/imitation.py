"""Imitation by a curriculum: clone the episodes that the policy nearly plays already, then better ones (COIL).

    call     score every episode of the pool by the policy's likelihood of its actions; clone the best few; drop them
    epoch    some calls, then raise the least return that stays in the pool

It ends when the pool is empty (arXiv 2111.02056; the selection is that of apexrl/COIL, ef458de). Mixed data are learned
from without averaging them: the policy climbs from its own level to the best episodes. A flow has no likelihood in
closed form; for one the negative matching error under fixed noise stands for it, which is no part of the paper.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from guidedflow.algorithms.bc import BC, Likelihood, likelihood_loss
from guidedflow.algorithms.contract import initial_state
from guidedflow.algorithms.parts import cloning
from guidedflow.data.dataset import Dataset
from guidedflow.data.drawing import Weighted
from guidedflow.data.sampling.curriculum import Curriculum, Filter, Score
from guidedflow.data.summary import episodes
from guidedflow.data.transitions import Transitions
from guidedflow.errors import InputError
from guidedflow.keys import Stream, stream_key
from guidedflow.settings import check_ranges
from guidedflow.training.updates import advance, in_rows

PROBES = 8
"""Noises under which the matching error of a flow is measured at each transition."""


@dataclass(frozen=True)
class Imitation:
    """How the curriculum goes; the defaults are those published for hopper-medium."""

    picks: int = 2
    """Episodes cloned in a call; published: 1 to 400."""
    steps: int = 200
    """Updates of a call; published: 50 to 10000."""
    calls: int = 4
    """Calls in an epoch, after which the least return moves."""
    pretrain_steps: int = 0
    """Updates on all episodes before the first call; published: 0, 20000 or 40000."""
    tau: float = 0.9
    """How much of the least return stays in an epoch; published: 0.8 to 0.9."""
    filter: Filter = Filter.running
    """How the least return moves."""
    least: float | None = None
    """The least return at the beginning: by default the smallest, or 0 if that is larger; published for antmaze: -5."""
    score: Score = Score.two_sigma
    """What says how much an episode resembles the policy."""
    batch_size: int = 256
    """Transitions an update."""

    def __post_init__(self) -> None:
        whole = dict.fromkeys(("picks", "steps", "calls", "batch_size"), (1, math.inf))
        check_ranges(self, tau=(0, 1), pretrain_steps=(0, math.inf), **whole)

    def imitate(self, algorithm: BC, dataset: Dataset, seed: int = 0) -> tuple[Any, list[list[int]]]:
        """The state of `algorithm`, and the episodes that were cloned, call by call.

        Raises `InputError` for data that are one episode, among which nothing can be chosen.
        """
        if dataset.episodes < 2:
            raise InputError(
                f"A curriculum chooses among episodes, but {dataset.name!r} has {dataset.episodes}; do they end where "
                "you think they do?"
            )
        transitions = dataset.cut(0.99)
        of = np.searchsorted(np.flatnonzero(dataset.last), np.asarray(transitions.starts))
        rows, seeds = in_rows([algorithm]), jnp.asarray([seed])
        state, step, chosen = initial_state(algorithm, transitions.example(), seeds), 0, []
        if self.pretrain_steps:
            state, _ = advance(rows, state, transitions, seeds, 0, self.pretrain_steps, self.batch_size)
            step = self.pretrain_steps
        curriculum = Curriculum(episodes(dataset)[1], self.picks, self.tau, self.filter, self.least)
        while curriculum.pool:
            for _ in range(self.calls):
                if not curriculum.pool:
                    break
                likelihoods = self.likelihoods(algorithm, jax.tree.map(lambda leaf: leaf[0], state), transitions, seed)
                scores = [self.score(likelihoods[of == episode]) for episode in curriculum.pool]
                picked = curriculum.pick(scores)
                chosen.append([int(episode) for episode in picked])
                drawn = replace(transitions, drawing=Weighted.of(np.isin(of, picked).astype(float)))
                state, _ = advance(rows, state, drawn, seeds, step, self.steps, self.batch_size)
                step += self.steps
            curriculum.end_epoch()
        return jax.tree.map(lambda leaf: leaf[0], state), chosen

    def likelihoods(
        self, algorithm: BC, state: Any, transitions: Transitions, seed: int
    ) -> Float[np.ndarray, " transitions"]:
        """Of each transition's action: its log-likelihood, or what stands for it."""
        if isinstance(state, Likelihood):
            return np.asarray(_log_likelihoods(state, transitions.every()))
        key = stream_key(seed, Stream.SELECTION_EPISODES)
        return np.asarray(_matching(state, transitions.every(), jax.random.split(key, PROBES)))


@jax.jit
def _log_likelihoods(state: Likelihood, data: Any) -> Float[Array, " transitions"]:
    return -jax.vmap(likelihood_loss, in_axes=(None, 0))(state.actor.network, data)[0]


@jax.jit
def _matching(state: Any, data: Any, keys: Array) -> Float[Array, " transitions"]:
    def error(key: Array) -> Array:
        noise = cloning.draw(data, key)
        return jax.vmap(cloning.flow_loss, in_axes=(None, 0, 0))(state.flow.network, data, noise)[0]

    return -jnp.mean(jax.lax.map(error, keys), axis=0)
