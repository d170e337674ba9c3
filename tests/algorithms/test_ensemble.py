"""The ingredients of a critic: members, how their values become one, and whose target each learns from."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_algorithms import BATCH, data, sampled, small
from tiny_algorithm import drawn

from guidedflow.algorithms import ALGORITHMS, FQL, GFP, IQL
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.errors import InputError
from guidedflow.networks import Aggregate, LowerBound
from guidedflow.settings import from_plain, to_plain

QUICK = ("gfp",)
WITH_CRITIC = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in ALGORITHMS if name != "bc"
]


def updated(algorithm: Any) -> tuple[Any, dict[str, jax.Array]]:
    state = drawn(algorithm, data().example())
    batch = sampled(data(), jax.random.key(1), batch_size=BATCH)
    return jax.jit(algorithm.update)(state, batch, jax.random.key(2))


def critics(state: Any) -> Any:
    """Critic and target critic of a state, wherever they stand."""
    values = state if hasattr(state, "critic") else state.values
    return values.critic.network, values.target_critic


@pytest.mark.parametrize("size", [1, 2, 10])
def test_pessimism_of_0_is_the_mean_and_of_1_the_minimum_of_two(size: int) -> None:
    for values in jax.random.normal(jax.random.key(size), (20, size)):
        np.testing.assert_allclose(LowerBound(0.0)(values), Aggregate.mean(values), rtol=1e-6)
        expected = np.mean(values) - 0.7 * np.std(values)
        np.testing.assert_allclose(LowerBound(0.7)(values), expected, rtol=1e-5, atol=1e-6)
        if size == 2:
            np.testing.assert_allclose(LowerBound(1.0)(values), Aggregate.min(values), rtol=1e-5, atol=1e-6)


def test_pessimism_has_a_finite_gradient_where_all_members_agree() -> None:
    np.testing.assert_allclose(jax.grad(LowerBound(0.5))(jnp.full(4, 3.0)), 0.25)


def test_an_update_under_pessimism_is_that_of_the_mean_or_the_minimum() -> None:
    """In every use at once; one compiled update serves both numbers."""
    update = jax.jit(lambda algorithm, state, batch: algorithm.update(state, batch, jax.random.key(2))[0])
    state = drawn(small(IQL), data().example())
    batch = sampled(data(), jax.random.key(1), batch_size=BATCH)

    def after(aggregate: Aggregate, rho: float) -> Any:
        ensemble = Ensemble(target_aggregate=aggregate, actor_aggregate=aggregate, rho=rho)
        return update(dataclasses.replace(small(IQL), ensemble=ensemble), state, batch)

    pessimistic = {rho: after(Aggregate.pessimistic, rho) for rho in (0.0, 1.0)}
    compiled = update._cache_size()
    after(Aggregate.pessimistic, 0.25)
    assert update._cache_size() == compiled
    for rho, aggregate in ((0.0, Aggregate.mean), (1.0, Aggregate.min)):
        same = after(aggregate, 0.5)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=2e-5), pessimistic[rho], same)


@pytest.mark.parametrize("name", WITH_CRITIC)
def test_every_algorithm_trains_with_three_members_and_targets_of_their_own(name: str) -> None:
    ensemble = Ensemble(members=3, acting_aggregate=Aggregate.pessimistic, rho=0.5, own_targets=True)
    algorithm = dataclasses.replace(small(ALGORITHMS[name]), ensemble=ensemble)
    state, metrics = updated(algorithm)
    assert all(np.isfinite(value) for value in metrics.values())
    assert [len(critic.members) for critic in critics(state)] == [3, 3]
    for policy in algorithm.policies(state).values():
        assert policy.aggregate(jnp.array([1.0, 3.0])) == pytest.approx(1.5)
        assert np.all(np.abs(policy(jnp.ones(3), jax.random.key(0))) <= 1)


def second_shifted(critic: Any) -> Any:
    """The critic, whose second member has other numbers."""
    other = jax.tree.map(lambda leaf: leaf - 0.3, critic.members[1])
    return eqx.tree_at(lambda critic: critic.members[1], critic, other)


@pytest.mark.parametrize("own", [True, False])
def test_a_member_with_a_target_of_its_own_does_not_notice_the_others(own: bool) -> None:
    algorithm = FQL(hidden=(16,), flow_steps=2, ensemble=Ensemble(own_targets=own))
    state = drawn(algorithm, data().example())
    batch = sampled(data(), jax.random.key(1), batch_size=BATCH)
    shifted = state._replace(target_critic=second_shifted(state.target_critic))
    update = jax.jit(lambda state: algorithm.update(state, batch, jax.random.key(2))[0].critic.network.members[0])
    first, second = (jax.tree.leaves(update(state)) for state in (state, shifted))
    assert all(map(np.array_equal, first, second)) == own


@pytest.mark.parametrize("own", [True, False])
def test_with_targets_of_their_own_each_member_has_a_value_of_its_own(own: bool) -> None:
    algorithm = IQL(hidden=(16,), ensemble=Ensemble(own_targets=own))
    values = drawn(algorithm.values, data().example())
    batch = sampled(data(), jax.random.key(1), batch_size=BATCH)
    shifted = values._replace(target_critic=second_shifted(values.target_critic))
    gradient = jax.jit(lambda values: algorithm.values.gradients(values, batch)[0][1])
    gradients = (gradient(each) for each in (values, shifted))
    first, second = (jax.tree.leaves(each.members[0] if own else each) for each in gradients)
    assert all(map(np.array_equal, first, second)) == own


def test_a_use_that_is_left_open_is_the_algorithms_own() -> None:
    assert Ensemble().acting(Aggregate.min) is Aggregate.min
    assert Ensemble(acting_aggregate=Aggregate.mean).acting(Aggregate.min) is Aggregate.mean
    assert Ensemble(rho=0.3).target(Aggregate.pessimistic)(jnp.array([1.0, 2.0])) == pytest.approx(1.35)


def test_a_ceiling_clips_the_value_in_the_target_alone() -> None:
    values = jnp.array([1.0, 2.0])
    assert Ensemble(ceiling=0.5).target(Aggregate.mean)(values) == pytest.approx(0.5)
    np.testing.assert_allclose(Ensemble(ceiling=1.5, own_targets=True).target(Aggregate.mean)(values), [1.0, 1.5])
    assert Ensemble(ceiling=0.5).acting(Aggregate.mean)(values) == pytest.approx(1.5)
    algorithm = dataclasses.replace(small(FQL), ensemble=Ensemble(ceiling=-1e3))
    assert updated(algorithm)[1]["critic_loss"] > 1e3


def test_ingredients_can_be_written_down_and_read_back() -> None:
    settings = GFP(ensemble=Ensemble(members=3, actor_aggregate=Aggregate.pessimistic, rho=0.25))
    plain = to_plain(settings)
    assert plain["ensemble"]["actor_aggregate"] == "pessimistic"
    assert from_plain(GFP, plain) == settings
    del plain["ensemble"]  # a run of version 0.1
    assert from_plain(GFP, plain) == GFP()


def test_impossible_ingredients_are_refused() -> None:
    with pytest.raises(InputError, match="members must be between 1 and 100, but is 0"):
        Ensemble(members=0)
    with pytest.raises(InputError, match="rho must be at least 0"):
        Ensemble(rho=-1.0)
