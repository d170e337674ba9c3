"""DQC agrees with its authors' code: losses, gradients, parameters after one update, and chosen actions."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_file import Golden, assert_close, recording
from test_golden import check_update, fill_of
from test_golden_rivals import check_actions

from guidedflow.algorithms import DQC
from guidedflow.algorithms.parts import cloning
from guidedflow.algorithms.parts.probabilities import Regression
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import Aggregate
from guidedflow.types import Transition

METRICS = {
    "critic_loss": "metric/action_critic/critic_loss",
    "value_loss": "metric/action_critic/value_loss",
    "flow_loss": "metric/actor/bc_flow_loss",
    "chunk_loss": "metric/chunk_critic/critic_loss",
}


class GoldenDQC(Golden):
    """A file whose goals stand apart from observations, and whose returns span the steps up to the goal."""

    @property
    def batch(self) -> Transition:
        read = {key.removeprefix("batch/"): value for key, value in self.arrays.items() if "batch/" in key}
        power = np.float32(self.config["discount"]) ** read["high_value_backup_horizon"].astype(np.float32)
        goals, actions = read["high_value_goals"], read["high_value_action_chunks"]
        columns = Transition(
            observation=np.concatenate([read["observations"], goals], axis=1),
            action=actions,
            reward=read["high_value_rewards"],
            discount=power * read["high_value_masks"],
            next_observation=np.concatenate([read["high_value_next_observations"], goals], axis=1),
            next_action=np.zeros_like(actions),
        )
        return jax.tree.map(jnp.asarray, columns)


def opened(path: Path) -> tuple[GoldenDQC, DQC, dict[str, Any]]:
    file = GoldenDQC(path)
    config = file.config
    algorithm = DQC(
        ratio=config["horizon"] // config["policy_chunk_size"],
        goal_size=4,
        kappa_b=config["kappa_b"],
        kappa_d=config["kappa_d"],
        distillation=Regression[config["distill_method"]],
        backup=Regression[config["implicit_backup_type"]],
        chunk_critic=config["use_chunk_critic"],
        aggregate=Aggregate[config["q_agg"]],
        tau=config["tau"],
        hidden=file.hidden,
    )
    names = {
        "flow": ("modules_actor_bc/mlp",),
        "critic": ("modules_action_critic/value_net",),
        "target_critic": ("modules_target_action_critic/value_net",),
        "value": ("modules_value/value_net",),
        "chunk_critic": ("modules_chunk_critic/value_net",),
    }
    return file, algorithm, names if algorithm.chunk_critic else {k: v for k, v in names.items() if k != "chunk_critic"}


@pytest.mark.parametrize("case", ["dqc", "dqc-mean", "dqc-ns"])
def test_golden_dqc(case: str, golden: Path) -> None:
    file, algorithm, names = opened(golden / f"{case}.npz")
    metrics = {mine: theirs for mine, theirs in METRICS.items() if theirs in file.arrays}
    assert len(metrics) == 3 + algorithm.chunk_critic
    check_update(algorithm, file, names, (file.noise(cloning.Noise),), metrics, 1e-6)


@pytest.mark.slow
def test_golden_dqc_of_rows_that_do_not_count(golden: Path) -> None:
    """Chunks here are always whole, so rows that the file calls invalid are left out of all but the chunk critic."""
    file, algorithm, names = opened(golden / "dqc-partial.npz")
    state = fill_of(recording(algorithm), file, names)
    update = jax.jit(recording(algorithm).step)
    valid = np.flatnonzero(file.arrays["batch/valids"][:, file.config["ac_action_dim"] - 1])
    assert 0 < len(valid) < 8
    noise = file.noise(cloning.Noise)
    whole, ours = update(state, file.batch, noise)
    np.testing.assert_allclose(ours["chunk_loss"], file.arrays[METRICS["chunk_loss"]], rtol=2e-5)
    part, ours = update(state, *jax.tree.map(lambda rows: rows[valid], (file.batch, noise)))
    for name, place in names.items():
        if name == "target_critic":
            continue
        share = 1.0 if name == "chunk_critic" else len(valid) / 8
        learner = getattr(whole if name == "chunk_critic" else part, name)
        gradient = jax.tree.map(lambda leaf, share=share: share * leaf, learner.optimizer.gradient)
        assert_close(gradient, file.leaves("grads", *place), rtol=1e-4, atol=1e-6)
        assert_close(learner.network, file.leaves("after", *place), atol=2e-5)
        if name != "chunk_critic":
            metric = METRICS[f"{name}_loss"]
            np.testing.assert_allclose(share * ours[f"{name}_loss"], file.arrays[metric], rtol=2e-5)


@pytest.mark.parametrize("case", ["dqc", "dqc-mean", "dqc-partial", "dqc-ns"])
def test_golden_dqc_actions(case: str, golden: Path) -> None:
    file, algorithm, names = opened(golden / f"{case}.npz")
    policy: Any = algorithm.policies(fill_of(algorithm, file, names))["flow"]
    check_actions(policy, file, "sample", Sampler())
    check_actions(policy, file, "best_of_4", Sampler(candidates=4))
    check_actions(policy, file, "best_of_32", policy.sampler)
