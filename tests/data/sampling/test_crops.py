"""Crops move both images of a transition alike, all of a batch or none of it, and change nothing else."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_data import film

from guidedflow.data.sampling.crops import PADDING, crop

IMAGE = np.random.default_rng(0).integers(0, 256, (6, 5, 2), np.uint8)
KEYS = jax.random.split(jax.random.key(0), 200)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2 * PADDING), st.integers(0, 2 * PADDING))
def test_a_crop_is_cut_from_the_padded_image(row, column):
    padded = np.pad(IMAGE, ((3, 3), (3, 3), (0, 0)), mode="edge")
    found = crop(jnp.asarray(IMAGE), jnp.array([row, column]))
    assert found.dtype == jnp.uint8
    np.testing.assert_array_equal(found, padded[row : row + 6, column : column + 5])


def test_the_crop_in_the_middle_is_the_image():
    np.testing.assert_array_equal(crop(jnp.asarray(IMAGE), jnp.array([PADDING, PADDING])), IMAGE)


def sampled(probability):
    """Batches of four from 200 keys, with crops of this probability."""
    draw = jax.jit(lambda batches, key: batches.sample(key, 4))
    return jax.tree.map(
        np.asarray, jax.lax.map(lambda key: draw(dataclasses.replace(film().cut(), crops=probability), key), KEYS)
    )


def test_crops_of_probability_0_change_no_bit_and_others_only_the_images():
    plain = jax.lax.map(lambda key: film().cut().sample(key, 4), KEYS)
    never, always = sampled(0.0), sampled(1.0)
    for name, column, unchanged, changed in zip(plain._fields, plain, never, always, strict=True):
        np.testing.assert_array_equal(column, unchanged)
        assert column is changed is None or np.array_equal(column, changed) == ("observation" not in name)


def test_a_batch_is_cropped_with_its_probability_all_of_it_or_nothing():
    never, half, always = sampled(0.0), sampled(0.5), sampled(1.0)
    cropped = (half.observation != never.observation).any((1, 2, 3, 4))
    assert 0.4 < cropped.mean() < 0.6
    for found, whole, full in zip(half[::4], never[::4], always[::4], strict=True):  # the two observations
        np.testing.assert_array_equal(found[cropped], full[cropped])
        np.testing.assert_array_equal(found[~cropped], whole[~cropped])


def test_both_observations_move_by_the_same_pixels_and_those_of_other_transitions_by_others():
    """Each image is a picture of its own coordinates, so that a crop tells where it was cut."""
    coordinates = np.stack(np.meshgrid(np.arange(6), np.arange(5), indexing="ij"), axis=-1).astype(np.uint8)
    data = film()
    data = dataclasses.replace(data, observations=np.broadcast_to(coordinates, data.observations.shape))
    batch = dataclasses.replace(data.cut(), crops=1.0).sample(jax.random.key(1), 64)
    np.testing.assert_array_equal(batch.observation, batch.next_observation)
    assert len(np.unique(batch.observation, axis=0)) > 20
