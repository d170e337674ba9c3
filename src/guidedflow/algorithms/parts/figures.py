"""Figures that tell how a run does: of critic, actor, flow and weights, on one batch.

    critic    Q of the data's actions minus their returns, Q of the policy's actions minus Q of the data's, in their own
              states and swapped; spread of the members at both, share of targets outside the range that rewards allow
    actor     distance to the flow and to the data, share of actions at the edge of the box
    flow      distance of two samples at one state, beside that of the data's actions at neighbouring states
    weights   quantiles and effective sample size

`of_policies` takes what every algorithm has: its policies. An algorithm adds figures of its own by the optional method
`diagnostics` (`contract.Diagnosed`). This module does not know what is a good figure.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.flows.guidance import Unguided
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import ActionCritic, Critic
from guidedflow.policies.kinds import ActorPolicy, FlowPolicy
from guidedflow.policies.policy import Policy
from guidedflow.types import Metrics, Transition

EDGE = 0.99
"""An action at the edge of its box is at least so large, in one dimension."""

MARGIN = 0.05
"""Targets may leave the range of values by this share of its width, before they count as outside."""

SETTLED = 0.1
"""A critic has settled where targets are above or below its values by less than this share of their deviation."""

THRESHOLDS = (0.01, 0.1, 0.25, 0.5, 0.75, 0.99)
"""Weights of cloning are counted above each of these."""

MOST_DIMENSIONS = 32
"""Dimensions of an action that get a figure each."""

Values = Float[Array, " batch"]


def of_policies(
    policies: Mapping[str, Policy], batch: Transition, returns: Values, limits: Float[Array, "2"], key: PRNGKeyArray
) -> Metrics:
    """The figures that policies have; `returns` are NaN where unknown, `limits` the smallest and largest value.

    Where a policy acts in shorter chunks than those of the data, its actions are compared with their first part.
    """
    main = next(iter(policies.values()))
    batch = batch._replace(action=batch.action[..., : main.action_size])
    keys = jax.random.split(key, 4)
    noise = jax.random.normal(keys[0], (len(batch.reward), *main.noise_shape))
    acting = batch.acting
    actions = _act(main, acting.observation, noise)
    found: Metrics = {
        "edge_policy": edge_share(actions),
        "edge_excess": edge_share(actions) - edge_share(acting.action),
        "policy_data_distance": _distance(actions, acting.action),
    }
    if main.critic is not None:
        next_noise = jax.random.normal(keys[1], noise.shape)
        found |= of_critic(main, main.critic, batch, actions, next_noise, returns, limits)
    flow = next((each for each in policies.values() if isinstance(each, FlowPolicy)), None)
    if flow is not None:
        plain = flow.with_sampler(Sampler(flow.sampler.steps))
        found |= of_flow(plain, batch, keys[2])
        if isinstance(main, ActorPolicy) and main.noise_shape == plain.noise_shape:
            found |= apart("actor_flow_distance", actions, _act(plain, acting.observation, noise))
            ratio = found["actor_flow_distance"] / jnp.maximum(found["flow_diversity"], 1e-6)
            found["actor_flow_ratio"] = ratio
            if "target_bias" in found:
                found["settled_flow_ratio"] = jnp.where(jnp.abs(found["target_bias"]) < SETTLED, ratio, jnp.nan)
    guided = next((each for each in policies.values() if _is_guided(each)), None)
    if guided is not None:
        noise = jax.random.normal(keys[3], (len(batch.reward), *guided.noise_shape))
        plain = guided.with_sampler(Sampler(guided.sampler.steps, candidates=guided.sampler.candidates))
        steered = _act(guided, acting.observation, noise)
        found |= {"edge_guided": edge_share(steered)}
        found |= apart("guided_distance", steered, _act(plain, acting.observation, noise))
    return found


def of_critic(
    policy: Policy,
    critic: ActionCritic,
    batch: Transition,
    actions: Float[Array, "batch action"],
    next_noise: Array,
    returns: Values,
    limits: Float[Array, "2"],
) -> Metrics:
    """What the policy's critic makes of the data's actions, and of the policy's."""

    def members(observations: Any, actions: Array) -> Float[Array, "batch members"]:
        return jax.vmap(lambda observation, action: critic.given(observation)(action))(observations, actions)

    combine = jax.vmap(policy.aggregate)
    data, chosen = members(batch.observation, batch.action), members(batch.observation, actions)
    q, q_policy = combine(data), combine(chosen)
    seen_by_both = batch.actor_observation is None
    next_actions = _act(policy, batch.next_observation, next_noise) if seen_by_both else None
    found = {
        "q_data": jnp.mean(q),
        "q_policy_minus_data": jnp.mean(q_policy - q),
        "q_spread_data": jnp.mean(jnp.std(data, axis=1)),
        "q_spread_policy": jnp.mean(jnp.std(chosen, axis=1)),
        "spread_ratio": jnp.mean(jnp.std(chosen, axis=1)) / jnp.maximum(jnp.mean(jnp.std(data, axis=1)), 1e-6),
    }
    known = jnp.isfinite(returns)
    error = jnp.where(known, q - returns, 0.0)
    count = jnp.sum(known.astype(jnp.float32))
    center = jnp.sum(jnp.where(known, returns, 0.0)) / jnp.maximum(count, 1)
    deviation = jnp.sqrt(jnp.sum(jnp.where(known, jnp.square(returns - center), 0.0)) / jnp.maximum(count, 1))
    enough = count >= len(returns) // 8
    gap = jnp.where(enough, jnp.sum(error) / jnp.maximum(count, 1), jnp.nan)
    found |= {"q_minus_return": gap, "overestimation": gap / jnp.maximum(deviation, 1e-3)}
    if next_actions is not None:
        next_q = combine(members(batch.next_observation, next_actions))
        target, margin = batch.reward + batch.discount * next_q, MARGIN * (limits[1] - limits[0])
        outside = (target < limits[0] - margin) | (target > limits[1] + margin)
        bias = jnp.mean(target - q) / jnp.maximum(jnp.std(q), 1e-6)
        swapped = combine(members(batch.observation, jnp.roll(actions, 1, axis=0)))
        found |= {
            "targets_outside": jnp.mean(outside.astype(jnp.float32)),
            "target_bias": bias,
            "swapped_gain": swapped_gain(q, swapped, bias),
        }
    return found


