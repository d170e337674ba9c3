"""Losses, gradients and the parameters after one update agree with the published implementations.

The files in tests/golden (or in the folder named by GUIDEDFLOW_GOLDEN) hold what those computed, with all the noise
that they drew, so that the same noise can be fed here.
"""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from guidedflow import distillation
from guidedflow.algorithm import Learner
from guidedflow.algorithms import FQL, GFP
from guidedflow.algorithms.gfp import Reference, Target, Weight
from guidedflow.networks import MLP, Aggregate, Critic, OneStepActor, RawTime, SinusoidalTime, VelocityField
from guidedflow.types import Transition

TARGETS = {("actor", False): Target.actor, ("mean", False): Target.published_mean, ("mean", True): Target.mean}
GFP_FILES = [
    "advantage", "default", "guidance_min", "no_guidance", "qmin", "sharp", "steps3", "target_mean", "target_mean_next",
]  # fmt: skip


class Golden:
    """One file, and the settings that it was made with."""

    def __init__(self, path: Path):
        with np.load(path, allow_pickle=False) as arrays:
            self.arrays = {name: arrays[name] for name in arrays.files}
        self.config: dict[str, Any] = json.loads(str(self.arrays.pop("config")))

    def mlps(self, kind: str, name: str) -> tuple[MLP, ...]:
        """The parameters, gradients or parameters after the update (`kind`) of the MLPs stacked at `name`."""
        prefix = f"{kind}/{name}/"
        found = {key.removeprefix(prefix): self.arrays[key] for key in self.arrays if key.startswith(prefix)}
        if found["Dense_0/kernel"].ndim == 2:
            return (self._mlp(found),)
        return tuple(self._mlp({key: value[i] for key, value in found.items()}) for i in range(2))

    @staticmethod
    def _mlp(arrays: dict[str, np.ndarray]) -> MLP:
        found = {key: jnp.asarray(value) for key, value in arrays.items()}
        depth = sum(key.endswith("kernel") for key in found)
        norms = sum(key.endswith("scale") for key in found)
        sizes = [found[f"Dense_{i}/kernel"].shape[-2] for i in range(depth)]
        outputs = found[f"Dense_{depth - 1}/kernel"].shape[-1]
        template = MLP(sizes[0], sizes[1:], outputs, layer_norm=norms > 0, key=jax.random.key(0))
        weights = [found[f"Dense_{i}/kernel"] for i in range(depth)]
        template = eqx.tree_at(lambda mlp: [layer.weight for layer in mlp.layers], template, weights)
        template = eqx.tree_at(
            lambda mlp: [layer.bias for layer in mlp.layers], template, [found[f"Dense_{i}/bias"] for i in range(depth)]
        )
        for i in range(norms):
            template = eqx.tree_at(
                lambda mlp, i=i: (mlp.norms[i].weight, mlp.norms[i].bias),
                template,
                (found[f"LayerNorm_{i}/scale"], found[f"LayerNorm_{i}/bias"]),
            )
        return template

    def leaves(self, kind: str, name: str) -> list[np.ndarray]:
        return jax.tree.leaves(self.mlps(kind, name))

    @property
    def batch(self) -> Transition:
        read = {key.removeprefix("batch/"): jnp.asarray(value) for key, value in self.arrays.items() if "batch/" in key}
        return Transition(
            observation=read["observations"],
            action=read["actions"],
            reward=read["rewards"],
            discount=np.float32(self.config["discount"]) * read["masks"],
            next_observation=read["next_observations"],
            next_action=jnp.zeros_like(read["actions"]),
        )

    @property
    def noise(self) -> distillation.Noise:
        return distillation.Noise(*(jnp.asarray(self.arrays[f"noise/{name}"]) for name in distillation.Noise._fields))


