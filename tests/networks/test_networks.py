"""Networks: arrays in the leaves, the numbers of the published code, one observation at a time."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from guidedflow.networks import (
    MLP,
    NORMED,
    PLAIN,
    Aggregate,
    Critic,
    OneStepActor,
    RawTime,
    SinusoidalTime,
    VelocityField,
)

KEY = jax.random.key(0)
OBSERVATION = jnp.linspace(-1.0, 1.0, 4)
ACTION = jnp.array([0.3, -0.2, 0.9])


def networks() -> dict[str, Any]:
    return {
        "mlp": MLP(7, (8, 8), 3, style=NORMED, key=KEY),
        "flow": VelocityField((4,), 3, (8, 8), SinusoidalTime(), key=KEY),
        "raw flow": VelocityField((4,), 3, (8, 8), RawTime(), key=KEY),
        "actor": OneStepActor((4,), 3, (8, 8), key=KEY),
        "critic": Critic((4,), 3, (8, 8), key=KEY),
    }


def call(name: str, network: Any, observation: jax.Array, action: jax.Array) -> jax.Array:
    if name == "mlp":
        return network(jnp.concatenate([observation, action]))
    function = network.given(observation)
    return function(action, 0.3) if "flow" in name else function(action)


@pytest.mark.parametrize("name", networks())
def test_every_leaf_is_an_array(name: str) -> None:
    """So plain jit, vmap, grad and a checkpoint need no filter; sizes and embeddings are structure."""
    leaves = jax.tree.leaves(networks()[name])
    assert leaves
    assert all(isinstance(leaf, jax.Array) and leaf.dtype == jnp.float32 for leaf in leaves)


@pytest.mark.parametrize("name", networks())
def test_one_example_equals_its_row_in_a_batch(name: str) -> None:
    network = networks()[name]
    observations = jax.random.normal(KEY, (5, 4))
    actions = jax.random.normal(KEY, (5, 3))
    batch = jax.vmap(lambda observation, action: call(name, network, observation, action))(observations, actions)
    for observation, action, row in zip(observations, actions, batch, strict=True):
        np.testing.assert_allclose(row, call(name, network, observation, action), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", networks())
def test_a_network_depends_on_observation_and_action(name: str) -> None:
    network = networks()[name]
    result = call(name, network, OBSERVATION, ACTION)
    assert not jnp.allclose(result, call(name, network, OBSERVATION + 1, ACTION))
    assert not jnp.allclose(result, call(name, network, OBSERVATION, ACTION + 1))


def test_a_velocity_depends_on_the_time() -> None:
    for name in ("flow", "raw flow"):
        velocity = networks()[name].given(OBSERVATION)
        assert not jnp.allclose(velocity(ACTION, 0.0), velocity(ACTION, 0.9))


def test_outputs_have_the_shapes_that_they_are_called_for() -> None:
    shapes = {name: call(name, network, OBSERVATION, ACTION).shape for name, network in networks().items()}
    assert shapes == {"mlp": (3,), "flow": (3,), "raw flow": (3,), "actor": (3,), "critic": (2,)}


# Time embeddings


def test_the_sinusoidal_embedding_has_its_published_values() -> None:
    embedded = SinusoidalTime()(0.5)
    assert embedded.shape == (64,)
    found = embedded[jnp.array([0, 1, 31, 32, 33, 63])]
    np.testing.assert_allclose(found, [0.479426, 0.362997, 5.0e-5, 0.877583, 0.931790, 1.0], atol=1e-6)


def test_frequencies_fall_geometrically_from_1_to_1e_4() -> None:
    """The slope of sin(t f) at t = 0 is f."""
    frequencies = jax.jacfwd(SinusoidalTime())(0.0)[:32]
    np.testing.assert_allclose(frequencies[jnp.array([0, 1, 31])], [1.0, 0.742964, 1e-4], rtol=1e-5)
    np.testing.assert_allclose(frequencies[1:] / frequencies[:-1], np.full(31, 0.742964), rtol=1e-4)


def test_an_embedding_says_its_size() -> None:
    for embedding in (RawTime(), SinusoidalTime(), SinusoidalTime(16)):
        assert embedding(0.5).shape == (embedding.size,)
    assert RawTime()(0.25).tolist() == [0.25]


# The multilayer perceptron


def by_hand(layer_norm: bool, scale: float) -> MLP:
    """One unit in, two hidden, one out; hidden weights 1 and 2, output the first hidden number times `scale`."""
    mlp = MLP(1, (2,), 1, style=NORMED if layer_norm else PLAIN, key=KEY)
    leaves = [jnp.array([[1.0, 2.0]]), jnp.zeros(2), jnp.array([[scale], [0.0]]), jnp.zeros(1)]
    norms = [jnp.ones(2), jnp.zeros(2)] if layer_norm else []
    return jax.tree.unflatten(jax.tree.structure(mlp), leaves + norms)


@pytest.mark.parametrize(("x", "expected"), [(-1, -0.158808), (0.5, 0.345714), (1, 0.841192), (2, 1.954598)])
def test_gelu_is_its_tanh_form(x: float, expected: float) -> None:
    """The exact form would give 0.841345 at 1."""
    assert by_hand(layer_norm=False, scale=1.0)(jnp.array([float(x)]))[0] == pytest.approx(expected, abs=2e-6)


def test_layer_norm_comes_after_the_activation_with_epsilon_1e_6() -> None:
    """At x = 1 the hidden numbers are GELU(1) and GELU(2); of two numbers the first becomes -1 but for epsilon."""
    low, high = 0.841192, 1.954598
    deviation = (high - low) / 2
    expected = -deviation / np.sqrt(deviation**2 + 1e-6)
    assert by_hand(layer_norm=True, scale=1.0)(jnp.array([1.0]))[0] == pytest.approx(expected, abs=2e-6)
    # Where the hidden numbers nearly agree, epsilon is what counts.
    tiny = 1e-3
    low, high = (0.5 * x + x * x / np.sqrt(2 * np.pi) for x in (tiny, 2 * tiny))  # GELU to second order
    deviation = (high - low) / 2
    expected = -deviation / np.sqrt(deviation**2 + 1e-6)
    assert by_hand(layer_norm=True, scale=1.0)(jnp.array([tiny]))[0] == pytest.approx(expected, rel=1e-3)


def test_the_output_is_linear() -> None:
    double, single = (by_hand(layer_norm=True, scale=scale)(jnp.array([3.0])) for scale in (100.0, 50.0))
    np.testing.assert_allclose(double, 2 * single, rtol=1e-6)


def test_only_hidden_layers_of_a_critic_are_normalised() -> None:
    shapes = networks()
    assert len(shapes["mlp"].norms) == 2
    assert all(len(member.norms) == 2 for member in shapes["critic"].members)
    assert shapes["flow"].mlp.norms == shapes["actor"].mlp.norms == ()


def test_initial_weights_have_variance_2_over_inputs_plus_outputs_and_no_bias() -> None:
    """Uniform, and for the output layer too: its limit is sqrt(6 / (inputs + outputs))."""
    mlp = MLP(100, (200, 200), 150, key=KEY)
    for layer in mlp.layers:
        inputs, outputs = layer.weight.shape
        variance = 2 / (inputs + outputs)
        assert float(jnp.var(layer.weight)) == pytest.approx(variance, rel=0.05)
        assert float(jnp.max(jnp.abs(layer.weight))) == pytest.approx(np.sqrt(3 * variance), rel=0.01)
        np.testing.assert_array_equal(layer.bias, jnp.zeros(outputs))


def test_layers_begin_with_different_weights() -> None:
    first, second = MLP(8, (8, 8), 8, key=KEY).layers[:2]
    assert not jnp.any(first.weight == second.weight)


# Ensembles


def test_members_of_an_ensemble_differ_from_the_start() -> None:
    critic = Critic((4,), 3, (8,), size=3, key=KEY)
    values = critic.given(OBSERVATION)(ACTION)
    assert values.shape == (3,)
    assert len(set(values.tolist())) == 3


def test_each_value_of_an_ensemble_is_its_members_own() -> None:
    critic = Critic((4,), 3, (8,), key=KEY)
    alone = [member(jnp.concatenate([OBSERVATION, ACTION]))[0] for member in critic.members]
    np.testing.assert_allclose(critic.given(OBSERVATION)(ACTION), jnp.stack(alone), rtol=1e-6)


def test_aggregates_are_the_mean_and_the_smallest() -> None:
    values = jnp.array([3.0, 1.0])
    assert Aggregate.mean(values) == 2.0
    assert Aggregate.min(values) == 1.0


def test_the_same_key_gives_the_same_network_and_another_key_another() -> None:
    one, again, other = (
        jax.tree.leaves(Critic((4,), 3, (8,), key=key)) for key in (KEY, jax.random.key(0), jax.random.key(1))
    )
    assert all(jnp.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not any(jnp.array_equal(a, b) for a, b in zip(one, other, strict=True) if a.ndim == 2)
