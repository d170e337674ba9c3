"""Fitted Q evaluation against values in closed form."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from guidedflow.errors import InputError
from guidedflow.evaluation import off_policy
from guidedflow.evaluation.fitting import bounds, resamples
from guidedflow.evaluation.off_policy import Chosen, Judge, Recorded, act, as_recorded, judged
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import Aggregate, Critic, RawTime, VelocityField
from guidedflow.packing import PartShapes, Shape, pack
from guidedflow.policies.kinds import FlowPolicy

GAMMA = 0.8

# x' = x / 2 + a / 4 + noise and r = x + a. Under a = c everywhere V(x) = A x + B, with A = 1 + gamma A / 2 and
# B = c + gamma (A c / 4 + B); so Q is linear, and a critic without hidden layers can hold it.
SLOPE = 1 / (1 - GAMMA / 2)


def value(x: np.ndarray, c: float) -> np.ndarray:
    return SLOPE * x + c * (1 + GAMMA * SLOPE / 4) / (1 - GAMMA)


def recording(episodes: int, length: int, seed: int, reward_noise: float = 0.0) -> Recorded:
    """Episodes of the linear problem under uniform actions; none terminates."""
    random = np.random.default_rng(seed)
    x = np.zeros((episodes, length + 1))
    x[:, 0] = random.uniform(-1, 1, episodes)
    actions = random.uniform(-1, 1, (episodes, length + 1))
    for t in range(length):
        x[:, t + 1] = x[:, t] / 2 + actions[:, t] / 4 + 0.1 * random.normal(size=episodes)
    rewards = x + actions + reward_noise * random.normal(size=x.shape)

    def rows(column: np.ndarray) -> np.ndarray:
        return column.reshape(-1, 1).astype(np.float32)

    returns = (GAMMA ** np.arange(length) * rewards[:, :-1]).sum(axis=1)
    n = episodes * length
    return Recorded(
        observations=rows(x[:, :-1]), actions=rows(actions[:, :-1]), rewards=rows(rewards[:, :-1])[:, 0],
        discounts=np.full(n, GAMMA, np.float32), next_observations=rows(x[:, 1:]), next_actions=rows(actions[:, 1:]),
        episodes=np.repeat(np.arange(episodes), length), first_observations=rows(x[:, 0]),
        first_actions=rows(actions[:, 0]), returns=returns, typical=(0.0, 1.0),
    )  # fmt: skip


def constant(recorded: Recorded, action: float) -> Chosen:
    """The policy that always takes one action."""
    return Chosen(np.full_like(recorded.next_actions, action), np.full_like(recorded.first_actions, action)[:, None])


LINEAR = Judge(members=3, steps=1_500, hidden=(), learning_rate=0.03, tau=0.1, batch_size=64, draws=1)


def test_the_value_of_a_linear_problem_is_found_and_its_bias_vanishes_with_updates() -> None:
    recorded = recording(episodes=40, length=20, seed=0)
    for action in (-0.5, 0.8):
        true = float(value(recorded.first_observations, action).mean())
        found = judged(recorded, [constant(recorded, action)], LINEAR)
        early = judged(recorded, [constant(recorded, action)], replace(LINEAR, steps=50))
        assert abs(found.value - true) < 0.15
        assert abs(found.value - true) < abs(early.value - true) / 3
        assert abs(found.drift) < 0.05
        assert found.interval.low < found.value < found.interval.high
        assert np.isclose(found.value, np.mean(found.members), atol=1e-5)


def test_the_same_judge_gives_the_same_bits_and_another_seed_others() -> None:
    recorded, short = recording(6, 10, 0), replace(LINEAR, steps=20)
    first, again = (judged(recorded, [constant(recorded, 0.3)], short) for _ in range(2))
    assert first == again
    assert judged(recorded, [constant(recorded, 0.3)], replace(short, seed=1)).value != first.value
    # Several training seeds are judged by the same members on the same resamples, so values are their means.
    other = judged(recorded, [constant(recorded, -0.3)], short)
    both = judged(recorded, [constant(recorded, 0.3), constant(recorded, -0.3)], short)
    assert np.allclose(both.members, np.mean([first.members, other.members], axis=0))


@pytest.mark.slow
def test_intervals_cover_the_true_value() -> None:
    """30 recordings of 12 episodes with noisy rewards; nominally 95 % cover, and 25 of 30 is far below that."""
    covered = 0
    for seed in range(30):
        recorded = recording(12, 15, seed, reward_noise=1.0)
        true = float(value(recorded.first_observations, 0.5).mean())
        found = judged(recorded, [constant(recorded, 0.5)], replace(LINEAR, members=5, seed=seed)).interval
        covered += found.low <= true <= found.high
    assert covered >= 26


def test_recorded_actions_are_judged_as_what_they_returned() -> None:
    recorded = recording(40, 20, 1)
    found = judged(recorded, [as_recorded(recorded)], LINEAR)
    true = float((SLOPE * recorded.first_observations + recorded.first_actions * (1 + GAMMA * SLOPE / 4)).mean())
    assert abs(found.value - true) < 0.4  # next actions are random: one standard error is 0.12
    assert found.distance == 0


def test_a_terminated_transition_has_no_future() -> None:
    recorded = recording(10, 5, 0)
    ended = recorded._replace(discounts=np.zeros_like(recorded.discounts))
    found = judged(ended, [constant(ended, 0.5)], LINEAR)
    counts = resamples(10, LINEAR)  # each member's estimate is of its own resample of episodes
    true = (counts @ recorded.first_observations)[:, 0] / 10 + 0.5
    assert np.allclose(found.members, true, atol=0.02)
    assert found.everywhere == 0  # nothing follows


def test_targets_stay_within_what_rewards_can_sum_up_to() -> None:
    rewards, discounts = np.float32([-1, -1, 0]), np.float32([0.9, 0.9, 0])
    low, high = bounds(rewards, discounts)
    assert np.allclose([low, high], [-20, 10], atol=1e-4)  # from -10 to 0, and its width on both sides
    assert bounds(rewards, np.ones(3, np.float32)) == (-np.inf, np.inf)
    # Actions far from all data would make a linear critic diverge without limits.
    recorded = recording(6, 10, 0)
    wild = Judge(2, 400, hidden=(8,), learning_rate=0.1, tau=1.0, batch_size=32, draws=1)
    found = judged(recorded, [constant(recorded, 30.0)], wild)
    low, high = bounds(recorded.rewards, recorded.discounts)
    assert low - 1e-3 <= found.value <= high + 1e-3
    assert found.distance > 20


def test_resamples_are_of_whole_episodes_and_the_same_for_every_policy() -> None:
    judge = Judge(members=7, seed=3)
    counts = resamples(11, judge)
    assert counts.shape == (7, 11)
    assert (counts.sum(axis=1) == 11).all()
    assert len({tuple(row) for row in counts}) == 7
    assert (counts == resamples(11, replace(judge, steps=1))).all()
    with pytest.raises(InputError, match="at least 2 held-out episodes, but found 1"):
        judged(recording(1, 5, 0), [constant(recording(1, 5, 0), 0.0)], judge)
    with pytest.raises(InputError, match="members must be between 2 and 100"):
        Judge(members=1)


def flow(key: int = 0) -> FlowPolicy:
    keys = jax.random.split(jax.random.key(key))
    field = VelocityField((1,), 1, (4,), RawTime(), key=keys[0])
    critic = Critic((1,), 1, (4,), key=keys[1])
    return FlowPolicy(field, critic, Aggregate.mean, Sampler(2, candidates=2))


def test_a_policys_actions_are_drawn_once_at_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(off_policy, "ROWS", 16)  # 60 rows take four calls, the last one filled up
    recorded, policy, judge = recording(6, 10, 0), flow(), Judge(draws=3)
    chosen = act(policy, recorded, judge)
    assert chosen.next_actions.shape == (60, 1)
    assert chosen.first_actions.shape == (6, 3, 1)
    assert len(np.unique(chosen.first_actions[0])) > 1
    for one, two in zip(chosen, act(policy, recorded, judge), strict=True):
        assert (one == two).all()
    assert (act(policy, recorded, replace(judge, seed=1)).next_actions != chosen.next_actions).any()


def test_the_critic_that_steers_is_never_the_one_that_judges() -> None:
    """Two policies that take the same actions get the same bits, whatever their critics say."""
    recorded, judge = recording(6, 10, 0), replace(LINEAR, steps=20)
    plain = replace(flow().sampler, candidates=1)
    policy = flow().with_sampler(plain)
    blind = eqx.tree_at(lambda p: p.critic, policy, jax.tree.map(lambda x: x + 100, policy.critic))
    assert judged(recorded, [act(policy, recorded, judge)], judge) == judged(
        recorded, [act(blind, recorded, judge)], judge
    )


def in_two(recorded: Recorded) -> tuple[Recorded, Recorded]:
    """The linear problem with two numbers a state: side by side, and as parts."""
    columns = ("observations", "next_observations", "first_observations")
    wide = {name: np.concatenate([3 + getattr(recorded, name), getattr(recorded, name) ** 2], 1) for name in columns}
    parts = {name: pack({"a": column[:, :1], "b": column[:, 1:]}) for name, column in wide.items()}
    return recorded._replace(**wide), recorded._replace(**parts)


def test_a_policy_acts_on_parts_as_on_the_numbers_that_they_are() -> None:
    side_by_side, apart = in_two(recording(2, 3, 0))

    def policy(shape: Shape) -> FlowPolicy:
        keys = jax.random.split(jax.random.key(0))
        field = VelocityField(shape, 1, (4,), RawTime(), key=keys[0])
        return FlowPolicy(field, Critic(shape, 1, (4,), key=keys[1]), Aggregate.mean, Sampler(steps=2))

    found = act(policy(PartShapes.of({"a": (1,), "b": (1,)})), apart, LINEAR)
    for ours, theirs in zip(found, act(policy((2,)), side_by_side, LINEAR), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_parts_are_judged_as_the_numbers_that_they_are() -> None:
    side_by_side, apart = in_two(recording(6, 10, 0))
    short, chosen = replace(LINEAR, steps=20), [constant(apart, 0.3)]
    assert judged(apart, chosen, short) == judged(side_by_side, chosen, short)


@pytest.mark.slow
def test_images_are_judged_by_critics_that_see_them() -> None:
    random = np.random.default_rng(0)
    recorded = recording(2, 3, 0)
    shape = 8, 8, 3
    seen, after, first = (random.integers(0, 255, (n, *shape), np.uint8) for n in (6, 6, 2))
    images = recorded._replace(observations=seen, next_observations=after, first_observations=first)
    found = judged(images, [constant(images, 0.1)], Judge(2, 2, hidden=(4,), batch_size=2, draws=1))
    assert np.isfinite(found.value)
    assert jnp.isfinite(found.everywhere)
