"""What figures of a critic promise, on critics and policies that are written down."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from guidedflow.algorithms.parts import figures

STATES = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (256, 2)), jnp.float32)
ACTIONS = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (256, 2)), jnp.float32)


def near_the_state(actions: Float[Array, "batch 2"]) -> Float[Array, " batch"]:
    """Values of a critic whose policy is better than the data: it goes where its state is."""
    return -jnp.sum(jnp.square(actions - STATES), axis=1)


def near_a_corner(actions: Float[Array, "batch 2"]) -> Float[Array, " batch"]:
    """Values of a critic that prefers one corner of the box, whatever the state."""
    return jnp.sum(actions, axis=1) + jnp.sum(STATES, axis=1) / 10


def test_a_better_policy_gains_in_its_own_states_alone_and_an_overestimated_region_everywhere() -> None:
    settled, swapped = jnp.zeros(()), jnp.roll(STATES, 1, axis=0)
    assert float(figures.swapped_gain(near_the_state(ACTIONS), near_the_state(swapped), settled)) < 0.1
    corner = jnp.ones_like(ACTIONS)
    assert float(figures.swapped_gain(near_a_corner(ACTIONS), near_a_corner(corner), settled)) > 1


def test_a_critic_that_has_not_settled_is_not_judged() -> None:
    for bias in (-0.2, 0.2):
        gain = figures.swapped_gain(near_a_corner(ACTIONS), near_a_corner(jnp.ones_like(ACTIONS)), jnp.asarray(bias))
        assert np.isnan(gain)
