"""Goals lie where they are said to, as often as they are said to, and end what is counted where they are reached."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guidedflow.data.dataset import Dataset
from guidedflow.data.sampling.cutting import Cutting
from guidedflow.data.sampling.feed import Feed
from guidedflow.data.sampling.goals import GoalSampling
from guidedflow.data.transitions import Transitions
from guidedflow.errors import InputError
from guidedflow.types import Transition

ROWS = 20
layouts = st.sets(st.integers(0, ROWS - 2), min_size=3, max_size=3).map(
    lambda ends: np.diff([-1, *sorted(ends), ROWS - 1]) - 1  # always 4 episodes in 20 rows, to compile once
)
SOURCES = ("cur", "traj", "random")


def cut(
    dataset: Dataset, sampling: GoalSampling, discount: float = 0.99, horizon: int = 1, chunk: bool = False
) -> Transitions:
    return Cutting(discount, horizon, chunk, goals=sampling).of(dataset)


def counted(lengths: Sequence[int]) -> Dataset:
    """Rows that tell where they are: the observation is (episode, row); rewards and masks are of no use."""
    where = [(episode, step) for episode, length in enumerate(lengths) for step in range(length + 1)]
    rows = np.arange(len(where), dtype=np.float32)
    observations = np.stack([np.array([episode for episode, _ in where], np.float32), rows], axis=1)
    last = np.array([step == lengths[episode] for episode, step in where])
    useless = np.full(len(rows), 7, np.float32)
    return Dataset("counted", observations, rows[:, None] / 1000, useless, useless * 0, last, goals=observations)


goal_rows = jax.jit(Transitions.goal_rows)
sample = jax.jit(Transitions.sample, static_argnums=2)


@jax.jit
def relabelled(goals: Transitions, indices: jax.Array, value: jax.Array, actor: jax.Array) -> Transition:
    """All transitions of these indices under given goals."""
    return goals.relabelled(goals.take(indices), indices, value, actor)


def only(source: str, geometric: bool = False, **changes: float | bool) -> GoalSampling:
    """One source for the critic, and its opposite for the policy."""
    other = {"cur": "random", "traj": "cur", "random": "traj"}[source]
    chosen = {f"{role}_p_{name}goal": 0.0 for role in ("value", "actor") for name in SOURCES}
    chosen |= {f"value_p_{source}goal": 1.0, f"actor_p_{other}goal": 1.0}
    return GoalSampling(**chosen, value_geom_sample=geometric, **changes)  # type: ignore[arg-type]


def made(lengths: Sequence[int], sampling: GoalSampling, *cutting: float) -> Transitions:
    goals = cut(counted(lengths), sampling, *cutting)  # type: ignore[arg-type]
    assert goals.goals is not None
    return goals


def drawn(goals: Transitions, number: int = 4096, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row of the state, row of the critic's goal, row of the policy's goal."""
    batch = sample(goals, jax.random.key(seed), number)
    assert batch.actor_observation is not None
    return tuple(np.asarray(column).astype(int) for column in (
        batch.observation[:, 1], batch.observation[:, 3], batch.actor_observation[:, 3]
    ))  # type: ignore[return-value]  # fmt: skip


@settings(deadline=None, max_examples=6)
@given(layouts, st.booleans(), st.integers(0, 2**31 - 1))
def test_a_later_goal_is_of_the_same_episode_and_later(lengths: Sequence[int], geometric: bool, seed: int) -> None:
    dataset = counted(lengths)
    goals = made(lengths, only("traj", geometric), 0.7)
    here = np.asarray(goals.starts)
    for key in jax.random.split(jax.random.key(seed), 5):
        later = np.asarray(goal_rows(goals, key, jnp.arange(len(goals)), goals.goals.value))
        np.testing.assert_array_equal(dataset.observations[later, 0], dataset.observations[here, 0])
        assert not dataset.last[later].any()
        final = dataset.last[here + 1]
        assert (later[~final] > here[~final]).all()
        np.testing.assert_array_equal(later[final], here[final])


