"""A ladder of tiny problems with known answers, all in one dataset, which each algorithm climbs in one training.

    bandit     reward -|a - 0.5|, actions uniform: the best action is 0.5
    patient    an action a costs 2.5 a now and earns 5 a one step later: at discount 0.7 worth a, so 1 is best
    hasty      an action a costs 2.5 a now and earns 3 a one step later: at discount 0.7 worth -0.4 a, so -1 is best
    two modes  actions near -0.6 and 0.6, all equally good: the mean action is in no data
    noisy      half the actions near 0.7 with reward 1, half anywhere with reward 0

The observation tells which problem it is, the step, and what was invested before.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from guidedflow.algorithms import ALGORITHMS
from guidedflow.algorithms.contract import initial_state
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.data.dataset import Dataset
from guidedflow.flows.reflection import Reflection
from guidedflow.flows.sources import Latent
from guidedflow.policies.policy import Policy
from guidedflow.training.updates import advance, in_rows

BANDIT, PATIENT, PATIENT_LATER, HASTY, HASTY_LATER, MODES, NOISY = range(7)
DISCOUNT = 0.7

SETTINGS: dict[str, dict[str, Any]] = {
    "a2po": {"critic_hidden": (48, 48), "vae_hidden": (48, 48), "weight": 0.1, "beta": 0.1},
    "bc": {},
    "cfgrl": {"weight": 2.0},
    "dac": {"alpha": 0.2},
    "dsrl": {"noise_scale": 1.5, "ensemble": Ensemble(rho=0.5)},
    "edp": {"alpha": 0.1},
    "fql": {"alpha": 0.1},
    "gfp": {"alpha": 0.3, "temperature": 0.1},
    "ifql": {},
    "iql": {"alpha": 10.0},
    "lapo": {},
    "lps": {"actor_hidden": (48, 48), "critic_hidden": (48, 48), "latent": Latent.uniform},
    "misa": {"gap": 0.1, "weight": 0.1, "samples": 4, "actor_learning_rate": 5e-4, "hmc_step": 0.1},
    "qam": {"kappa": 10.0},
    "qgf": {"weight": 2.0, "robust": True},
    "qsm": {"alpha": 10.0, "kappa": 15.0},
    "rebrac": {"alpha_actor": 0.05},
    "reform": {"reflection": Reflection.projected},
}
"""For rewards of this size; the published ones are for returns of tens to hundreds. A sphere of one dimension has two
points, and the published reflection of one dimension takes no step that leaves: so LPS and ReFORM have other ones."""

CLIMBERS = [name for name in ALGORITHMS if name not in ("dqc", "cfpi")]
"""DQC learns from goals, which are no part of the ladder; it has a problem of its own. What CFPI trains is a clone."""
MAIN = [name for name in CLIMBERS if name != "bc"]
FLOWS = {
    "bc": "flow",
    "cfgrl": "flow",
    "ifql": "flow",
    "qgf": "flow",
    "qam": "base",
    "fql": "flow",
    "reform": "flow",
    "dsrl": "flow",
}
"""Plain clones; what GFP's flow makes of two equal modes is left to its critic's last digits."""

FAST = ("bc",)


def ladder(copies: int = 400, seed: int = 0) -> Dataset:
    """Each problem so many times; an episode has one step, or two where waiting pays."""
    random = np.random.default_rng(seed)
    rows: list[tuple[int, float, float, float, float, bool]] = []  # problem, invested, action, reward, mask, last

    def episode(*steps: tuple[int, float, float, float]) -> None:
        for i, step in enumerate(steps):
            rows.append((*step, float(i + 1 < len(steps)), False))
        rows.append((steps[-1][0], 0.0, 0.0, 0.0, 0.0, True))

    for _ in range(copies):
        action = random.uniform(-1, 1)
        episode((BANDIT, 0.0, action, -abs(action - 0.5)))
        for first, later, gain in ((PATIENT, PATIENT_LATER, 5.0), (HASTY, HASTY_LATER, 3.0)):
            action = random.uniform(-1, 1)
            episode((first, 0.0, action, -2.5 * action), (later, action, random.uniform(-1, 1), gain * action))
        episode((MODES, 0.0, float(random.choice([-0.6, 0.6]) + 0.05 * random.normal()), 0.5))
        good = random.random() < 0.5
        episode((NOISY, 0.0, 0.7 + 0.05 * random.normal() if good else random.uniform(-1, 1), float(good)))
    problem, invested, action, reward, mask, last = map(np.array, zip(*rows, strict=True))
    return Dataset(
        name="ladder",
        observations=np.concatenate([np.eye(7)[problem], invested[:, None]], axis=1).astype(np.float32),
        actions=np.clip(action, -1, 1).astype(np.float32)[:, None],
        rewards=reward.astype(np.float32),
        masks=mask.astype(np.float32),
        last=last,
    )


class Climbed:
    """An algorithm after its training, and what its policies do at a problem."""

    def __init__(self, name: str):
        self.algorithm = ALGORITHMS[name](hidden=(48, 48), learning_rate=3e-3, **SETTINGS[name])
        transitions = ladder().cut(DISCOUNT)
        state = initial_state(self.algorithm, transitions.example(), jnp.arange(1))
        state, _ = advance(in_rows([self.algorithm]), state, transitions, jnp.arange(1), 0, 1500, 128)
        self.policies = self.algorithm.policies(jax.tree.map(lambda leaf: leaf[0], state))

    def act(self, problem: int, policy: str | None = None) -> np.ndarray:
        """256 actions, of the main policy unless another is named."""
        chosen: Policy = next(iter(self.policies.values())) if policy is None else self.policies[policy]
        keys = jax.random.split(jax.random.key(1), 256)
        return np.asarray(jax.jit(jax.vmap(chosen, in_axes=(None, 0)))(jnp.eye(8)[problem], keys))[:, 0]


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in CLIMBERS]
)
def climbed(request: pytest.FixtureRequest) -> tuple[str, Climbed]:
    return request.param, Climbed(request.param)


def test_every_algorithm_climbs(climbed: tuple[str, Climbed]) -> None:
    name, algorithm = climbed
    if name in MAIN:
        bandit = algorithm.act(BANDIT)
        assert np.mean(np.abs(bandit - 0.5)) < 0.35, "the best action of the bandit"  # uniform actions: 0.625
        assert np.mean(algorithm.act(PATIENT)) > 0.4, "investing where it pays"
        assert np.mean(algorithm.act(HASTY)) < -0.2, "not investing where it pays too late"
    if name in FLOWS:
        modes = algorithm.act(MODES, FLOWS[name])
        assert np.mean(np.abs(np.abs(modes) - 0.6) < 0.25) > 0.62, "both modes, and nothing between"
        if name != "ifql":  # which always takes the sample that its critic prefers
            assert 0.2 < np.mean(modes > 0) < 0.8
    if name == "iql":
        assert np.all(np.abs(algorithm.act(MODES)) < 0.4), "a Gaussian answers two modes by their mean"
    if name == "gfp":
        value_aware = algorithm.act(NOISY, "flow")
        assert np.mean(np.abs(value_aware - 0.7) < 0.2) > 0.8, "cloning what is good"
    if name in ("bc", "fql"):
        plain = algorithm.act(NOISY, "flow")
        assert np.mean(np.abs(plain - 0.7) < 0.2) < 0.75, "cloning everything"
