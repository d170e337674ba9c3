"""Imitation by a curriculum: clone the episodes that the policy nearly plays already, then better ones (COIL).

    call     score every episode of the pool by the policy's likelihood of its actions; clone the best few; drop them
    epoch    some calls, then raise the least return that stays in the pool

It ends when the pool is empty (arXiv 2111.02056; the selection is that of apexrl/COIL, ef458de). Mixed data are learned
from without averaging them: the policy climbs from its own level to the best episodes. A flow has no likelihood in
closed form; for one the negative matching error under fixed noise stands for it, which is no part of the paper.

The training loop calls a `Course` between its intervals. This module does not know the loop.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from guidedflow.algorithms.bc import BC, Likelihood
from guidedflow.algorithms.contract import Algorithm
from guidedflow.algorithms.parts import cloning
from guidedflow.data.dataset import Dataset
from guidedflow.data.drawing import Weighted
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.sampling.curriculum import Curriculum, Filter, Progress, Score
from guidedflow.data.sampling.rebalance import Rebalance
from guidedflow.data.summary import episodes
from guidedflow.data.transitions import Transitions
from guidedflow.errors import InputError
from guidedflow.keys import Stream, stream_key
from guidedflow.settings import check_ranges, check_types
from guidedflow.training.plan import Plan

PROBES = 8
"""Noises under which the matching error of a flow is measured at each transition."""

_TOGETHER = 4096
"""Transitions whose likelihoods are computed together, so that memory does not grow with the dataset."""


@dataclass(frozen=True)
class Imitation:
    """How the curriculum goes; the defaults are those published for hopper-medium."""

    picks: int = 2
    """Episodes cloned in a call; published: 1 to 400."""
    call_steps: int = 200
    """Updates of a call; published: 50 to 10000."""
    calls: int = 4
    """Calls in an epoch, after which the least return moves."""
    pretrain_steps: int = 0
    """Updates on all episodes before the first call; published: 0, 20000 or 40000."""
    return_decay: float = 0.9
    """How much of the least return stays in an epoch; published: 0.8 to 0.9."""
    return_filter: Filter = Filter.running
    """How the least return moves."""
    least_return: float | None = None
    """The least return at the beginning: by default the smallest, or 0 if that is larger; published for antmaze: -5."""
    episode_score: Score = Score.two_sigma
    """Quantile or mean of an episode's likelihoods that says how much it resembles the policy."""

    def __post_init__(self) -> None:
        check_types(self)
        whole = dict.fromkeys(("picks", "call_steps", "calls"), (1, math.inf))
        check_ranges(self, return_decay=(0, 1), pretrain_steps=(0, math.inf), **whole)

    def aligned(self, plan: Plan) -> Plan:
        """The plan with a log interval that divides the calls, since episodes are picked between two intervals."""
        common = math.gcd(self.call_steps, self.pretrain_steps)
        interval = max(i for i in range(1, min(common, plan.log_interval) + 1) if common % i == 0)
        return replace(plan, log_interval=interval)

    def check(
        self, algorithm: Algorithm[Any], dataset: Dataset | Mapped, plan: Plan, rebalance: Rebalance | None
    ) -> None:
        """Raise `InputError` for an algorithm without a likelihood, and for data that no curriculum can order."""
        for wrong, sentence in (
            (not isinstance(algorithm, BC), f"A curriculum clones, and {type(algorithm).__name__} does not; train bc."),
            (plan.seeds > 1, "A curriculum follows one policy; train one seed a run."),
            (rebalance is not None, "A curriculum and a rebalance both say what is drawn; give one of them."),
            (
                not isinstance(dataset, Dataset),
                f"A curriculum chooses among all episodes, but {dataset.name!r} is read by windows; use its .npz.",
            ),
            (
                dataset.goal_conditioned,
                f"A curriculum orders episodes by return, but {dataset.name!r} has goals and no returns; "
                "name a task with rewards.",
            ),
        ):
            if wrong:
                raise InputError(sentence)


