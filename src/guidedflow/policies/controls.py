"""Control experiments: the same policy under a value that must hurt, or that knows nothing."""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from guidedflow.errors import InputError
from guidedflow.keys import Stream, stream_key
from guidedflow.networks import Control
from guidedflow.policies.policy import Policy, no_critic

ValueName = Literal["critic", "negated", "random"]
"""Values by name: the critic's own, its negative, and that of the critic with shuffled weights."""


def under_value(policy: Policy, kind: ValueName, seed: int = 0) -> Policy:
    """The same policy, guided, refined and chosen by the critic's value, its negative, or by no knowledge.

    `random` shuffles each row of each array of the critic, so that the sizes of its weights stay and what it learned
    does not; `seed` chooses the order. Under `normalize` its gradients are as long as the critic's. Raises `InputError`
    for a policy without a critic and for an unknown kind.
    """
    if kind not in get_args(ValueName):
        raise InputError(f"The value must be one of {', '.join(get_args(ValueName))}, but is {kind!r}.")
    if kind == "critic":
        return policy
    if policy.critic is None:
        raise no_critic()
    critic = policy.critic if kind == "negated" else _shuffled(policy.critic, seed)
    inner = policy.aggregate.inner if isinstance(policy.aggregate, Control) else policy.aggregate
    return policy.with_critic(critic, Control(inner, kind))


def _shuffled(critic: Any, seed: int) -> Any:
    leaves, structure = jax.tree.flatten(critic)
    keys = jax.random.split(stream_key(seed, Stream.INIT), len(leaves))
    shuffled = [
        jax.random.permutation(key, leaf, axis=-1, independent=True) if jnp.ndim(leaf) else leaf
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, shuffled)
