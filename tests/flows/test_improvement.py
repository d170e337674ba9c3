"""The closed-form improvement: parity with its published code, and what it promises."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_file import Golden

from guidedflow.errors import InputError
from guidedflow.flows.densities import Mixture
from guidedflow.flows.improvement import CFPI, Bound, around


def value_of(file: Golden, observation: jax.Array) -> jax.Array:
    """The lower bound of the file's critic: two quantile networks, or the mean of an ensemble of ten."""
    arrays = {name: jnp.asarray(array) for name, array in file.arrays.items() if name.startswith("params/critic")}

    def dense(i: int, place: str, x: jax.Array) -> jax.Array:
        return x @ arrays[f"params/critic/{place}/kernel"][i] + arrays[f"params/critic/{place}/bias"][i]

    def normed(i: int, place: str, x: jax.Array) -> jax.Array:
        block, _, number = place.rpartition("/Dense_")
        x = dense(i, place, x)
        x = (x - jnp.mean(x)) / jnp.sqrt(jnp.var(x) + 1e-5)
        norm = f"params/critic/{block}/LayerNorm_{number}"
        return x * arrays[f"{norm}/scale"][i] + arrays[f"{norm}/bias"][i]

    def quantiles(i: int, x: jax.Array) -> jax.Array:
        for number in (0, 1):
            x = jax.nn.relu(normed(i, f"base/Dense_{number}", x))

        def at(tau: jax.Array) -> jax.Array:
            waves = jnp.cos(jnp.pi * jnp.arange(1, 17, dtype=jnp.float32) * tau)
            mixed = x * jax.nn.sigmoid(normed(i, "tau/Dense_0", waves))
            return dense(i, "head", jax.nn.relu(normed(i, "merge/Dense_0", mixed)))[0]

        return jnp.mean(jax.vmap(at)((jnp.arange(32, dtype=jnp.float32) + 0.5) / 32))

    def plain(i: int, x: jax.Array) -> jax.Array:
        for number in (0, 1):
            x = jax.nn.relu(dense(i, f"Dense_{number}", x))
        return dense(i, "Dense_2", x)[0]

    def value(action: jax.Array, t: float) -> jax.Array:
        x = jnp.concatenate([observation, action])
        if "params/critic/head/kernel" not in arrays:
            return jnp.mean(jnp.stack([plain(i, x) for i in range(10)]))
        q = jnp.stack([quantiles(i, x) for i in (0, 1)])
        return jnp.mean(q) - file.config["beta_LB"] * jnp.abs(q[0] - q[1]) / jnp.sqrt(2.0)

    return value


def improved(file: Golden, improvement: CFPI, densities: list[Mixture], budgets: np.ndarray) -> np.ndarray:
    """The action at each state of a file."""

    def one(observation: jax.Array, density: Mixture, budgets: jax.Array) -> jax.Array:
        return improvement.improve(density, value_of(file, observation), budgets)

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *densities)
    return jax.jit(jax.vmap(one))(jnp.asarray(file.arrays["batch/observations"]), stacked, jnp.asarray(budgets))


def mixtures(file: Golden, squashed: bool = True) -> list[Mixture]:
    means, stds = (jnp.asarray(file.arrays[f"batch/{name}"]) for name in ("mean", "std"))
    weights = jnp.log(jnp.asarray(file.arrays["batch/weight"])) if means.ndim == 3 else jnp.zeros((8, 1))
    shape = (8, -1, means.shape[-1])
    return [Mixture(*each, squashed) for each in zip(weights, means.reshape(shape), stds.reshape(shape), strict=True)]


@pytest.mark.parametrize(
    "case", ["single", *(pytest.param(case, marks=pytest.mark.slow) for case in ("deterministic", "gaussian"))]
)
def test_golden_cfpi_of_one_gaussian(case: str, golden: Path) -> None:
    file = Golden(golden / f"cfpi-{case}.npz")
    if case == "deterministic":
        densities = [around(action) for action in jnp.asarray(file.arrays["batch/behavior_actions"])]
    else:
        densities = mixtures(file, squashed=case == "single")
    budgets = file.arrays["metric/delta"] if case != "gaussian" else np.full((8, 1), 0.5, np.float32)
    action = "deterministic" if case == "deterministic" else "single"
    tolerance = {"atol": 1e-3} if case == "deterministic" else {"atol": 2e-5}  # two of its actions are at the edge
    np.testing.assert_allclose(improved(file, CFPI(), densities, budgets), file.arrays[f"action/{action}"], **tolerance)
    if case == "single":
        still = improved(file, CFPI(), densities, np.zeros((8, 1), np.float32))
        np.testing.assert_allclose(still, file.arrays["action/zero_budget"], atol=1e-6)


