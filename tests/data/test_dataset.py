"""Transitions never step over the end of an episode, and carry the rewards and discounts of their own row."""

import copy
import dataclasses

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_data import episodes

from guidedflow.data.dataset import first_unfinite_row
from guidedflow.data.transitions import Transitions
from guidedflow.errors import InputError

lengths = st.lists(st.integers(0, 6), min_size=1, max_size=8).filter(any)


@settings(deadline=None)
@given(lengths)
def test_a_transition_leads_to_the_next_step_of_its_episode(lengths):
    dataset = episodes(lengths)
    cut = jax.tree.map(np.asarray, dataset.cut(discount=0.9))
    assert len(dataset) == len(cut) == sum(lengths)
    assert dataset.episodes == len(lengths)
    steps = cut.observations[cut.nexts] - cut.observations[cut.starts]
    np.testing.assert_array_equal(steps, np.tile([0, 1], (len(dataset), 1)))
    np.testing.assert_array_equal(cut.rewards, -cut.starts)
    np.testing.assert_array_equal(cut.discounts, np.float32(0.9) * (cut.starts % 3 != 0))


@settings(deadline=None)
@given(lengths, st.integers(1, 5), st.booleans(), st.integers(0, 2**31))
def test_returns_equal_a_loop_over_each_episode(lengths, horizon, chunk, seed):
    """Rewards until the horizon, the end of the episode or a mask of 0, whichever comes first."""
    random = np.random.default_rng(seed)
    dataset = episodes(lengths)
    dataset = dataclasses.replace(
        dataset,
        rewards=random.normal(size=len(dataset.last)).astype(np.float32),
        masks=random.integers(0, 2, len(dataset.last)).astype(np.float32),
    )
    if chunk and max(lengths) < horizon:
        with pytest.raises(InputError, match=f"a chunk of {horizon} steps fits into no episode, the longest has"):
            dataset.cut(0.9, horizon, chunk)
        return
    found = jax.tree.map(np.asarray, dataset.cut(0.9, horizon, chunk))
    expected, begin = [], 0
    for length in lengths:
        for start in range(length + 1 - horizon if chunk else length):
            total, discount, steps = 0.0, 1.0, min(horizon, length - start)
            for step in range(steps):
                row = begin + start + step
                total += discount * dataset.rewards[row]
                discount *= 0.9 * dataset.masks[row]
            expected.append((begin + start, begin + start + steps, total, discount))
        begin += length + 1
    starts, nexts, rewards, discounts = zip(*expected, strict=True)
    np.testing.assert_array_equal(found.starts, starts)
    np.testing.assert_array_equal(found.nexts, nexts)
    np.testing.assert_allclose(found.rewards, rewards, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.discounts, discounts, rtol=1e-5)


@settings(deadline=None, max_examples=8)
@given(lengths, st.integers(1, 4))
def test_no_chunk_crosses_the_end_of_an_episode(lengths, horizon):
    """The observation is (episode, step) and the action is the row's number, so a batch shows where it is from."""
    if max(lengths) < horizon:
        return
    dataset = episodes(lengths)
    cut = dataset.cut(0.9, horizon, chunk=True)
    batch = jax.tree.map(np.asarray, cut.take(jnp.arange(len(cut))))
    assert batch.action.shape == batch.next_action.shape == (len(cut), horizon)
    rows = batch.action.astype(int)
    np.testing.assert_array_equal(rows, rows[:, :1] + np.arange(horizon))
    np.testing.assert_array_equal(dataset.observations[rows][:, :, 0], batch.observation[:, :1].repeat(horizon, 1))
    assert not dataset.last[rows].any()
    following = batch.next_action.astype(int)
    np.testing.assert_array_equal(dataset.observations[following][:, :, 0], rows * 0 + batch.observation[:, :1])
    np.testing.assert_array_equal(following[:, 0], rows[:, -1] + 1)