def test_each_source_alone_is_that_source_and_the_policys_goals_are_drawn_apart() -> None:
    lengths = [5, 0, 9, 3]
    dataset = counted(lengths)
    state, current, anywhere = drawn(made(lengths, only("cur")))
    np.testing.assert_array_equal(state, current)
    assert set(anywhere) == set(np.flatnonzero(~dataset.last))
    state, later, current = drawn(made(lengths, only("traj")))
    np.testing.assert_array_equal(state, current)
    assert set(later - state) == set(range(9))
    state, anywhere, later = drawn(made(lengths, only("random")))
    assert set(anywhere) == set(np.flatnonzero(~dataset.last))
    assert (later >= state).all()
    assert np.any(dataset.observations[anywhere, 0] != dataset.observations[state, 0])


def test_goals_come_from_each_source_as_often_as_set() -> None:
    """From one state of a long episode among many others, the three sources can be told apart."""
    goals = made([200] * 50, GoalSampling(0.2, 0.5, 0.3, False, 0.1, 0.2, 0.7), 0.99)
    number = 40_000
    indices = jnp.full(number, 10 * 200)
    for mixture, (current, later) in ((goals.goals.value, (0.2, 0.5)), (goals.goals.actor, (0.1, 0.2))):
        rows = np.asarray(goal_rows(goals, jax.random.key(3), indices, mixture))
        here = int(goals.starts[10 * 200])
        found = np.mean(rows == here), np.mean((rows > here) & (rows < here + 200))
        elsewhere = (1 - current - later) / 50  # of the random ones fall into the episode all the same
        np.testing.assert_allclose(found, (current, later + elsewhere), atol=4 * 0.5 / number**0.5)


def test_uniformly_later_goals_are_uniform() -> None:
    goals = made([9], only("traj"), 0.9)
    rows = np.asarray(goal_rows(goals, jax.random.key(0), jnp.full(8000, 2), goals.goals.value))
    counts = np.bincount(rows, minlength=10)[3:9]
    assert counts.sum() == 8000
    assert np.sum(np.square(counts - 8000 / 6) / (8000 / 6)) < 20.5  # chi-squared of 5 degrees, 0.1 %


@pytest.mark.parametrize("discount", [0.0, 0.5, 0.9, 0.99, 1.0])
def test_geometrically_later_goals_have_the_discounts_rate(discount: float) -> None:
    """P(k steps ahead) = (1 - discount) discount^(k - 1), and all beyond the last state at the last state."""
    length, number = 12, 20_000
    goals = made([length], only("traj", geometric=True), discount)
    ahead = np.asarray(goal_rows(goals, jax.random.key(1), jnp.zeros(number, jnp.int32), goals.goals.value))
    steps = np.arange(1, length)
    expected = (1 - discount) * discount ** (steps - 1)
    expected[-1] = discount ** (length - 2)
    counts = np.bincount(ahead, minlength=length)[1:]
    assert counts.sum() == number
    assert counts[expected == 0].sum() == 0
    kept = expected > 0
    chi_squared = np.sum(np.square(counts - number * expected)[kept] / (number * expected[kept]))
    assert chi_squared < 29.6  # of at most 10 degrees, 0.1 %


