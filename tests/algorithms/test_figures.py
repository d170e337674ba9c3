"""What figures of a critic promise, on critics and policies that are written down."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from guidedflow.algorithms import DQC
from guidedflow.algorithms.parts import figures
from guidedflow.types import Transition

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


def test_a_policy_of_shorter_chunks_than_the_data_is_compared_with_their_first_part() -> None:
    """Chunks of four steps of one number, of which the policy acts by the first two."""
    zeros = jnp.zeros(8)
    batch = Transition(STATES[:8], jnp.zeros((8, 4)), zeros, zeros, STATES[:8], jnp.zeros((8, 4)))
    algorithm = DQC(ratio=2, hidden=(4,))
    example = jax.tree.map(lambda leaf: leaf[0], batch)

    def measured(key: Array) -> dict[str, Array]:
        policies = algorithm.policies(algorithm.init(example, key))
        assert policies["flow"].action_size == 2
        return figures.of_policies(policies, batch, zeros, jnp.asarray([-1.0, 0.0]), key)

    found = jax.eval_shape(measured, jax.random.key(0))
    assert {"policy_data_distance", "q_policy_minus_data", "flow_diversity"} <= found.keys()
