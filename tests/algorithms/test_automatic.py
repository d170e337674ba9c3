"""Settings that find themselves reach what they are to reach, and are part of the state."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_data import line

from guidedflow import files
from guidedflow.algorithms import FQL, GFP, ReBRAC
from guidedflow.algorithms.contract import initial_state
from guidedflow.algorithms.parts import automatic
from guidedflow.algorithms.parts.automatic import Found
from guidedflow.errors import InputError
from guidedflow.results.diagnostics import RULES
from guidedflow.runs import pytrees
from guidedflow.runs.trained import Trained
from guidedflow.settings import from_plain, to_plain
from guidedflow.training.loop import train, train_together
from guidedflow.training.member import Order
from guidedflow.training.plan import Plan

SIZE: dict[str, Any] = {"hidden": (8,), "flow_steps": 2}
AUTO = GFP(alpha="auto", temperature="auto", **SIZE)
PLAN = Plan(steps=40, seeds=2, batch_size=16, log_interval=10)


def test_the_effective_share_counts_equal_weights() -> None:
    for ones in (1, 3, 10):
        weights = jnp.where(jnp.arange(10) < ones, 1e-30, 0.0)  # of any size
        np.testing.assert_allclose(automatic.effective_share(weights), ones / 10, rtol=1e-5)
    assert automatic.effective_share(jnp.zeros(10)) == 0


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("spread", [1e-5, 1.0, 1e4])
def test_the_temperature_of_a_batch_has_the_effective_share_at_any_scale(share: float, spread: float) -> None:
    advantages = spread * (jax.random.normal(jax.random.key(0), (256,)) - 2.0)  # the actor beats most of the data
    weigh = lambda temperature: jax.nn.sigmoid(advantages / temperature)  # noqa: E731
    found = automatic.temperature_for(weigh, advantages, share)
    np.testing.assert_allclose(automatic.effective_share(weigh(jnp.exp(found))), share, rtol=0.02)


def test_weights_that_overflow_count_as_too_sharp() -> None:
    advantages = jnp.linspace(-1.0, 1.0, 64)
    weigh = lambda temperature: jnp.exp(advantages / temperature)  # noqa: E731
    found = automatic.temperature_for(weigh, advantages, 0.5)
    np.testing.assert_allclose(automatic.effective_share(weigh(jnp.exp(found))), 0.5, rtol=0.02)


def test_the_variance_of_noise_is_one() -> None:
    noise = jax.random.normal(jax.random.key(0), (4096, 3))
    found = automatic.variance(lambda observation, z: z, jnp.zeros((4096, 2)), noise, noise)
    np.testing.assert_allclose(found, 1.0, atol=0.1)


@pytest.mark.parametrize(("distance", "direction"), [(0.1, 1), (10.0, -1)])
def test_alpha_grows_where_the_actor_is_too_far_and_stays_within_bounds(distance: float, direction: int) -> None:
    noise = jax.random.normal(jax.random.key(0), (64, 3))
    data = line().cut(0.9).example()._replace(observation=jnp.zeros((64, 2)))
    step = automatic.spacing(lambda s, z: z, data, noise, noise, {"distillation_loss": jnp.ones(())}, distance)
    log = jnp.zeros(())
    after, told = step(log)
    assert np.sign(after) == direction
    np.testing.assert_allclose(told["distance"], 1.0, atol=0.3)
    for end in automatic.ALPHAS:
        assert math.log(automatic.ALPHAS[0]) - 1e-5 <= step(jnp.float32(math.log(end)))[0]
        assert step(jnp.float32(math.log(end)))[0] <= math.log(automatic.ALPHAS[1]) + 1e-5


@pytest.mark.parametrize(
    ("algorithm", "names"),
    [
        (GFP(**SIZE), set()),
        (FQL(**SIZE), set()),
        (AUTO, {"found.log_alpha", "found.log_temperature"}),
        (replace(AUTO, alpha=1.0), {"found.log_temperature"}),
        (FQL(alpha="auto", **SIZE), {"found.log_alpha"}),
    ],
    ids=["gfp", "fql", "gfp auto", "gfp temperature", "fql auto"],
)
def test_what_was_found_is_a_leaf_and_a_number_is_none(algorithm: Any, names: set[str]) -> None:
    state = jax.eval_shape(initial_state, algorithm, line().cut(0.9).example(), jnp.arange(2))
    assert {name for name in pytrees.specs(state) if name.startswith("found")} == names


def test_only_what_is_auto_is_a_structure() -> None:
    found = Found.begin(alpha=("auto", 10.0), temperature=(1e-3, 1e-3))
    np.testing.assert_allclose(found.alpha("auto"), 10.0, rtol=1e-6)
    assert found.temperature(1e-3) == 1e-3
    assert from_plain(GFP, to_plain(AUTO)) == AUTO
    assert isinstance(from_plain(GFP, {"alpha": 3}).alpha, float)


@pytest.mark.parametrize(("alpha", "place", "warns"), [(1e-4, 0.0, False), (1.0, 0.4, False), (1e6, 1.0, True)])
def test_an_alpha_at_its_end_is_a_figure_that_a_rule_looks_at(alpha: float, place: float, warns: bool) -> None:
    (figure,) = Found.begin(alpha=("auto", alpha)).figures().values()
    assert figure == pytest.approx(place, abs=1e-6)
    (rule,) = (rule for rule in RULES if rule.name == "alpha-at-end")
    assert rule.broken_by(float(figure)) == warns
    assert not Found.begin(alpha=(alpha, 1.0)).figures()


@pytest.mark.parametrize(
    ("algorithm", "settings", "sentence"),
    [
        (ReBRAC, {"alpha_actor": "auto"}, "alpha-actor must be a number, but is 'auto'"),
        (GFP, {"tau": "auto"}, "tau must be a number, but is 'auto'"),
        (GFP, {"alpha": "automatic"}, "alpha must be a number or auto, but is 'automatic'"),
        (GFP, {"alpha": "auto", "distance": 0.0}, "distance must be greater than 0, but is 0.0; no alpha holds"),
        (GFP, {"effective_share": 1.5}, "effective-share must be between 0 and 1, but is 1.5"),
    ],
)
def test_auto_where_it_has_no_meaning_is_one_sentence(algorithm: Any, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        from_plain(algorithm, settings)


@pytest.mark.slow
def test_it_resumes_exactly_and_trains_beside_others(tmp_path: Path) -> None:
    """Bit for bit: in pieces, and in a pack whose runs are to reach other targets."""
    orders = [
        Order(replace(AUTO, distance=distance, effective_share=share), PLAN, tmp_path / f"{distance}")
        for distance, share in ((0.5, 0.5), (2.0, 0.1))
    ]
    together = [each.state for each in train_together(orders, line()) if isinstance(each, Trained)]
    for order, state in zip(orders, together, strict=True):
        out = tmp_path / "pieces" / order.out.name
        train(order.algorithm, line(), replace(PLAN, steps=20), out=out)
        with pytest.warns(UserWarning, match="steps 20 -> 40"):
            resumed = train(order.algorithm, line(), PLAN, out=out, resume=True)
        assert jax.tree.all(jax.tree.map(np.array_equal, state, resumed.state))
        assert jax.tree.all(jax.tree.map(np.array_equal, state, Trained.open(order.out).state))
    alphas = [state.found.log_alpha for state in together]
    assert (alphas[0] > alphas[1]).all()  # nearer to the flow


@pytest.mark.slow
def test_both_targets_are_reached(tmp_path: Path) -> None:
    """From a start that is far off, on a line: within a quarter."""
    plan = Plan(steps=3000, seeds=2, batch_size=64, log_interval=500)
    algorithm = replace(AUTO, hidden=(32, 32), effective_share=0.6, distance=0.7, learning_rate=1e-3)
    trained = train(algorithm, line(20, 50), plan, out=tmp_path / "run")
    row = files.read_rows(trained.run.metrics)[-1]
    np.testing.assert_allclose(row["effective_share"], 0.6, rtol=0.25)
    np.testing.assert_allclose(row["distance"], 0.7, rtol=0.25)
