"""Weights by advantage: parity with the published code, and better actions weigh more."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from guidedflow.algorithms.learner import Learner
from guidedflow.data.dataset import Dataset
from guidedflow.errors import InputError
from guidedflow.networks import StateValues
from guidedflow.training.advantages import Advantages, Values
from guidedflow.types import Transition


class Rows:
    """Transitions as a file has them, one by one."""

    def __init__(self, file: dict[str, np.ndarray]):
        scale = file["batch/observations"].mean(axis=0), file["batch/observations"].std(axis=0) + 1e-3
        self.seen, self.next = (
            jnp.asarray((file[f"batch/{name}"] - scale[0]) / scale[1]) for name in ("observations", "next_observations")
        )
        self.rewards = jnp.asarray(file["batch/rewards"])
        self.discounts = jnp.asarray(0.99 * (1 - file["batch/terminals"]).astype(np.float32))

    def __len__(self) -> int:
        return len(self.rewards)

    def take(self, indices: Any) -> Transition:
        zeros = jnp.zeros((len(indices), 1))
        columns = (column[indices] for column in (self.rewards, self.discounts))
        return Transition(self.seen[indices], zeros, *columns, self.next[indices], zeros)


def filled(network: StateValues, file: dict[str, np.ndarray], place: str) -> StateValues:
    names = [f"{place}/Dense_{i}/{part}" for i in range(3) for part in ("kernel", "bias")]
    leaves = [jnp.asarray(file[name][member]) for member in (0, 1) for name in names]
    assert [leaf.shape for leaf in jax.tree.leaves(network)] == [leaf.shape for leaf in leaves]
    return jax.tree.unflatten(jax.tree.structure(network), leaves)


@pytest.mark.parametrize("case", ["odpr-advantage", "odpr-advantage-scaled"])
def test_golden_odpr_advantage(case: str, golden: Path) -> None:
    with np.load(golden / f"{case}.npz", allow_pickle=False) as arrays:
        file = {name: arrays[name] for name in arrays.files}
    config = json.loads(str(file.pop("config")))
    rows = Rows(file)
    settings = Advantages(
        steps=config["steps_per_iteration"],
        batch_size=8,
        hidden=(16, 16),
        deviation=config["std"] if config["scale"] else None,
    )
    example = jax.tree.map(lambda column: column[0], rows.take(jnp.arange(1)))
    values = settings.init(example, jax.random.key(0))
    online, target = (filled(values.target, file, f"params/{name}") for name in ("value", "target_value"))
    values, weights, step = (
        Values(Learner.init(online, settings.optimizer), target),
        np.ones(30),
        jax.jit(settings.step),
    )
    draws = iter(file["noise/indices"])
    for number in range(1, config["iterations"] + 1):
        values = Values(Learner.init(values.learner.network, settings.optimizer), values.target)
        for _ in range(settings.steps):
            values, _ = step(values, rows.take(jnp.asarray(next(draws))))
        place = f"metric/iteration_{number}"
        theirs = jax.tree.leaves(filled(values.target, file, f"{place}/value"))
        for mine, published in zip(jax.tree.leaves(values.learner.network), theirs, strict=True):
            np.testing.assert_allclose(mine, published, atol=5e-5)
        advantages = settings.advantages(values, rows)
        np.testing.assert_allclose(advantages, file[f"{place}/advantage"], atol=2e-4)
        weights = settings.reweighted(weights, advantages)
        np.testing.assert_allclose(weights, file[f"{place}/weight"], atol=2e-3)


@pytest.mark.slow
def test_better_actions_weigh_more_and_more_so_after_more_rounds() -> None:
    """Half the actions of one state are paid."""
    random = np.random.default_rng(0)
    paid = random.random(200) < 0.5
    last = np.arange(400) % 2 == 1
    columns = (np.repeat(column, 2, axis=0).astype(np.float32) for column in (np.ones((200, 1)), paid[:, None], paid))
    transitions = Dataset("paid", *columns, np.zeros(400, np.float32), last).cut(0.9)
    shares = []
    for rounds in (1, 3):
        settings = Advantages(rounds=rounds, steps=50, batch_size=32, hidden=(8,), learning_rate=1e-2)
        weights = settings.weigh(transitions)
        assert weights.mean() == pytest.approx(1)
        shares.append(weights[paid].mean() / (weights[paid].mean() + weights[~paid].mean()))
    assert 0.5 < shares[0] <= shares[1] + 1e-6


def test_data_without_any_advantage_are_refused() -> None:
    with pytest.raises(InputError, match="All transitions have the same advantage"):
        Advantages().reweighted(np.ones(3), np.zeros(3, np.float32))