@settings(deadline=None, max_examples=5)
@given(lengths, st.integers(1, 4), st.integers(1, 3), st.sampled_from([(), (2, 3)]))
def test_stacked_frames_equal_a_loop_over_each_episode(lengths, frame_stack, horizon, size):
    """Of states and of images: the newest last, along the last axis, never from before the episode."""
    dataset = episodes(lengths, pixels=True)
    spread = np.ones((*size, 1), np.uint8) if size else 1
    observations = dataset.observations[:, None, None, :] * spread if size else dataset.observations
    dataset = dataclasses.replace(dataset, observations=observations)
    transitions = dataset.cut(0.9, horizon, frame_stack=frame_stack)
    batch = transitions.take(jnp.arange(len(transitions)))
    expected, first = [], 0
    for length in lengths:
        for start in range(length):
            pair = first + start, first + min(start + horizon, length)
            ages = range(frame_stack - 1, -1, -1)
            expected += [np.concatenate([observations[max(row - age, first)] for age in ages], axis=-1) for row in pair]
        first += length + 1
    np.testing.assert_array_equal(batch.observation, np.stack(expected[::2]))
    np.testing.assert_array_equal(batch.next_observation, np.stack(expected[1::2]))
    assert batch.observation.dtype == jnp.uint8
    assert transitions.observations.shape == observations.shape
    assert transitions.example().observation.shape == (*size, 2 * frame_stack)


def test_every_whole_chunk_is_cut():
    assert len(episodes([4, 2, 3]).cut(0.9, 3, chunk=True)) == 2 + 0 + 1


def test_a_batch_has_what_its_indices_point_to():
    transitions = episodes([2, 0, 3]).cut(discount=0.5)
    batch = transitions.take(jnp.array([1, 2, 4]))
    np.testing.assert_array_equal(batch.observation, [[0, 1], [2, 0], [2, 2]])
    np.testing.assert_array_equal(batch.next_observation, [[0, 2], [2, 1], [2, 3]])
    np.testing.assert_array_equal(batch.action, [[1], [4], [6]])
    np.testing.assert_array_equal(batch.next_action, [[2], [5], [7]])
    np.testing.assert_array_equal(batch.reward, [-1, -4, -6])
    np.testing.assert_array_equal(batch.discount, [0.5, 0.5, 0])


@settings(max_examples=10, deadline=None)
@given(lengths, st.integers(0, 2**31), st.sampled_from([1, 40]))
def test_a_sample_is_made_of_transitions_of_the_dataset(lengths, seed, batch_size):
    transitions = episodes(lengths).cut()
    batch = transitions.sample(jax.random.key(seed), batch_size)
    assert all(len(column) == batch_size for column in jax.tree.leaves(batch))
    assert np.isin(batch.action[:, 0], transitions.starts).all()


def test_a_sample_is_uniform_and_repeats_for_its_key():
    transitions = episodes([3, 1, 6]).cut()
    draw = jax.jit(Transitions.sample, static_argnums=2)
    batch = draw(transitions, jax.random.key(0), 20_000)
    again = draw(transitions, jax.random.key(0), 20_000)
    np.testing.assert_array_equal(batch.reward, again.reward)
    _, counts = np.unique(batch.action, return_counts=True)
    assert len(counts) == 10
    np.testing.assert_allclose(counts, 2000, rtol=0.1)


def test_images_stay_bytes_and_numbers_single_precision():
    batch = episodes([4], pixels=True).cut().sample(jax.random.key(1), 3)
    assert batch.observation.dtype == batch.next_observation.dtype == jnp.uint8
    assert {column.dtype for column in (batch.action, batch.reward, batch.discount)} == {jnp.dtype(jnp.float32)}


def test_an_example_is_the_first_transition_without_a_batch_axis():
    transitions = episodes([2, 2]).cut()
    example, batch = transitions.example(), transitions.take(jnp.arange(1))
    jax.tree.map(lambda one, many: np.testing.assert_array_equal(one, many[0]), example, batch)


def test_observations_are_stored_once_and_transitions_are_a_pytree():
    transitions = episodes([5, 5]).cut()
    assert transitions.observations.shape == (12, 2)
    leaves, structure = jax.tree.flatten(transitions)
    assert len(leaves) == 7
    assert len(jax.tree.unflatten(structure, leaves)) == 10
    assert jax.eval_shape(lambda transitions: transitions, transitions).actions.shape == (12, 1)


def test_the_fingerprint_tells_contents_apart_and_ignores_the_name():
    dataset = episodes([3, 2])
    assert dataclasses.replace(dataset, name="renamed").fingerprint == dataset.fingerprint
    rewards = dataset.rewards.copy()
    rewards[0] += 1
    assert dataclasses.replace(dataset, rewards=rewards).fingerprint != dataset.fingerprint
    assert episodes([2, 3]).fingerprint != dataset.fingerprint


def test_a_dataset_shows_shapes_and_not_numbers():
    shown = repr(episodes([3, 2]))
    assert "episodes=2, transitions=5, observations=float32[7, 2]" in shown
    assert "array(" not in shown


