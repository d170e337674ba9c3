"""Goals of one's own data: each transition that is drawn is told a state to reach, and rewarded for reaching it.

    value goals   what the critic learns from: the current state, a later one of its episode, or one of any episode
    actor goals   what the policy learns from, drawn apart
    reward        0 at the goal and -1 before it (or 1 and 0); nothing counts after the goal

Hindsight relabelling (arXiv 1707.01495) as OGBench's goal-conditioned agents do it (arXiv 2410.20092), whose defaults
and names of settings these are: a goal is a row of the data from which an action was taken, it is reached in that very
row, and rewards are of the state before the step. Uniformly later rows are uniform here; OGBench's rounding halves the
first and the last. One of any episode is where another transition begins, drawn as transitions are: by weight under
weights, and never among the last states of an episode, which begin no whole chunk. A goal is joined to the observation,
so an algorithm sees nothing but a longer one. This module does not know of algorithms, suites or environments.
"""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from guidedflow.errors import InputError
from guidedflow.parts import Parts
from guidedflow.settings import check_ranges
from guidedflow.types import Transition


@dataclass(frozen=True)
class GoalSampling:
    """Where goals come from, for data that is goal-conditioned."""

    value_p_curgoal: float = 0.2
    """Probability that the critic's goal is the current state."""
    value_p_trajgoal: float = 0.5
    """Probability that it is a later state of the same episode."""
    value_p_randomgoal: float = 0.3
    """Probability that it is any state that begins a transition."""
    value_geom_sample: bool = True
    """Draw the later state geometrically, at the rate of the discount; else uniformly."""
    actor_p_curgoal: float = 0.0
    """Probability that the policy's goal is the current state."""
    actor_p_trajgoal: float = 1.0
    """Probability that it is a later state of the same episode."""
    actor_p_randomgoal: float = 0.0
    """Probability that it is any state that begins a transition."""
    actor_geom_sample: bool = False
    """Draw the later state geometrically, at the rate of the discount; else uniformly."""
    gc_negative: bool = True
    """Reward -1 before the goal and 0 there; else 0 and 1."""

    def __post_init__(self) -> None:
        for role in ("value", "actor"):
            names = [f"{role}_p_{source}goal" for source in ("cur", "traj", "random")]
            check_ranges(self, **dict.fromkeys(names, (0, 1)))
            if not np.isclose(total := sum(getattr(self, name) for name in names), 1):
                flags = ", ".join(name.replace("_", "-") for name in names)
                raise InputError(f"{flags} must sum to 1, but sum to {total:g}.")


class Mixture(eqx.Module):
    """Three sources of goals: the current state, later ones of the same episode, and with what is left any."""

    current: float
    elsewhere: float
    geometric: bool = eqx.field(static=True)


class Goals(eqx.Module):
    """The rows that goals are, how they are drawn, and what reaching one is worth; a pytree of numbers."""

    goals: Shaped[Array, " rows *goal"]
    """What each row of the data is as a goal."""
    value: Mixture
    actor: Mixture
    rate: float
    """Of the exponential whose whole steps are geometric: -log(discount)."""
    powers: Float[Array, " steps"]
    """discount ** k."""
    sums: Float[Array, " steps"]
    """Of the first k powers: what a reward of 1 in each of k steps comes to."""
    penalty: float
    """Reward of a step that does not begin at the goal; one at the goal earns 1 more."""

    @classmethod
    def of(cls, goals: Shaped[Array, " rows *goal"], sampling: GoalSampling, discount: float, horizon: int) -> "Goals":
        """Goals for transitions of this discount and horizon."""
        powers = np.power(discount, np.arange(horizon + 1))
        sums = np.concatenate([[0.0], np.cumsum(powers[:-1])])
        return cls(
            goals=goals,
            value=Mixture(sampling.value_p_curgoal, sampling.value_p_randomgoal, sampling.value_geom_sample),
            actor=Mixture(sampling.actor_p_curgoal, sampling.actor_p_randomgoal, sampling.actor_geom_sample),
            rate=float(-np.log(np.clip(discount, 1e-300, 1 - 1e-12))),
            powers=jnp.asarray(powers.astype(np.float32)),
            sums=jnp.asarray(sums.astype(np.float32)),
            penalty=-1.0 if sampling.gc_negative else 0.0,
        )

    def rows(
        self,
        source_key: PRNGKeyArray,
        later_key: PRNGKeyArray,
        mixture: Mixture,
        here: Int[Array, " batch"],
        final: Int[Array, " batch"],
        anywhere: Int[Array, " batch"],
    ) -> Int[Array, " batch"]:
        """A goal for each row `here`: itself, a later one up to `final`, or the row `anywhere`.

        `final` is the last row of the episode from which an action was taken; it is its own later one.
        """
        shape = here.shape
        if mixture.geometric:
            # Compared before it is a whole number, since a discount of 1 makes it infinite.
            steps = 1 + jnp.floor(jax.random.exponential(later_key, shape) / self.rate)
            later = here + jnp.minimum(steps, (final - here).astype(steps.dtype)).astype(here.dtype)
        else:
            later = jax.random.randint(later_key, shape, jnp.minimum(here + 1, final), final + 1)
        source = jax.random.uniform(source_key, shape)
        apart = jnp.where(source >= 1 - mixture.elsewhere, anywhere, later)
        return jnp.where(source < mixture.current, here, apart)

    def relabelled(
        self,
        batch: Transition,
        here: Int[Array, " batch"],
        after: Int[Array, " batch"],
        value_goals: Int[Array, " batch"],
        actor_goals: Int[Array, " batch"],
    ) -> Transition:
        """Transitions from rows `here` to rows `after` under goals that are these rows; their own rewards are left out.

        A goal that lies among the rows that a transition passes ends it there: the sum of rewards, and the future.
        """
        ahead, steps = value_goals - here, after - here
        reached = (ahead >= 0) & (ahead < steps)
        steps = jnp.where(reached, ahead, steps)
        power, goal = self.powers[steps], self.goals[value_goals]
        return batch._replace(
            observation=_join(batch.observation, goal),
            reward=self.penalty * self.sums[steps] + (self.penalty + 1) * jnp.where(reached, power, 0.0),
            discount=jnp.where(reached, 0.0, power),
            next_observation=_join(batch.next_observation, goal),
            actor_observation=_join(batch.observation, self.goals[actor_goals]),
        )


def _join(observation: Shaped[Array, "..."] | Parts, goal: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
    """Numbers behind numbers, or channels behind channels."""
    assert not isinstance(observation, Parts)  # which have no goals
    return jnp.concatenate([observation, goal], axis=-1)