def swapped_gain(q: Values, swapped: Values, bias: Array) -> Array:
    """Q of actions that the policy chose in other states, minus Q of the data's, in deviations of this difference.

    A better policy is better in its own states, so that its actions lose what they gain when they change places. Where
    they keep it, the critic prefers a region of actions whatever the state. NaN where the bias of the targets, in
    deviations of Q, says that the critic has not settled.
    """
    gain = swapped - q
    return jnp.where(jnp.abs(bias) < SETTLED, jnp.mean(gain) / jnp.maximum(jnp.std(gain), 1e-6), jnp.nan)


def of_flow(flow: Policy, batch: Transition, key: PRNGKeyArray) -> Metrics:
    """How far apart two samples of a flow at one state are, beside the data's actions at neighbouring states."""
    noise = jax.random.normal(key, (2, len(batch.reward), *flow.noise_shape))
    first, second = (_act(flow, batch.acting.observation, each) for each in noise)
    found = {"flow_diversity": _distance(first, second)}
    states = batch.acting.observation
    if isinstance(states, jax.Array) and states.ndim == 2 and jnp.issubdtype(states.dtype, jnp.floating):
        scaled = states / jnp.maximum(jnp.std(states, axis=0, keepdims=True), 1e-6)
        norms = jnp.sum(jnp.square(scaled), axis=1)
        squares = norms[:, None] + norms[None, :] - 2 * scaled @ scaled.T
        nearest = jnp.argmin(squares + jnp.diag(jnp.full(len(states), jnp.inf)), axis=1)
        found["data_diversity"] = _distance(batch.acting.action, batch.acting.action[nearest])
        found["diversity_ratio"] = found["flow_diversity"] / jnp.maximum(found["data_diversity"], 1e-6)
    return found


def of_weights(weights: Values) -> Metrics:
    """How weights of cloning are spread: shares above thresholds, and the effective sample size as a share."""
    found = {f"weight_above/{limit}": jnp.mean((weights > limit).astype(jnp.float32)) for limit in THRESHOLDS}
    middle = jnp.mean(((weights > THRESHOLDS[0]) & (weights < THRESHOLDS[-1])).astype(jnp.float32))
    return found | {
        "weight_effective": effective_share(weights),
        "weight_undecided": middle,
        "weight_deviation": jnp.std(weights),
    }


def effective_share(weights: Values) -> Array:
    """(sum w)^2 / (n sum w^2): the effective sample size of weights, as a share of their number."""
    scaled = weights / jnp.maximum(jnp.max(weights), 1e-30)
    return jnp.square(jnp.mean(scaled)) / jnp.maximum(jnp.mean(jnp.square(scaled)), 1e-30)


def of_limited_weights(weights: Values, limit: float) -> Metrics:
    """The effective sample size of weights as a share, and the share of them at their limit."""
    limited = jnp.mean((weights >= limit).astype(jnp.float32))
    return {"weight_effective": effective_share(weights), "weight_limited": limited}


def of_target(critic: Critic, target: Critic, batch: Transition, rate: float | Array) -> Metrics:
    """How the target critic follows: the share that it takes over in an update, and how far it is from the critic.

    The distance is that of their values at the data's actions, as a share of the deviation of these values.
    """

    def values(network: Critic) -> Values:
        return jax.vmap(lambda s, a: jnp.mean(network.given(s)(a)))(batch.observation, batch.action)

    ours, theirs = values(critic), values(target)
    lag = jnp.sqrt(jnp.mean(jnp.square(ours - theirs)))
    return {"target_lag": lag / jnp.maximum(jnp.std(ours), 1e-6), "target_rate": jnp.asarray(rate, jnp.float32)}


def apart(name: str, first: Float[Array, "batch action"], second: Float[Array, "batch action"]) -> Metrics:
    """The root mean square distance of two actions in each state, over all dimensions and in each."""
    each = jnp.sqrt(jnp.mean(jnp.square(first - second), axis=0))
    found = {name: _distance(first, second)}
    if each.size <= MOST_DIMENSIONS:
        found |= {f"{name}/{index}": each[index] for index in range(each.size)}
    return found


def edge_share(actions: Float[Array, "batch action"]) -> Array:
    """The share of numbers at the edge of the box."""
    return jnp.mean((jnp.abs(actions) >= EDGE).astype(jnp.float32))


def _distance(first: Array, second: Array) -> Array:
    return jnp.sqrt(jnp.mean(jnp.square(first - second)))


def _act(policy: Policy, observations: Any, noise: Array) -> Array:
    return jax.vmap(policy.act_from)(observations, noise)


def _is_guided(policy: Policy) -> bool:
    return isinstance(policy, FlowPolicy) and not isinstance(policy.sampler.guidance, Unguided)
