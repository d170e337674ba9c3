"""Numbers of one trained run: how far the actor is from its flow, how diverse the flow is, what the critic claims.

Distances are root mean squares over the dimensions of an action, and means over states. Two policies at a state get the
noise of one key. Policies and states are those of one seed, without the axis of seeds. This module does not know what
the numbers are for.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.algorithms import GFP
from guidedflow.algorithms.parts import distillation
from guidedflow.algorithms.parts.losses import value_scale
from guidedflow.flows.path import clip, integrate
from guidedflow.policies.policy import Policy, no_critic
from guidedflow.studies.signature import possible_values
from guidedflow.types import Action, Observation, Scalar, Transition

SAMPLES = 16
"""Actions of a flow at one state, whose spread is its diversity."""

Actions = Float[Array, "states action"]


@jax.jit
def actions(policy: Policy, batch: Transition, key: PRNGKeyArray) -> Actions:
    """An action at each state."""
    keys = jax.random.split(key, batch.action.shape[0])
    return jax.vmap(policy.act)(batch.observation, keys)


def distance(one: Actions, other: Actions) -> float:
    """How far two sets of actions at the same states are apart."""
    return float(jnp.mean(jnp.sqrt(jnp.mean(jnp.square(one - other), axis=-1))))


def diversity(policy: Policy, batch: Transition, seed: int = 0) -> float:
    """Standard deviation of a policy's actions at a state, mean over dimensions and states."""
    keys = jax.random.split(jax.random.key(seed), SAMPLES)
    found = np.stack([np.asarray(actions(policy, batch, key)) for key in keys])
    return float(np.mean(np.std(found, axis=0)))


@jax.jit
def values(policy: Policy, batch: Transition, chosen: Actions) -> Float[Array, " states"]:
    """What the critic beside a policy claims for these actions."""

    critic = policy.critic
    if critic is None:
        raise no_critic()

    def claimed(observation: Observation, action: Action) -> Scalar:
        return policy.aggregate(critic.given(observation)(action, 1.0))

    return jax.vmap(claimed)(batch.observation, chosen)


def values_at(policy: Policy, observations: Any, chosen: Any) -> Float[Array, " states"]:
    """What the critic beside a policy claims at these observations for these actions."""
    batch = Transition(
        *[jnp.asarray(x) for x in (observations, chosen, chosen[:, 0], chosen[:, 0], observations, chosen)]
    )
    return values(policy, batch, batch.action)


@jax.jit
def weights(algorithm: GFP, state: distillation.State, batch: Transition, key: PRNGKeyArray) -> Float[Array, " states"]:
    """GFP's weight of cloning of each transition, g, under the run's own settings (arXiv 2512.03973, Eq. 10)."""
    actor, flow = state.actor.network, state.flow.network
    for_actor = algorithm.ensemble.actor(algorithm.aggregate)
    noise = distillation.draw(batch, key)

    def act(observation: Observation, z: Action) -> Action:
        return clip(actor.given(observation)(z))

    def imitate(observation: Observation, z: Action) -> Action:
        return clip(integrate(flow.given(observation), z, algorithm.flow_steps))

    def claimed(observation: Observation, action: Action) -> Scalar:
        return for_actor(state.critic.network.given(observation)(action))

    proposals = jax.vmap(act)(batch.observation, noise.action)
    imitations = jax.vmap(imitate)(batch.observation, noise.action)
    scale = value_scale(jax.vmap(claimed)(batch.observation, proposals))

    def weight(data: Transition, proposal: Action, imitation: Action) -> Scalar:
        q = state.target_critic.given(data.observation)
        reference = algorithm.reference(lambda action: for_actor(q(action)), proposal, imitation)
        return algorithm.weight(for_actor(q(data.action)), reference, scale, algorithm.temperature)

    return jax.vmap(weight)(batch, proposals, imitations)


def weights_of(trial: Any) -> Float[np.ndarray, " states"]:
    """GFP's weights of a trial's run on its transitions."""
    state = jax.tree.map(lambda leaf: leaf[0], trial.trained.state)
    return np.asarray(weights(trial.trained.algorithm, state, trial.batch, jax.random.key(0)))


def of_gfp(trial: Any) -> dict[str, float | None]:
    """Of a run of GFP: what `of_pair` tells, its mean g, and how far Q lies outside what rewards can add up to.

    The last is in shares of the range of possible values.
    """
    found = of_pair(trial)
    low, high = possible_values(np.asarray(trial.batch.reward), trial.trained.configuration.discount)
    q = found["q"] or 0.0
    outside = max(low - q, q - high, 0.0) / max(high - low, 1e-8)
    return {**found, "g": float(np.mean(weights_of(trial))), "q_outside": outside}


def of_pair(trial: Any) -> dict[str, float | None]:
    """Of a run with an actor and a flow: their distance, the flow's diversity, and what the critic claims."""
    actor, flow = trial.policy("actor"), trial.policy("flow")
    key = jax.random.key(0)
    acted = actions(actor, trial.batch, key)
    return {
        "distance": distance(acted, actions(flow, trial.batch, key)),
        "diversity": diversity(flow, trial.batch),
        "q": float(jnp.mean(values(actor, trial.batch, acted))),
    }
