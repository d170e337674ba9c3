"""Losses, gradients and the parameters after one update agree with the published implementations.

The files in tests/golden (or in the folder named by GUIDEDFLOW_GOLDEN) hold what those computed, with all the noise
that they drew, so that the same noise can be fed here.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_file import Golden, Names, assert_close, recording
from tiny_algorithm import shapes_of

from guidedflow.algorithms import FQL, GFP, IFQL, IQL, QGF, ReBRAC
from guidedflow.algorithms.gfp import Reference, Target, Weight
from guidedflow.algorithms.iql import Extraction
from guidedflow.algorithms.learner import Learner
from guidedflow.algorithms.parts import cloning, distillation
from guidedflow.networks import Aggregate

TARGETS = {("actor", False): Target.actor, ("mean", False): Target.published_mean, ("mean", True): Target.mean}
GFP_FILES = [
    "advantage", "default", "guidance_min", "no_guidance", "qmin", "sharp", "steps3", "target_mean", "target_mean_next",
]  # fmt: skip


def fill(state: Any, file: Golden, names: Names) -> Any:
    """A state of named tuples whose networks are those of the file."""
    filled = {}
    for name, part in zip(state._fields, state, strict=True):
        if name in names:
            learner = isinstance(part, Learner)
            network = file.fill(part.network if learner else part, *names[name])
            filled[name] = part._replace(network=network) if learner else network
        elif hasattr(part, "_fields") and not isinstance(part, Learner):
            filled[name] = fill(part, file, names)
    return state._replace(**filled)


def fill_of(algorithm: Any, file: Golden, names: Names) -> Any:
    """The state before the first update, whose networks are those of the file; the rest is 0, as Adam begins."""
    example = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[0]), file.batch)
    filled = fill(shapes_of(algorithm, example), file, names)

    def known(leaf: jax.Array | jax.ShapeDtypeStruct) -> jax.Array:
        return leaf if isinstance(leaf, jax.Array) else jnp.asarray(np.zeros(leaf.shape, leaf.dtype))

    return jax.tree.map(known, filled)


def parts(state: Any) -> dict[str, Any]:
    """Learners and target networks of a state, by name."""
    found = {}
    for name, part in zip(state._fields, state, strict=True):
        if hasattr(part, "_fields") and not isinstance(part, Learner):
            found.update(parts(part))
        else:
            found[name] = part
    return found


def check_update(
    algorithm: Any, file: Golden, names: Names, noise: tuple[Any, ...], metrics: Mapping[str, str], gradient_atol: float
) -> dict[str, jax.Array]:
    """The three promises of parity: reported losses, gradients, and parameters after Adam and the targets' move.

    All metrics are returned. Gradients are those before any clip, so they are read with each network clipped by itself,
    inside its optimiser.
    """
    separate = dataclasses.replace(algorithm, joint_clip=False) if hasattr(algorithm, "joint_clip") else algorithm
    separate = recording(separate)
    after, ours = jax.jit(separate.step)(fill_of(separate, file, names), file.batch, *noise)
    gradients = {name: part.optimizer.gradient for name, part in parts(after).items() if isinstance(part, Learner)}
    if getattr(algorithm, "joint_clip", False):
        after, ours = jax.jit(algorithm.step)(fill_of(algorithm, file, names), file.batch, *noise)
    for mine, published in metrics.items():
        np.testing.assert_allclose(ours[mine], file.arrays[published], rtol=2e-5, atol=1e-6, err_msg=mine)
    after = parts(after)
    for name, place in names.items():
        theirs = file.leaves("after", *place)
        if isinstance(after[name], Learner):
            assert_close(gradients[name], file.leaves("grads", *place), rtol=1e-4, atol=gradient_atol)
            assert_close(after[name].network, theirs, atol=20 * gradient_atol)
        else:
            assert_close(after[name], theirs)
    return ours


def reported(file: Golden, **metrics: str) -> dict[str, str]:
    """Names of ours to keys of the file, where the published code reports them."""
    keys = {mine: f"metric/{theirs}" for mine, theirs in metrics.items()}
    return {mine: key for mine, key in keys.items() if key in file.arrays}


@pytest.mark.parametrize("case", GFP_FILES)
def test_golden_gfp(case: str, golden: Path) -> None:
    file = Golden(golden / f"gfp-{case}.npz")
    config = file.config
    algorithm = GFP(
        alpha=float(config["alpha"]),
        temperature=float(config["eta_temperature"]),
        aggregate=Aggregate[config["q_agg"]],
        target=TARGETS[config["target_agg"], config["target_use_next"]],
        reference=Reference[config["guidance_agg"]],
        weight=Weight[config["guidance_fn"]],
        flow_steps=config["flow_steps"],
        hidden=file.hidden,
    )
    names = {
        "actor": ("modules_actor/mlp",),
        "flow": ("modules_vabc/mlp",),
        "critic": ("modules_critic/value_net",),
        "target_critic": ("modules_target_critic/value_net",),
    }
    metrics = reported(
        file,
        critic_loss="critic/critic_loss",
        q="critic/q_mean",
        flow_loss="actor/VaBC_loss",
        distillation_loss="actor/distill_loss",
        q_loss="actor/q_loss",
        weight="actor/guidance",
        q_reference="actor/q_ref",
    )
    assert len(metrics) == (5 if case == "no_guidance" else 7)  # the published code computes no guidance that is off
    noise = file.noise(distillation.Noise)
    check_update(algorithm, file, names, (noise,), metrics, 1e-4 if case == "sharp" else 1e-6)


@pytest.mark.parametrize("case", ["fql", "fql-normalized"])
def test_golden_fql(case: str, golden: Path) -> None:
    file = Golden(golden / f"{case}.npz")
    config = file.config
    algorithm = FQL(
        alpha=config["alpha"],
        normalize_q=config["normalize_q_loss"],
        aggregate=Aggregate[config["q_agg"]],
        flow_steps=config["flow_steps"],
        hidden=file.hidden,
    )
    names = {
        "actor": ("modules_actor_onestep_flow/mlp",),
        "flow": ("modules_actor_bc_flow/mlp",),
        "critic": ("modules_critic/value_net",),
        "target_critic": ("modules_target_critic/value_net",),
    }
    metrics = reported(
        file,
        critic_loss="critic/critic_loss",
        q="critic/q_mean",
        flow_loss="actor/bc_flow_loss",
        distillation_loss="actor/distill_loss",
        q_loss="actor/q_loss",
    )
    assert len(metrics) == 5
    check_update(algorithm, file, names, (file.noise(distillation.Noise),), metrics, 1e-6)


VALUES = {
    "critic": ("modules_critic/value_net",),
    "target_critic": ("modules_target_critic/value_net",),
    "value": ("modules_value/value_net",),
}
VALUE_METRICS = {
    "critic_loss": "critic/critic_loss",
    "value_loss": "value/value_loss",
    "v": "value/v_mean",
}


@pytest.mark.parametrize("case", ["iql", "iql-ddpgbc"])
def test_golden_iql(case: str, golden: Path) -> None:
    file = Golden(golden / f"{case}.npz")
    config = file.config
    extraction = Extraction[config["actor_loss"]]
    algorithm = IQL(alpha=config["alpha"], expectile=config["expectile"], extraction=extraction, hidden=file.hidden)
    names = {**VALUES, "actor": ("modules_actor/actor_net", "modules_actor/mean_net")}
    metrics = reported(file, **VALUE_METRICS, actor_loss="actor/actor_loss", error="actor/mse")
    assert len(metrics) == 5
    check_update(algorithm, file, names, (), metrics, 1e-6)


def test_golden_ifql(golden: Path) -> None:
    file = Golden(golden / "ifql.npz")
    config = file.config
    algorithm = IFQL(
        expectile=config["expectile"],
        candidates=config["num_samples"],
        flow_steps=config["flow_steps"],
        hidden=file.hidden,
    )
    names = {**VALUES, "flow": ("modules_actor_flow/mlp",)}
    metrics = reported(file, **VALUE_METRICS, flow_loss="actor/actor_loss")
    assert len(metrics) == 4
    check_update(algorithm, file, names, (file.noise(cloning.Noise),), metrics, 1e-6)


def test_golden_rebrac(golden: Path) -> None:
    file = Golden(golden / "rebrac.npz")
    config = file.config
    algorithm = ReBRAC(
        alpha_actor=config["alpha_actor"],
        alpha_critic=config["alpha_critic"],
        smoothing=config["actor_noise"],
        smoothing_limit=config["actor_noise_clip"],
        actor_interval=config["actor_freq"],
        hidden=file.hidden,
    )
    names = {
        "actor": ("modules_actor/actor_net", "modules_actor/mean_net"),
        "target_actor": ("modules_target_actor/actor_net", "modules_target_actor/mean_net"),
        "critic": ("modules_critic/value_net",),
        "target_critic": ("modules_target_critic/value_net",),
    }
    metrics = reported(file, critic_loss="critic/critic_loss", q="critic/q_mean")
    assert len(metrics) == 2
    noise = jnp.asarray(file.arrays["noise/target_smoothing"])
    ours = check_update(algorithm, file, names, (noise,), metrics, 1e-6)
    # Actor metrics are per actor step, so in a step that the actor takes they are that many times as large.
    np.testing.assert_allclose(ours["actor_loss"] / 2, file.arrays["metric/actor/total_loss"], rtol=2e-5)
    bc_loss = config["alpha_actor"] * ours["distance"] / 2
    np.testing.assert_allclose(bc_loss, file.arrays["metric/actor/bc_loss"], rtol=2e-5)


QGF_NAMES = {
    "flow": ("policy/MLP_0", "policy/Dense_0"),
    "critic": ("critic/value_net",),
    "value": ("value/value_net",),
    "target_critic": ("target_critic/value_net",),
}


@pytest.mark.parametrize("case", ["qgf", "qgf-chunk5", "qgf-nstep3"])
def test_golden_qgf(case: str, golden: Path) -> None:
    file = Golden(golden / f"{case}.npz")
    algorithm = QGF(expectile=file.config["expectile"], tau=file.config["tau"], hidden=file.hidden)
    metrics = {"flow_loss": "loss/policy", "critic_loss": "loss/critic", "value_loss": "loss/value"}
    noise = file.noise(cloning.Noise)
    check_update(algorithm, file, QGF_NAMES, (noise, noise), metrics, 1e-6)