@pytest.fixture
def unchecked():
    """Annotations are not checked, as outside of tests."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("rewards", np.array([0, np.nan, 0, 0], np.float32), "rewards is not finite in row 1"),
        ("observations", np.array([[0.0], [1], [2], [np.inf]], np.float32), "observations is not finite in row 3"),
        ("last", np.array([False, True, True, False]), "the final row must end an episode"),
        ("last", np.array([0, 1, 0, 1]), r"last must be bool\[rows\], but is int64\[4\]"),
        ("actions", np.zeros(4, np.float32), r"actions must be float32\[rows, numbers\], but is float32\[4\]"),
        ("rewards", np.zeros(4, int), r"rewards must be float32\[rows\], but is int64\[4\]"),
    ],
)
def test_columns_that_cannot_be_cut_are_refused(column, value, sentence, unchecked):
    with pytest.raises(InputError, match=sentence):
        dataclasses.replace(episodes([1, 1]), **{column: value})


def test_the_first_row_that_is_not_finite_is_found_in_any_block():
    column = np.zeros((3000, 1000), np.float32)
    assert first_unfinite_row(column) is None
    column[2999, 17] = column[2990, 3] = np.nan
    assert first_unfinite_row(column) == 2990
    assert first_unfinite_row(np.zeros(3, np.uint8)) is None


def made_again(dataset, **columns):
    """The dataset with other columns, past the type checker of the tests, which refuses them in other words."""
    changed = copy.copy(dataset)
    changed.__dict__.pop("fingerprint", None)
    for name, column in columns.items():
        object.__setattr__(changed, name, column)
    changed.__post_init__()
    return changed


def test_columns_of_jax_are_checked_and_told_apart_as_those_of_numpy():
    dataset = episodes([3, 2])
    same = made_again(dataset, rewards=jnp.asarray(dataset.rewards), observations=jnp.asarray(dataset.observations))
    assert isinstance(same.rewards, np.ndarray)
    assert same.fingerprint == dataset.fingerprint
    assert made_again(dataset, rewards=jnp.asarray(dataset.rewards) * 5 - 1).fingerprint != dataset.fingerprint
    with pytest.raises(InputError, match="rewards has 2 rows, observations has 7"):
        made_again(dataset, rewards=jnp.zeros(2))
    with pytest.raises(InputError, match="observations is not finite in row 0"):
        made_again(dataset, observations=jnp.full((7, 2), jnp.nan))


def test_a_column_that_is_no_array_is_an_error():
    with pytest.raises(InputError, match="observations must be an array, but is a list"):
        made_again(episodes([3]), observations=[[0.0]] * 4)


@pytest.mark.parametrize("mask", [7.0, -0.5])
def test_a_mask_is_between_0_and_1(mask):
    with pytest.raises(InputError, match=f"masks must be between 0 and 1, found {mask} in row 1"):
        dataclasses.replace(episodes([3]), masks=np.float32([1, mask, 1, 1]))


@pytest.mark.parametrize("kind", ["<i8", ">i8", ">f4", ">f8", "<f2", "<u2", "?"])
def test_numbers_of_any_type_become_single_precision_and_never_wrap(kind, unchecked):
    plain = episodes([3, 2])
    numbers = (plain.observations.astype(np.float64) * (1 if kind in ("?", "<f2", "<u2") else 2**33)).astype(kind)
    dataset = dataclasses.replace(plain, observations=numbers)
    assert dataset.observations.dtype == np.float32
    assert dataset.observations.dtype.isnative
    np.testing.assert_array_equal(dataset.observations, numbers.astype(np.float64).astype(np.float32))
    assert dataset.cut().observations.dtype == jnp.float32
    swapped = dataclasses.replace(plain, actions=plain.actions.astype(">f4"), rewards=plain.rewards.astype(">f4"))
    assert swapped.fingerprint == plain.fingerprint


def test_a_masked_number_is_refused_and_an_array_without_one_is_taken(unchecked):
    plain = episodes([3, 2])
    hidden = np.ma.masked_greater(plain.rewards, -5)
    with pytest.raises(InputError, match="rewards is masked in row 0; fill it in, or leave that episode out"):
        dataclasses.replace(plain, rewards=hidden)
    whole = dataclasses.replace(plain, rewards=np.ma.masked_array(plain.rewards))
    assert whole.fingerprint == plain.fingerprint
    assert type(whole.rewards) is np.ndarray


@pytest.mark.parametrize("kind", ["<c8", "<U3", "O"])
def test_what_is_no_number_is_no_observation(kind, unchecked):
    plain = episodes([3, 2])
    with pytest.raises(InputError, match="observations must be numbers, but are"):
        dataclasses.replace(plain, observations=plain.observations.astype(kind))