def recorder() -> optax.GradientTransformation:
    """An optimiser that moves nothing and keeps the gradient as its state."""

    def update(gradient: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return jax.tree.map(jnp.zeros_like, gradient), gradient

    return optax.GradientTransformation(lambda params: jax.tree.map(jnp.zeros_like, params), update)


def with_parameters(module: Any, mlps: tuple[MLP, ...]) -> Any:
    """The network `module`, with the MLPs of a file."""
    if isinstance(module, Critic):
        return eqx.tree_at(lambda module: module.members, module, mlps)
    return eqx.tree_at(lambda module: module.mlp, module, mlps[0])


def state_of(golden: Golden, names: dict[str, str], algorithm: Any, embedding: Any) -> distillation.State:
    hidden = tuple(golden.config["actor_hidden_dims"])
    shape, size = golden.batch.observation.shape[1:], golden.batch.action.shape[1]
    key = jax.random.key(0)
    actor = with_parameters(OneStepActor(shape, size, hidden, key=key), golden.mlps("params", names["actor"]))
    flow = with_parameters(VelocityField(shape, size, hidden, embedding, key=key), golden.mlps("params", names["flow"]))
    critic = Critic(shape, size, hidden, key=key)
    return distillation.State(
        actor=Learner.init(actor, algorithm.optimizer),
        flow=Learner.init(flow, algorithm.optimizer),
        critic=Learner.init(with_parameters(critic, golden.mlps("params", names["critic"])), algorithm.optimizer),
        target_critic=with_parameters(critic, golden.mlps("params", names["target_critic"])),
    )


def assert_close(ours: Any, theirs: list[np.ndarray], *, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    ours = jax.tree.leaves(ours)
    assert len(ours) == len(theirs)
    for mine, published in zip(ours, theirs, strict=True):
        scale = max(1.0, float(np.abs(published).max()))
        np.testing.assert_allclose(mine, published, rtol=rtol, atol=atol * scale)


def gradients(algorithm: Any, golden: Golden, names: dict[str, str], embedding: Any) -> Iterator[tuple[str, Any]]:
    class Recording(type(algorithm)):  # type: ignore[misc]
        optimizer = property(lambda self: recorder())

    settings = {field.name: getattr(algorithm, field.name) for field in dataclasses.fields(algorithm)}
    recording = Recording(**settings)
    state, _ = recording.step(state_of(golden, names, recording, embedding), golden.batch, golden.noise)
    for name in ("actor", "flow", "critic"):
        yield name, getattr(state, name).optimizer


def check_update(
    algorithm: Any, golden: Golden, names: dict[str, str], embedding: Any, metrics: dict[str, str], gradient_atol: float
) -> None:
    """The three promises of parity: reported losses, gradients, and parameters after Adam and the target's move."""
    after, ours = jax.jit(algorithm.step)(state_of(golden, names, algorithm, embedding), golden.batch, golden.noise)
    for mine, published in metrics.items():
        expected = golden.arrays[f"metric/{published}"]
        np.testing.assert_allclose(ours[mine], expected, rtol=2e-5, atol=1e-6, err_msg=mine)
    for name, gradient in gradients(algorithm, golden, names, embedding):
        assert_close(gradient, golden.leaves("grads", names[name]), rtol=1e-4, atol=gradient_atol)
    for name in ("actor", "flow", "critic"):
        assert_close(getattr(after, name).network, golden.leaves("after", names[name]), atol=20 * gradient_atol)
    assert_close(after.target_critic, golden.leaves("after", names["target_critic"]))


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
        hidden=tuple(config["actor_hidden_dims"]),
    )
    names = {
        "actor": "modules_actor/mlp",
        "flow": "modules_vabc/mlp",
        "critic": "modules_critic/value_net",
        "target_critic": "modules_target_critic/value_net",
    }
    metrics = {
        "critic_loss": "critic/critic_loss",
        "q": "critic/q_mean",
        "flow_loss": "actor/VaBC_loss",
        "distillation_loss": "actor/distill_loss",
        "q_loss": "actor/q_loss",
        "weight": "actor/guidance",
        "q_reference": "actor/q_ref",
    }
    if case == "no_guidance":  # the published code does not compute what it does not use
        metrics = {ours: theirs for ours, theirs in metrics.items() if f"metric/{theirs}" in file.arrays}
    check_update(algorithm, file, names, SinusoidalTime(64), metrics, 1e-4 if case == "sharp" else 1e-6)


@pytest.mark.parametrize("case", ["fql", "fql-normalized"])
def test_golden_fql(case: str, golden: Path) -> None:
    file = Golden(golden / f"{case}.npz")
    config = file.config
    algorithm = FQL(
        alpha=config["alpha"],
        normalize_q=config["normalize_q_loss"],
        aggregate=Aggregate[config["q_agg"]],
        flow_steps=config["flow_steps"],
        hidden=tuple(config["actor_hidden_dims"]),
    )
    names = {
        "actor": "modules_actor_onestep_flow/mlp",
        "flow": "modules_actor_bc_flow/mlp",
        "critic": "modules_critic/value_net",
        "target_critic": "modules_target_critic/value_net",
    }
    metrics = {
        "critic_loss": "critic/critic_loss",
        "q": "critic/q_mean",
        "flow_loss": "actor/bc_flow_loss",
        "distillation_loss": "actor/distill_loss",
        "q_loss": "actor/q_loss",
    }
    check_update(algorithm, file, names, RawTime(), metrics, 1e-6)
