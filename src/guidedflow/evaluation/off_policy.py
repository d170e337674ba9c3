"""Off-policy evaluation: what a policy would earn, estimated from recorded transitions by fitted Q evaluation.

    Recorded    held-out transitions, and the first observation of each of their episodes
    Chosen      the actions that a frozen policy takes at the next and the first observations, drawn once
    Judge       settings of the critics
    judged      q_m(s, a) <- r + gamma q_m(s', a') until steps end, and its value at first observations

Each member m of the ensemble has its own initial parameters and its own bootstrap resample of episodes. The spread of
the members' estimates therefore contains the randomness of the episodes and of the critics (arXiv 2102.03607). The
critics here are always new: a critic that guides or chooses actions is never asked. This module does not know where
transitions or policies come from, nor how critics are fitted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Float32, Key, PRNGKeyArray

from guidedflow.errors import InputError
from guidedflow.evaluation.fitting import fitted
from guidedflow.evaluation.recorded import ACTIONS
from guidedflow.evaluation.recorded import Chosen as Chosen
from guidedflow.evaluation.recorded import Judge as Judge
from guidedflow.evaluation.recorded import Recorded as Recorded
from guidedflow.parts import Parts, on_device
from guidedflow.policies.policy import Policy
from guidedflow.results import confidence
from guidedflow.results.confidence import LEVEL, Interval

ROWS = 1024
"""Observations at which a policy acts in one compiled call."""

FARTHEST = 1.0
"""Distance of actions that predict the recorded ones as badly as their mean does; beyond it values do not rank."""


@dataclass(frozen=True)
class Judgement:
    """Discounted return of one policy, estimated from recorded transitions."""

    value: float
    """Mean over members, at the first observations of the held-out episodes."""
    interval: Interval
    """Contains the randomness of episodes and critics, but no bias of the method."""
    everywhere: float
    """The same at all next observations, with the policy's actions there."""
    distance: float
    """Root mean squared distance from the policy's to the recorded actions, in deviations of recorded actions."""
    drift: float
    """Change of the value over the last tenth of the updates; a large one says that more are needed."""
    members: tuple[float, ...]
    """The value by each member, at the first observations of its resample of episodes."""

    @property
    def near(self) -> bool:
        """Whether the policy stays near enough to recorded actions for its value to count: at most `FARTHEST`."""
        return self.distance <= FARTHEST

    @property
    def order(self) -> tuple[bool, float]:
        """What policies are ranked by, larger for better: near ones by value, then the others by nearness."""
        return self.near, self.value if self.near else -self.distance


def judged(recorded: Recorded, chosen: Sequence[Chosen], judge: Judge, level: float = LEVEL) -> Judgement:
    """Fitted Q evaluation of a policy, given its actions for each training seed; estimates are means over these seeds.

    Interval: Student's t with the deviation of the members' estimates, M - 1 degrees of freedom. The same judge and
    data give the same bits. Raises `InputError` for fewer than two episodes.
    """
    episodes = len(recorded.first_observations)
    if episodes < 2:
        raise InputError(
            f"Off-policy evaluation needs at least 2 held-out episodes, but found {episodes}; name other data by "
            "--dataset FILE, or hold out a larger share by `guidedflow data split`."
        )
    found = [fitted(recorded, each, judge) for each in chosen]
    before, value, everywhere = (np.mean([each[i] for each in found], axis=0) for i in range(3))
    half = confidence.quantile(level, judge.members - 1) * float(np.std(value, ddof=1))
    centre = float(np.mean(value))
    return Judgement(
        value=centre,
        interval=confidence.around(centre, half, level, "t, bootstrapped critics"),
        everywhere=float(np.mean(everywhere)),
        distance=float(np.mean([_distance(recorded, each) for each in chosen])),
        drift=centre - float(np.mean(before)),
        members=tuple(map(float, value)),
    )


def act(policy: Policy, recorded: Recorded, judge: Judge) -> Chosen:
    """The actions of a policy, drawn once: at next observations, and `judge.draws` at each first observation.

    The policy is of one training seed, and acts in the box and at observations as they were recorded. Other policies
    draw from the same noise keys, which makes their comparison less noisy.
    """
    next_key, first_key = jax.random.split(judge.key(ACTIONS))
    first = np.repeat(recorded.first_observations, judge.draws, axis=0)
    return Chosen(
        _act(policy, recorded.next_observations, next_key),
        _act(policy, first, first_key).reshape(len(recorded.first_observations), judge.draws, -1),
    )


def as_recorded(recorded: Recorded) -> Chosen:
    """The actions of the policy that made the recording."""
    return Chosen(recorded.next_actions, recorded.first_actions[:, None])


@eqx.filter_jit
def _act_rows(policy: Policy, observations: Array | Parts, keys: Key[Array, " rows"]) -> Float[Array, "rows action"]:
    return jax.vmap(policy.act)(observations, keys)


def _act(policy: Policy, observations: np.ndarray, key: PRNGKeyArray) -> Float32[np.ndarray, "n action"]:
    """One action at each observation, in calls of one shape: the last call is filled up with its first row."""
    keys = jax.random.split(key, len(observations))
    rows = min(ROWS, len(observations))
    found = []
    for begin in range(0, len(observations), rows):
        inside = np.minimum(np.arange(begin, begin + rows), len(observations) - 1)
        found.append(np.asarray(_act_rows(policy, on_device(observations[inside]), keys[inside])))
    return np.concatenate(found)[: len(observations)].astype(np.float32)


def _distance(recorded: Recorded, chosen: Chosen) -> float:
    """How far a policy acts from the recorded actions at next observations; see `Judgement.distance`."""
    alive = recorded.discounts > 0
    spread = float(np.sqrt(np.mean(np.var(recorded.actions, axis=0))))
    apart = (chosen.next_actions - recorded.next_actions)[alive]
    return float(np.sqrt(np.mean(np.square(apart)))) / spread if spread > 0 and apart.size else 0.0
