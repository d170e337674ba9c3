"""Densities integrate to one, samples have their law, and chains reach the law that they are for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from guidedflow.flows import hmc
from guidedflow.flows.densities import Mixture


@pytest.mark.parametrize("squashed", [True, False])
def test_a_density_integrates_to_one_and_its_samples_have_it(squashed: bool) -> None:
    weights = jnp.log(jnp.asarray([0.3, 0.7]))
    density = Mixture(weights, jnp.asarray([[-0.8], [0.6]]), jnp.asarray([[0.3], [0.5]]), squashed)
    edge = 0.99999 if squashed else 4.0
    grid = jnp.linspace(-edge, edge, 2_001)
    values = jnp.exp(jax.vmap(lambda a: density.log_density(a[None]))(grid))
    assert jnp.trapezoid(values, grid) == pytest.approx(1, abs=5e-3)
    samples = jax.vmap(density.sample)(jax.random.split(jax.random.key(0), 8_000))
    assert jnp.mean(samples) == pytest.approx(float(jnp.trapezoid(values * grid, grid)), abs=0.03)
    np.testing.assert_allclose(density.mode(), jnp.tanh(0.6) if squashed else 0.6, rtol=1e-5)


def test_a_drawn_actions_log_density_is_that_of_the_action() -> None:
    density = Mixture(jnp.zeros(1), jnp.asarray([[0.3, -0.5]]), jnp.asarray([[0.5, 0.2]]), True)
    action, log_density = density.draw(jnp.asarray([0.7, -1.1]))
    assert density.log_density(action) == pytest.approx(float(log_density), abs=1e-4)


def test_a_chain_reaches_a_tilted_gaussian() -> None:
    """N(0, 1) tilted by exp(2 a) is N(2, 1)."""

    def log_density(action: jax.Array) -> jax.Array:
        return jnp.sum(-0.5 * jnp.square(action) + 2 * action)

    def run(key: jax.Array) -> jax.Array:
        return hmc.chain(log_density, jnp.zeros(1), key, samples=50, burn_in=20, step_size=0.7)

    samples = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), 200))
    assert jnp.mean(samples) == pytest.approx(2, abs=0.06)
    assert jnp.std(samples) == pytest.approx(1, abs=0.06)


def test_a_chain_stays_where_the_density_is_not_finite_elsewhere() -> None:
    def log_density(action: jax.Array) -> jax.Array:
        return jnp.sum(jnp.log(jnp.where(jnp.abs(action) < 0.01, 1.0, jnp.nan)))

    samples = hmc.chain(log_density, jnp.zeros(1), jax.random.key(0), samples=5)
    assert np.isfinite(samples).all()
