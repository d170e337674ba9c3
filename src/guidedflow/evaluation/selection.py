"""Choosing the weight of guidance: on episodes of its own, or from the dataset alone.

    by_episodes    success on episode seeds that no reported number ever sees; the smallest weight of the best success
    by_dataset     no simulator: the largest value that the critic claims, while the actions stay as near to samples
                   of the unguided flow as these are to one another

Neither looks at the episodes that results are reported on. This module does not know how a policy is guided: it is
given one for each weight.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PRNGKeyArray, Shaped

from guidedflow.errors import InputError
from guidedflow.evaluation.rollout import Evaluation
from guidedflow.flows.sampling import Sampler
from guidedflow.keys import Stream
from guidedflow.networks import Extrapolation
from guidedflow.parts import Parts
from guidedflow.policies.kinds import FlowPolicy
from guidedflow.policies.policy import Policy
from guidedflow.results.rows import mean, measure
from guidedflow.types import Action, Observation, Scalar

WEIGHTS = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Tried where none are named."""

FARTHEST = 2.0
"""How far a guided action may be from the nearest sample of the flow, in distances between such samples."""


@dataclass(frozen=True)
class Selection:
    """What was tried, what was measured, and what was chosen: `measured` has one row a weight, in their order."""

    weights: tuple[float, ...]
    measured: tuple[Mapping[str, float], ...]
    chosen: float

    def plain(self) -> dict[str, Any]:
        """For JSON: the curve over weights, and the choice."""
        curve = [{"weight": weight, **row} for weight, row in zip(self.weights, self.measured, strict=True)]
        return {"chosen": self.chosen, "curve": curve}


def by_episodes(policies: Mapping[float, Policy], evaluate: Callable[..., Evaluation]) -> Selection:
    """The weight of largest success, over all training seeds; `policies` has one a weight.

    Where success is not reported it is the weight of largest return. `evaluate(using=policy, stream=...)` rolls one
    out; the stream is that of selection, whose episodes no reported number sees.
    """
    tried = [evaluate(using=policy, stream=Stream.SELECTION_EPISODES) for policy in policies.values()]
    shown = "success" if measure(row for each in tried for row in each.rows) == "success" else "return"
    means = [{name: mean(each.rows, name) for name in ("success", "return")} for each in tried]
    measured = [{f"{name}_mean": m for name, m in found.items() if m is not None} for found in means]
    key, weights = f"{shown}_mean", tuple(policies)
    best = max(zip(weights, measured, strict=True), key=lambda pair: (pair[1][key], -pair[0]))[0]
    return Selection(weights, tuple(measured), best)


def by_dataset(
    policies: Mapping[float, Policy],
    observations: Shaped[Array, " states *observation"] | Parts,
    *,
    samples: int = 16,
    seed: int = 0,
    farthest: float = FARTHEST,
) -> Selection:
    """The weight whose actions the critic values most, of those that stay near the flow at these observations.

    `policies` are of all training seeds at once (a leading axis on every array). Nearness is the distance from a
    guided action to the nearest of `samples` unguided ones, over that of an unguided action to the nearest of the
    others; a weight is admitted while its mean is at most `farthest`. Take two or more `samples`. It judges guidance,
    not the condition of CFGRL, which the samples would share. Raises `InputError` for what is no flow or has no critic.
    """
    if samples < 2:
        raise InputError(f"samples must be at least 2, to be near to one another, but is {samples}.")
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), Stream.SELECTION_EPISODES), len(observations))
    measured = []
    for policy in policies.values():
        if not isinstance(policy, FlowPolicy) or policy.critic is None or isinstance(policy.flow, Extrapolation):
            raise InputError(
                "Only the guidance of a plain flow by a critic has a weight to choose without a simulator."
            )
        value, distance = _measure(policy, observations, keys, samples)
        measured.append({"value": float(value), "distance": float(distance)})
    weights = tuple(policies)
    near = [pair for pair in zip(weights, measured, strict=True) if pair[1]["distance"] <= farthest]
    candidates = near or [min(zip(weights, measured, strict=True), key=lambda pair: pair[1]["distance"])]
    return Selection(weights, tuple(measured), max(candidates, key=lambda pair: pair[1]["value"])[0])


@functools.partial(jax.jit, static_argnames="samples")
def _measure(
    policy: FlowPolicy, observations: Shaped[Array, " states *observation"], keys: Key[Array, " states"], samples: int
) -> tuple[Scalar, Scalar]:
    """The mean value of a policy's actions, and their distance from the flow's samples in units of these."""

    def at(policy: FlowPolicy, observation: Observation, key: PRNGKeyArray) -> tuple[Scalar, Scalar, Scalar]:
        plain = policy.with_sampler(Sampler(policy.sampler.steps))
        own, *others = jax.random.split(key, samples + 1)
        action = policy(observation, own)
        cloud = jax.vmap(lambda key: plain(observation, key))(jnp.stack(others))
        apart = jnp.where(
            jnp.eye(samples, dtype=bool), jnp.inf, jax.vmap(lambda sample: _distances(sample, cloud))(cloud)
        )
        value = policy.aggregate(policy.critic.given(observation)(action))  # type: ignore[union-attr]
        return value, jnp.min(_distances(action, cloud)), jnp.mean(jnp.min(apart, axis=1))

    own = jax.tree.map(lambda leaf: 0 if jnp.ndim(leaf) else None, policy)
    over_states = jax.vmap(at, in_axes=(None, 0, 0))
    value, nearest, typical = jax.vmap(over_states, in_axes=(own, None, None))(policy, observations, keys)
    return jnp.mean(value), jnp.mean(nearest) / jnp.mean(typical)


def _distances(action: Action, cloud: Float[Array, "samples action"]) -> Float[Array, " samples"]:
    return jnp.sqrt(jnp.mean(jnp.square(cloud - action[None, :]), axis=1))