@settings(deadline=None, max_examples=20)
@given(
    layouts, st.sampled_from([1, 3]), st.booleans(), st.booleans(), st.sampled_from([0.0, 0.9, 1.0]), st.integers(0, 99)
)
def test_returns_under_goals_equal_a_loop(
    lengths: Sequence[int], horizon: int, chunk: bool, negative: bool, discount: float, seed: int
) -> None:
    """Step by step, as OGBench rewards them: success where the state's row is the goal's, and then an end."""
    if chunk and max(lengths) < horizon:
        return
    goals = made(lengths, only("cur", gc_negative=negative), discount, horizon, chunk)
    rows = np.flatnonzero(~counted(lengths).last)
    value, actor = np.random.default_rng(seed).choice(rows, (2, len(goals)))
    found = jax.tree.map(np.asarray, relabelled(goals, jnp.arange(len(goals)), jnp.asarray(value), jnp.asarray(actor)))
    for i, goal in enumerate(value):
        row, after = int(goals.starts[i]), int(goals.nexts[i])
        total, weight = 0.0, 1.0
        for passed in range(row, after):
            success = float(passed == goal)
            total += weight * (success - (1 if negative else 0))
            weight *= discount * (1 - success)
        np.testing.assert_allclose(found.reward[i], total, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(found.discount[i], weight, rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(found.observation[i, 1::2], [row, goal])
        np.testing.assert_array_equal(found.next_observation[i, 1::2], [after, goal])
        np.testing.assert_array_equal(found.actor_observation[i, 1::2], [row, actor[i]])


def test_a_step_is_rewarded_as_ogbench_publishes_it() -> None:
    """reward = success - 1 and mask = 1 - success, where success says that the state is the goal."""
    state, goal, _ = drawn(goals := made([30, 30], GoalSampling(), 0.97))
    batch = sample(goals, jax.random.key(0), 4096)
    success = (state == goal).astype(np.float32)
    assert 0.2 < success.mean() < 0.25
    np.testing.assert_array_equal(batch.reward, success - 1)
    np.testing.assert_array_equal(batch.discount, np.float32(0.97) * (1 - success))


def test_observations_are_stored_once_and_a_goal_is_joined_to_them() -> None:
    goals = made([4, 6], GoalSampling())
    assert goals.goals.goals is goals.observations
    assert isinstance(goals, Feed)
    assert len(goals) == 10
    example, batch = goals.example(), sample(goals, jax.random.key(0), 3)
    assert [leaf.shape for leaf in example] == [leaf.shape[1:] for leaf in batch]
    assert example.observation.shape == (4,)
    np.testing.assert_array_equal(batch.acting.observation, batch.actor_observation)
    np.testing.assert_array_equal(batch.acting.next_observation, batch.next_observation)


def test_a_goal_may_be_of_other_numbers_than_an_observation() -> None:
    dataset = counted([4, 6])
    goals = cut(dataclasses.replace(dataset, goals=dataset.observations[:, 1:]), only("cur"))
    batch = sample(goals, jax.random.key(0), 50)
    np.testing.assert_array_equal(batch.observation[:, 2], batch.observation[:, 1])


def test_channels_join_channels() -> None:
    dataset = counted([4, 6])
    images = np.broadcast_to(np.arange(12, dtype=np.uint8)[:, None, None, None], (12, 8, 8, 3))
    goals = cut(dataclasses.replace(dataset, observations=images, goals=images), only("cur"))
    batch = sample(goals, jax.random.key(0), 5)
    assert (batch.observation.shape, batch.observation.dtype) == ((5, 8, 8, 6), jnp.uint8)
    np.testing.assert_array_equal(batch.observation[..., :3], batch.observation[..., 3:])


def test_the_same_key_draws_the_same_goals_in_a_compiled_call_too() -> None:
    goals = made([4, 6], GoalSampling())
    first, again, other = (sample(goals, jax.random.key(seed), 3) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    jax.tree.map(np.testing.assert_array_equal, first, goals.sample(jax.random.key(0), 3))
    assert not np.array_equal(first.observation, other.observation)


def test_data_without_goals_is_cut_as_ever() -> None:
    dataset = dataclasses.replace(counted([4, 6]), goals=None)
    plain, ours = dataset.cut(0.9, 2), cut(dataset, GoalSampling(), 0.9, 2)
    assert isinstance(ours, Transitions)
    jax.tree.map(np.testing.assert_array_equal, plain, ours)
    batch = ours.sample(jax.random.key(0), 4)
    assert batch.acting is batch
    assert dataset.fingerprint != counted([4, 6]).fingerprint


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        (lambda: GoalSampling(value_p_curgoal=0.3), "value-p-curgoal, .* must sum to 1, but sum to 1.1"),
        (lambda: GoalSampling(actor_p_trajgoal=2, actor_p_curgoal=-1), "actor-p-curgoal must be between 0 and 1"),
        (
            lambda: cut(dataclasses.replace(counted([3]), goals=np.zeros((4, 1), np.uint8)), GoalSampling()),
            r"goals must be joined to the observations along their last axis, but they are uint8\[4, 1\]",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(mistake, sentence):  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=sentence):
        mistake()