class Course:
    """A curriculum under way, beside the training of one policy."""

    def __init__(self, settings: Imitation, dataset: Dataset, transitions: Transitions, seed: int) -> None:
        """Of all transitions of a dataset. Raises `InputError` for fewer than two episodes to choose among."""
        self.settings, self.transitions, self.seed = settings, transitions, seed
        each = np.searchsorted(np.flatnonzero(dataset.last), np.asarray(transitions.ends))
        known, self._episode = np.unique(each, return_inverse=True)
        if len(known) < 2:
            raise InputError(
                f"A curriculum chooses among episodes, but {dataset.name!r} has {len(known)}; do they end where "
                "you think they do?"
            )
        returns = episodes(dataset)[1][known]
        self.curriculum = Curriculum(
            returns, settings.picks, settings.return_decay, settings.return_filter, settings.least_return
        )
        self.ended = False

    @property
    def progress(self) -> Progress:
        """What a checkpoint holds of it."""
        return self.curriculum.progress

    def resume(self, progress: Progress) -> None:
        """Go on from where it had come to."""
        self.curriculum.resume(progress)
        self.ended = not self.curriculum.pool and not self.curriculum.picked

    def move(self, state: Any, step: int) -> None:
        """Pick the episodes of the call that begins at a step, if one does, by the policy of one seed."""
        settings, curriculum = self.settings, self.curriculum
        number, inside = divmod(step - settings.pretrain_steps, settings.call_steps)
        if number < 0 or inside:
            return
        if number and number % settings.calls == 0:
            curriculum.end_epoch()
        if not curriculum.pool:
            self.ended, curriculum.picked = True, []
            return
        likelihoods = self.likelihoods(state)
        curriculum.pick([settings.episode_score(likelihoods[self._episode == episode]) for episode in curriculum.pool])

    @property
    def drawn(self) -> Transitions:
        """What updates draw from: the episodes of the call, or all before the first call."""
        picked = self.curriculum.picked
        weights = np.isin(self._episode, picked) if picked else np.ones(len(self.transitions))
        return replace(self.transitions, drawing=Weighted.of(weights.astype(float)))

    @property
    def metrics(self) -> dict[str, float]:
        """Episodes that are left, and the mean return of those that are cloned."""
        cloned = self.curriculum.picked or slice(None)
        return {
            "curriculum/left": float(len(self.curriculum.pool)),
            "curriculum/return": float(self.curriculum.returns[cloned].mean()),
        }

    def likelihoods(self, state: Any) -> Float[np.ndarray, " transitions"]:
        """Of each transition's action: its log-likelihood, or what stands for it."""
        if isinstance(state, Likelihood):
            return np.asarray(_log_likelihoods(state, self.transitions))
        keys = jax.random.split(stream_key(self.seed, Stream.CURRICULUM), PROBES)
        return np.asarray(_matching(state, self.transitions, keys))


@jax.jit
def _log_likelihoods(state: Likelihood, transitions: Transitions) -> Float[Array, " transitions"]:
    def each(index: Array) -> Array:
        data = jax.tree.map(lambda column: column[0], transitions.take(index[None]))
        return -cloning.likelihood_loss(state.actor.network, data)[0]

    return jax.lax.map(each, jnp.arange(len(transitions)), batch_size=_TOGETHER)


@jax.jit
def _matching(state: Any, transitions: Transitions, keys: Array) -> Float[Array, " transitions"]:
    def each(index: Array) -> Array:
        batch = transitions.take(index[None])
        noises = [cloning.draw(batch, jax.random.fold_in(key, index)) for key in keys]
        pairs = [jax.tree.map(lambda column: column[0], (batch, noise)) for noise in noises]
        return -jnp.mean(jnp.stack([cloning.flow_loss(state.flow.network, *pair)[0] for pair in pairs]))

    return jax.lax.map(each, jnp.arange(len(transitions)), batch_size=_TOGETHER)
