"""Controls: the same policy under a value that must hurt, or that knows nothing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from guidedflow.errors import InputError
from guidedflow.flows.guidance import DenoisedGradient
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import Aggregate, Critic, LowerBound, SinusoidalTime, VelocityField
from guidedflow.policies.controls import under_value
from guidedflow.policies.kinds import FlowPolicy, value_of

KEY = jax.random.key(0)
CRITIC = Critic((4,), 3, (8, 8), key=KEY)
FIELD = VelocityField((4,), 3, (8, 8), SinusoidalTime(), key=KEY)
GUIDED = FlowPolicy(FIELD, CRITIC, Aggregate.min, Sampler(guidance=DenoisedGradient(0.5)))
OBSERVATION = jnp.ones(4)
ACTION = jnp.array([0.1, -0.2, 0.3])


def value(policy: FlowPolicy) -> float:
    return float(value_of(policy, OBSERVATION)(ACTION, 1.0))


@pytest.mark.parametrize("aggregate", [Aggregate.min, Aggregate.mean, LowerBound(0.5)])
def test_negated_is_the_negative_of_the_value_after_the_members_became_one(aggregate: Aggregate | LowerBound) -> None:
    policy = dataclasses.replace(GUIDED, aggregate=aggregate)
    negated = under_value(policy, "negated")
    assert value(negated) == pytest.approx(-value(policy))
    assert value(under_value(negated, "negated")) == pytest.approx(-value(policy))  # the negative, not its negative
    assert (policy.columns()["value"], negated.columns()["value"]) == (None, "negated")


def test_negated_guidance_pushes_the_other_way() -> None:
    """The first step from one noise: what is added to the velocity changes its sign."""
    plain = GUIDED.with_sampler(Sampler(1)).act(OBSERVATION, KEY)
    up, down = (under_value(GUIDED.with_sampler(Sampler(1, DenoisedGradient(1e-3))), kind) for kind in KINDS)
    added, taken = up.act(OBSERVATION, KEY) - plain, down.act(OBSERVATION, KEY) - plain
    np.testing.assert_allclose(taken, -added, rtol=1e-2, atol=1e-6)
    assert jnp.any(added != 0)


KINDS = ("critic", "negated")


def test_random_keeps_the_weights_of_each_row_and_no_more() -> None:
    shuffled, again, other = (under_value(GUIDED, "random", seed) for seed in (0, 0, 1))
    for ours, theirs in zip(jax.tree.leaves(CRITIC), jax.tree.leaves(shuffled.critic), strict=True):
        np.testing.assert_array_equal(jnp.sort(ours, axis=-1), jnp.sort(theirs, axis=-1))
    assert value(shuffled) == value(again)
    assert len({value(GUIDED), value(shuffled), value(other)}) == 3
    assert shuffled.columns()["value"] == "random"


def test_the_critic_itself_is_no_control() -> None:
    assert under_value(GUIDED, "critic") is GUIDED


def test_a_policy_without_a_critic_is_refused() -> None:
    blind = FlowPolicy(FIELD, None, Aggregate.min, Sampler())
    with pytest.raises(InputError, match="need a critic"):
        under_value(blind, "negated")
