"""Importance weighting against returns that are known."""

import jax
import numpy as np
import pytest

from guidedflow.errors import InputError
from guidedflow.evaluation.importance import Steps, behaviour, check_density, log_densities, weighted_return
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import Aggregate
from guidedflow.networks.gaussians import GaussianActor
from guidedflow.policies.density import DensityPolicy


def bandit(episodes: int, length: int, seed: int) -> tuple[Steps, np.ndarray]:
    """Actions 0 and 1 with the same chance, worth themselves; a policy takes 1 in 3 of 4 cases. And its log-ratios."""
    random = np.random.default_rng(seed)
    actions = random.integers(0, 2, episodes * length).astype(np.float32)
    steps = Steps(
        np.zeros((len(actions), 1), np.float32), actions[:, None], actions,
        np.repeat(np.arange(episodes), length), 0.5,
    )  # fmt: skip
    return steps, np.log(np.where(actions == 1, 0.75, 0.25) / 0.5)


def test_the_return_of_another_policy_is_found() -> None:
    steps, logs = bandit(20_000, 2, 0)
    found = weighted_return(logs, steps)
    assert abs(found.value - 0.75 * 1.5) < 0.02
    assert found.interval.low < 0.75 * 1.5 < found.interval.high
    # E[w]^2 / E[w^2] is 1 / (2 (9 + 1) / 16) = 0.8 a step.
    assert abs(found.effective / 20_000 - 0.8**2) < 0.02


def test_equal_policies_give_the_mean_return_also_of_episodes_of_other_lengths() -> None:
    rewards = np.float32([1, 2, 3, 4, 5])
    steps = Steps(np.zeros((5, 1), np.float32), rewards[:, None], rewards, np.array([0, 0, 0, 1, 1]), 0.5)
    found = weighted_return(np.zeros(5), steps)
    assert np.isclose(found.value, ((1 + 2 / 2 + 3 / 4) + (4 + 5 / 2)) / 2)
    assert np.isclose(found.effective, 2)
    assert found == weighted_return(np.zeros(5), steps)
    # Of equal weights up to a factor at each step nothing changes; ratios that overflow do no harm.
    assert np.isclose(weighted_return(np.float64([900, 900, 900, 900, 900]), steps).value, 1.0 + 1 + 3 / 4, atol=2)
    with pytest.raises(InputError, match="at least 2 episodes, but found 1"):
        weighted_return(np.zeros(2), Steps(steps.observations[:2], steps.actions[:2], rewards[:2], np.zeros(2, int), 1))


def test_the_fitted_behaviour_is_the_density_that_drew_the_actions() -> None:
    random = np.random.default_rng(0)
    points = 0.3 + 0.4 * random.normal(size=(2_000, 1))
    steps = Steps(
        np.ones((2_000, 1), np.float32), np.tanh(points).astype(np.float32), np.zeros(2_000, np.float32),
        np.arange(2_000), 0.9,
    )  # fmt: skip
    log_normal = -0.5 * ((points - 0.3) / 0.4) ** 2 - np.log(0.4 * np.sqrt(2 * np.pi))
    expected = log_normal[:, 0] - np.log(1 - np.tanh(points[:, 0]) ** 2)
    assert abs(np.mean(behaviour(steps, hidden=(8,), updates=600) - expected)) < 0.03


def test_only_policies_that_act_at_random_by_a_density_are_weighed() -> None:
    network = GaussianActor((1,), 1, (4,), key=jax.random.key(0))
    by_mean = DensityPolicy(network, None, Aggregate.mean, Sampler())
    with pytest.raises(InputError, match="Policy 'actor' has no density to weigh recorded actions by"):
        check_density(by_mean, "actor")
    steps, _ = bandit(2, 2, 0)
    sampled = DensityPolicy(network, None, Aggregate.mean, Sampler(), sampled=True)
    assert log_densities(sampled, steps).shape == (4,)
