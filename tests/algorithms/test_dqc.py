"""DQC reaches goals that its flow is not shown, and says what data it cannot learn from."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from guidedflow.algorithms import DQC
from guidedflow.algorithms.contract import initial_state
from guidedflow.algorithms.parts.probabilities import Regression, upper
from guidedflow.data.dataset import Dataset
from guidedflow.data.sampling.cutting import Cutting
from guidedflow.data.sampling.goals import GoalSampling
from guidedflow.errors import InputError
from guidedflow.training.loop import train
from guidedflow.training.plan import Plan
from guidedflow.training.updates import advance

SPARSE = GoalSampling(gc_negative=False, value_geom_sample=False)
SMALL = DQC(ratio=2, hidden=(8,), flow_steps=2, candidates=2)


def walks(episodes: int = 60, length: int = 16, seed: int = 0) -> Dataset:
    """A place on a grid of 0.25, in steps of -1, 0 or 1 to either side; every place that was seen is a goal."""
    random = np.random.default_rng(seed)
    moves = np.repeat(random.integers(-1, 2, (episodes, length // 2)), 2, axis=1)
    actions = np.concatenate([moves, np.zeros((episodes, 1), np.int64)], axis=1).astype(np.float32)
    places = (random.integers(-4, 5, (episodes, 1)) + np.cumsum(actions, axis=1) - actions).astype(np.float32) / 4
    last = np.tile(np.arange(length + 1) == length, episodes)
    zeros, places = np.zeros(last.size, np.float32), places.reshape(-1, 1)
    return Dataset("walks", places, actions.reshape(-1, 1) * 0.9, zeros, zeros + 1, last, goals=places)


@pytest.mark.slow
@pytest.mark.parametrize("chunk_critic", [True, False])
def test_dqc_walks_to_a_goal_that_its_flow_does_not_see(chunk_critic: bool) -> None:
    algorithm = DQC(ratio=2, goal_size=1, hidden=(48, 48), learning_rate=3e-3, kappa_b=0.9, chunk_critic=chunk_critic)
    transitions = Cutting(0.9, 4, True, goals=SPARSE).of(walks())
    state = initial_state(algorithm, transitions.example(), jnp.arange(1))
    state, _ = advance(algorithm, state, transitions, jnp.arange(1), 0, 1500, 128)
    policy: Any = algorithm.policies(jax.tree.map(lambda leaf: leaf[0], state))["flow"]
    keys = jax.random.split(jax.random.key(1), 64)
    act = jax.jit(jax.vmap(policy, in_axes=(None, 0)))
    for goal in (-0.75, 0.75):
        steps = np.asarray(act(jnp.array([0.0, goal]), keys))
        assert steps.shape == (64, 2)
        assert np.mean(steps * np.sign(goal)) > 0.5
    velocity = policy.flow.given(jnp.array([0.0, 0.75]))(jnp.ones(2), 0.5)
    np.testing.assert_array_equal(velocity, policy.flow.given(jnp.array([0.0, -0.75]))(jnp.ones(2), 0.5))


@pytest.mark.parametrize("regression", Regression)
def test_a_level_of_a_half_counts_both_sides_alike_and_a_higher_one_the_upper_side_more(regression: Regression) -> None:
    logit, above, below = jnp.zeros(1), jnp.array([0.7]), jnp.array([0.3])
    np.testing.assert_allclose(upper(regression, logit, above, 0.5), upper(regression, logit, below, 0.5), rtol=1e-6)
    ratio = upper(regression, logit, above, 0.9) / upper(regression, logit, below, 0.9)
    np.testing.assert_allclose(ratio, 9.0, rtol=1e-5)
    assert np.isfinite(upper(regression, logit, jnp.array([1.0]), 0.9))


@pytest.mark.parametrize(
    ("changes", "plan", "sentence"),
    [
        ({}, {}, "rewards of 1 at the goal and 0 before it.*has 0; train on goal-conditioned data with --no-gc-neg"),
        ({"ratio": 3}, {"goals": SPARSE}, "ratio must divide the critic's chunk.*is 3 for chunks of 4 numbers"),
        ({"goal_size": 2}, {"goals": SPARSE}, "goal-size must be less than the observation's numbers, but is 2"),
    ],
)
def test_data_that_it_cannot_learn_from_is_refused_in_a_sentence(
    changes: dict[str, Any], plan: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    algorithm = dataclasses.replace(SMALL, **changes)
    with pytest.raises(InputError, match=sentence):
        train(algorithm, walks(), Plan(steps=2, log_interval=2, horizon=4, chunk=True, **plan), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_goals_are_asked_of_data_that_has_them(tmp_path: Path) -> None:
    data = dataclasses.replace(walks(), goals=None)
    with pytest.raises(InputError, match="goal-size is 1, but the data is not goal-conditioned; leave it out"):
        train(
            dataclasses.replace(SMALL, goal_size=1), data, Plan(steps=2, log_interval=2, horizon=4, chunk=True),
            out=tmp_path / "run",
        )  # fmt: skip
