"""What an action costs: operations as the compiler counts them, and milliseconds that take turns.

This module does not know which ways of acting are compared.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jaxtyping import Array, Float, Shaped

from guidedflow.parts import Parts
from guidedflow.policies.kinds import FlowPolicy
from guidedflow.policies.policy import Policy
from guidedflow.types import Action, Noise, Observation, Scalar, Time


def operations(policy: FlowPolicy, observation: Observation) -> float | None:
    """Floating-point operations of one action of one seed, by the compiler's cost analysis; None where it has none.

    The analysis counts the body of a loop once, however often it runs, so the steps of the flow are written out here.
    The remaining steps inside a `RolloutGradient` are still a loop, and are counted once each.
    """
    sampler = policy.sampler

    def written_out(policy: FlowPolicy, observation: Observation, noise: Float[Array, "candidates action"]) -> Action:
        def value(action: Action, t: Time) -> Scalar:
            assert policy.critic is not None
            return policy.aggregate(policy.critic.given(observation)(action, t))

        guided = policy.sampler.guidance(policy.flow.given(observation), value)

        def propose(point: Noise) -> Action:
            for i in range(sampler.steps):
                point = point + guided(point, i / sampler.steps) / sampler.steps
            return point

        return policy.sampler.choose(propose, value, noise)

    noise = jax.ShapeDtypeStruct((sampler.candidates, policy.action_size), "float32")
    analysis: Any = jax.jit(written_out).lower(policy, observation, noise).compile().cost_analysis()
    found = analysis[0] if isinstance(analysis, list) else analysis
    return None if not found or "flops" not in found else float(found["flops"])


def milliseconds(calls: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """The median time of each call; they are warmed up, then take turns, so that all meet the same disturbances."""
    for call in calls.values():
        jax.block_until_ready(call())
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            taken[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(each) for name, each in taken.items()}


@jax.jit
def act(
    policy: Policy, observations: Shaped[Array, " batch *observation"] | Parts, key: Array
) -> Float[Array, "batch action"]:
    """A batch of actions, as a server or a simulator pool asks for them."""
    keys = jax.random.split(key, len(jax.tree.leaves(observations)[0]))
    return jax.vmap(policy)(observations, keys)
