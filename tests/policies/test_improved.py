"""What a closed-form improvement makes of each kind of policy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from guidedflow.algorithms import BC, GFP, QGF, ReBRAC
from guidedflow.errors import InputError
from guidedflow.flows.improvement import CFPI
from guidedflow.networks import Aggregate, Critic
from guidedflow.policies.improved import improved
from guidedflow.policies.policy import Policy
from guidedflow.types import Transition

STATE = jnp.ones(3)


def policy_of(algorithm: object, name: str) -> Policy:
    """A policy of an untrained algorithm, under a critic of its own sizes."""
    zeros = jnp.zeros(3), jnp.zeros(2), jnp.zeros(()), jnp.zeros(()), jnp.zeros(3), jnp.zeros(2)
    state = algorithm.init(Transition(*zeros), jax.random.key(0))  # type: ignore[attr-defined]
    critic = Critic((3,), 2, (8,), key=jax.random.key(1))
    return algorithm.policies(state)[name].with_critic(critic, Aggregate.min)  # type: ignore[attr-defined]


def value(policy: Policy, action: jax.Array) -> float:
    return float(policy.aggregate(policy.critic.given(STATE)(action)))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("algorithm", "name", "budget"),
    [
        (BC(components=1, hidden=(8,)), "actor", 0.05),
        (BC(components=3, hidden=(8,)), "actor", 1.0),  # the components' weights take their share
        (QGF(hidden=(8,), flow_steps=2), "flow", 0.05),
        (ReBRAC(hidden=(8,)), "actor", 0.05),
    ],
    ids=["gaussian", "mixture", "flow", "deterministic"],
)
def test_an_improved_action_is_better_and_in_the_box(algorithm: object, name: str, budget: float) -> None:
    policy = policy_of(algorithm, name)
    better = improved(policy, CFPI(budgets=(budget,)))
    key = jax.random.key(2)
    still = improved(policy, CFPI(budgets=(0.0,)))(STATE, key)
    action = better(STATE, key)
    assert np.all(np.abs(action) <= 1)
    assert value(policy, action) > value(policy, still)
    assert better.columns()["improvement"] == f"cfpi {budget:g}"


def test_a_policy_without_a_density_or_a_critic_is_refused() -> None:
    with pytest.raises(InputError, match="needs a policy with a density: a Gaussian or a mixture"):
        improved(policy_of(GFP(hidden=(8,), flow_steps=2), "actor"), CFPI())
    algorithm = BC(components=1, hidden=(8,))
    zeros = jnp.zeros(3), jnp.zeros(2), jnp.zeros(()), jnp.zeros(()), jnp.zeros(3), jnp.zeros(2)
    alone = algorithm.policies(algorithm.init(Transition(*zeros), jax.random.key(0)))["actor"]
    with pytest.raises(InputError, match="need a critic, and this policy was trained without one"):
        improved(alone, CFPI())
