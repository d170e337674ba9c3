"""Sources, MeanFlow and reflection keep what they promise, for any velocity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from guidedflow.flows.meanflow import Prediction, generate, mean_flow_error
from guidedflow.flows.reflection import Reflection, integrate_reflected, reflect
from guidedflow.flows.sources import Latent, ball


def test_sources_lie_where_they_say() -> None:
    key, shape = jax.random.key(0), (4000, 3)
    norms = jnp.linalg.norm(Latent.sphere.value.source.draw(key, shape), axis=1)
    np.testing.assert_allclose(norms, 3**0.5, rtol=1e-3)
    inside = jnp.linalg.norm(ball.draw(key, shape), axis=1) / 3**0.5
    assert inside.max() <= 1
    assert jnp.mean(inside < 0.5) == pytest.approx(0.125, abs=0.02), "uniform in volume"
    assert jnp.abs(Latent.truncated_normal.value.source.draw(key, shape)).max() <= 2
    assert jnp.abs(Latent.uniform.value.source.draw(key, shape)).max() <= 1


def test_an_actors_latents_lie_where_those_of_the_source_do() -> None:
    vectors = 10 * jax.random.normal(jax.random.key(0), (200, 3))
    norms = jnp.linalg.norm(Latent.sphere.value.bound(vectors), axis=1)
    np.testing.assert_allclose(norms, 3**0.5, rtol=1e-3)
    assert jnp.abs(Latent.truncated_normal.value.bound(vectors)).max() <= 2
    assert jnp.abs(Latent.uniform.value.bound(vectors)).max() <= 1
    np.testing.assert_array_equal(Latent.normal.value.bound(vectors), vectors)


def test_the_average_velocity_of_a_flow_in_closed_form_has_no_error() -> None:
    """All data at one action b: from a at time t, the average velocity to any later time is (b - a) / (1 - t)."""
    b, noise = jnp.asarray([0.3, -0.6]), jnp.asarray([1.0, 2.0])

    def average(point: jax.Array, start: jax.Array, end: jax.Array) -> jax.Array:
        return (b - point) / (1 - start)

    for start, end in ((0.0, 1.0), (0.2, 0.9), (0.5, 0.5)):
        assert mean_flow_error(average, noise, b, start, end) == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(generate(average, noise), b, atol=1e-6)
    clean = Prediction.clean(lambda point, start, end: point + average(point, start, end))
    np.testing.assert_allclose(clean(noise, 0.0, 1.0), average(noise, 0.0, 1.0), atol=1e-6)


@pytest.mark.parametrize("reflection", Reflection)
def test_a_reflected_flow_never_leaves_the_ball(reflection: Reflection) -> None:
    def velocity(point: jax.Array, t: jax.Array) -> jax.Array:
        return jnp.asarray([4.0, 0.5, -1.0]) + 3 * jnp.sin(5 * point)

    starts = ball.draw(jax.random.key(0), (200, 3))
    ends = jax.vmap(lambda start: integrate_reflected(velocity, start, 10, 3**0.5, reflection))(starts)
    assert jnp.linalg.norm(ends, axis=1).max() <= 3**0.5 + 1e-5
    gradient = jax.vmap(jax.grad(lambda start: jnp.sum(integrate_reflected(velocity, start, 10, 3**0.5, reflection))))
    assert np.isfinite(gradient(starts)).all()


def test_the_published_reflection_keeps_the_direction_and_does_not_lengthen() -> None:
    point, step = jnp.asarray([0.5, 0.2]), jnp.asarray([2.0, 1.0])
    after = reflect(point, step, 1.0)
    assert jnp.linalg.norm(after) <= jnp.linalg.norm(point)
    np.testing.assert_allclose(
        after / jnp.linalg.norm(after), (point + step) / jnp.linalg.norm(point + step), rtol=1e-5
    )
    np.testing.assert_allclose(reflect(point, step / 10, 1.0), point + step / 10, rtol=1e-6)