@pytest.mark.parametrize(
    "case", ["ensemble", *(pytest.param(case, marks=pytest.mark.slow) for case in ("mixture", "mixture-sum"))]
)
def test_golden_cfpi_of_a_mixture(case: str, golden: Path) -> None:
    """In the published form and in the paper's."""
    file = Golden(golden / f"cfpi-{case}.npz")
    settings = {"threshold": file.config["trivial_threshold"], "total": not file.config["use_max_lambda"]}
    budgets = np.full((8, 1), 0.5, np.float32)
    for bound, key in ((Bound.modes, "lse"), (Bound.both, "both")):
        for published, suffix in ((True, ""), (False, "_paper")):
            ours = improved(file, CFPI(bound=bound, published=published, **settings), mixtures(file), budgets)
            np.testing.assert_allclose(ours, file.arrays[f"action/{key}{suffix}"], atol=5e-5, err_msg=key + suffix)
    still = improved(file, CFPI(bound=Bound.modes, threshold=settings["threshold"]), mixtures(file), 0 * budgets)
    np.testing.assert_allclose(still, file.arrays["action/best_component_mean"], atol=1e-6)
    ours = np.asarray(improved(file, CFPI(bound=Bound.jensen, **settings), mixtures(file), budgets))
    inside = file.arrays["metric/jensen/radius_squared"] > 0
    assert inside.any()
    np.testing.assert_allclose(ours[inside], file.arrays["action/jensen"][inside], atol=5e-5)


def hill(action: jax.Array, t: float) -> jax.Array:
    return -jnp.sum(jnp.square(action - jnp.asarray([0.9, -0.3])))


def test_an_improvement_spends_its_budget_and_no_more_and_gains_with_it() -> None:
    density = Mixture(jnp.zeros(1), jnp.asarray([[0.0, 0.1]]), jnp.asarray([[0.2, 0.4]]), False)
    peak, values = density.log_density(density.mode()), []
    for budget in (0.0, 0.1, 0.5, 2.0):
        action = CFPI(budgets=(budget,))(density, hill)
        assert peak - density.log_density(action) == pytest.approx(budget, abs=1e-4)
        values.append(float(hill(action, 1.0)))
    assert values == sorted(values)
    chosen = CFPI(budgets=(0.0, 0.1, 0.5, 2.0))(density, hill)
    assert hill(chosen, 1.0) == pytest.approx(max(values))


def test_the_budget_does_not_see_the_scale_of_the_value() -> None:
    density = Mixture(
        jnp.log(jnp.asarray([0.4, 0.6])), jnp.asarray([[0.1, 0.1], [-0.5, 0.3]]), jnp.full((2, 2), 0.3), True
    )
    small, large = (CFPI()(density, lambda a, t, scale=scale: scale * hill(a, t)) for scale in (0.01, 100.0))
    np.testing.assert_allclose(small, large, atol=1e-4)


def test_a_component_without_weight_is_never_taken() -> None:
    """Although its mean is the best action of all."""
    log_weights = jnp.log(jnp.asarray([0.97, 0.03]))
    density = Mixture(log_weights, jnp.asarray([[-0.5, 0.0], [0.9, -0.3]]), jnp.full((2, 2), 0.1), False)
    assert CFPI()(density, hill)[0] < 0
    assert CFPI(threshold=0.0)(density, hill)[0] > 0


def test_no_budget_is_refused() -> None:
    with pytest.raises(InputError, match="budget must be at least one number"):
        CFPI(budgets=())
    with pytest.raises(InputError, match="budgets must be at least 0"):
        CFPI(budgets=(-1.0,))
