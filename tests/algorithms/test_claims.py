"""What each related system promises that others do not, on the smallest problem that can show it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_data import line

from guidedflow.algorithms import A2PO, DSRL, FQL, LAPO, LPS, MISA, ReFORM
from guidedflow.algorithms.contract import Algorithm, initial_state
from guidedflow.algorithms.learner import Learner
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.data.dataset import Dataset
from guidedflow.policies.policy import Policy
from guidedflow.training.updates import advance, in_rows


def bandit(observations: np.ndarray, actions: np.ndarray, rewards: np.ndarray) -> Dataset:
    """Episodes of one step: each row is followed by its own final observation."""
    rows = 2 * len(rewards)
    last = np.arange(rows) % 2 == 1

    def spread(column: np.ndarray) -> np.ndarray:
        return np.repeat(column, 2, axis=0).astype(np.float32)

    masks = np.zeros(rows, np.float32)
    return Dataset("bandit", spread(observations), spread(actions), spread(rewards), masks, last)


def trained(algorithm: Algorithm[Any], dataset: Dataset, steps: int) -> Any:
    """The state after so many updates of seed 0."""
    transitions = dataset.cut(0.9)
    state = initial_state(algorithm, transitions.example(), jnp.arange(1))
    state, metrics = advance(in_rows([algorithm]), state, transitions, jnp.arange(1), 0, steps, 128)
    assert all(np.isfinite(value).all() for value in metrics.values())
    return jax.tree.map(lambda leaf: leaf[0], state)


def act(policy: Policy, observation: Any, count: int = 128) -> np.ndarray:
    keys = jax.random.split(jax.random.key(1), count)
    return np.asarray(jax.jit(jax.vmap(policy, in_axes=(None, 0)))(jnp.asarray(observation, jnp.float32), keys))


def test_lps_has_no_weight_and_does_not_see_the_scale_of_rewards() -> None:
    """A critic of ten times the values, or another alpha, takes the actor one and the same step."""
    algorithm = LPS(hidden=(16,), critic_hidden=(16,), actor_hidden=(16,))
    transitions = line().cut(0.9)
    state = algorithm.init(transitions.example(), jax.random.key(0))

    def tenfold(path: Any, leaf: jax.Array) -> jax.Array:
        return leaf * 10 if ".layers[1]" in jax.tree_util.keystr(path) else leaf

    network = jax.tree_util.tree_map_with_path(tenfold, state.critic.network)
    larger = state._replace(critic=Learner(network, state.critic.optimizer))
    batch, key = transitions.sample(jax.random.key(1), 16), jax.random.key(2)
    update = jax.jit(lambda algorithm, state: algorithm.update(state, batch, key)[0].actor.network)
    step = update(algorithm, state)
    for other in (update(algorithm, larger), update(dataclasses.replace(algorithm, alpha=10.0), state)):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5), step, other)
    moved = jax.tree.map(lambda x, y: np.abs(x - y).max(), step, state.actor.network)
    assert max(jax.tree.leaves(moved)) > 1e-4


def disc(paid: float = 1.0) -> Dataset:
    """Actions that fill a disc of radius 0.4 and pay their first number, so many times."""
    random = np.random.default_rng(0)
    angle, radius = random.uniform(0, 2 * np.pi, 2000), 0.4 * random.uniform(0, 1, 2000) ** 0.5
    actions = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return bandit(np.ones((2000, 1)), actions, paid * actions[:, 0])


@pytest.mark.slow
def test_reform_stays_on_the_support_under_a_critic_that_is_wrong_off_it() -> None:
    """Actions fill a disc and pay their first number: the critic promises more outside, where FQL goes."""
    dataset = disc()
    size: dict[str, Any] = {"hidden": (32, 32), "learning_rate": 1e-3}
    found = {}
    for algorithm in (ReFORM(**size), FQL(alpha=0.03, **size)):
        state = trained(algorithm, dataset, 1500)
        found[type(algorithm)] = act(algorithm.policies(state)["actor"], [1.0])
    assert np.mean(found[ReFORM][:, 0]) > 0.12, "it improves: the data's mean is 0"
    assert np.mean(np.linalg.norm(found[ReFORM], axis=1) < 0.45) > 0.9
    assert np.mean(np.linalg.norm(found[FQL], axis=1) > 0.6) > 0.9


@pytest.mark.slow
def test_dsrl_is_better_than_the_flow_that_it_steers_and_stays_on_its_support() -> None:
    """Actions fill a disc and pay their first number: the noise policy finds the disc's right side, and stays there."""
    algorithm = DSRL(noise_scale=1.5, hidden=(32, 32), flow_steps=5, learning_rate=2e-3, ensemble=Ensemble(rho=0.5))
    policies = algorithm.policies(trained(algorithm, disc(10.0), 700))
    steered, flow = (act(policies[name], [1.0]) for name in ("actor", "flow"))
    assert np.mean(steered[:, 0]) > np.mean(flow[:, 0]) + 0.15, "better than the flow, whose mean is 0"
    assert np.mean(np.linalg.norm(steered, axis=1) < 0.45) > 0.95, "and on the disc, where FQL is not"


def two_behaviours() -> Dataset:
    """Half the actions near (-0.5, 0.2), paid 0, and half near (0.5, -0.2), paid 1."""
    random = np.random.default_rng(0)
    good = random.random(2000) < 0.5
    centres = np.where(good[:, None], [0.5, -0.2], [-0.5, 0.2])
    return bandit(np.ones((2000, 1)), centres + 0.05 * random.normal(size=(2000, 2)), good.astype(float))


@pytest.mark.slow
def test_a2po_tells_two_behaviours_apart_by_their_advantage() -> None:
    algorithm = A2PO(hidden=(32, 32), critic_hidden=(32, 32), vae_hidden=(32, 32), learning_rate=2e-3, beta=0.1)
    state = trained(algorithm, two_behaviours(), 1500)
    best = algorithm.policies(state)["actor"]
    worst = dataclasses.replace(best, actor=dataclasses.replace(best.actor, condition=-jnp.ones(1)))
    np.testing.assert_allclose(act(best, [1.0], 1)[0], [0.5, -0.2], atol=0.25)
    assert act(worst, [1.0], 1)[0, 0] < -0.3, "the condition of the worst is on the other side"


@pytest.mark.slow
def test_lapo_acts_by_the_better_of_two_behaviours() -> None:
    algorithm = LAPO(hidden=(32, 32), learning_rate=2e-3, beta=0.1)
    state = trained(algorithm, two_behaviours(), 1500)
    np.testing.assert_allclose(act(algorithm.policies(state)["actor"], [1.0], 1)[0], [0.5, -0.2], atol=0.25)


@pytest.mark.slow
def test_misa_promises_less_where_only_its_policy_goes() -> None:
    """Actions fill a small square and pay their first number; off it, the gap brings the critic down."""
    random = np.random.default_rng(0)
    actions = random.uniform(-0.3, 0.3, (2000, 2))
    dataset = bandit(np.ones((2000, 1)), actions, actions[:, 0])
    promised = {}
    for gap in (0.0, 0.1):
        algorithm = MISA(hidden=(32, 32), gap=gap, samples=8, correction=0.0, learning_rate=2e-3)
        critic = trained(algorithm, dataset, 800).critic.network.given(jnp.ones(1))
        promised[gap] = float(jnp.min(critic(jnp.asarray([0.9, 0.0]))) - jnp.min(critic(jnp.asarray([0.25, 0.0]))))
    assert promised[0.1] < promised[0.0] - 0.1
