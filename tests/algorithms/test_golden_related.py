"""The related systems agree with their published code, as in `test_golden`: losses, gradients, parameters, actions."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_file import Golden
from test_golden import check_update, fill_of, reported

from guidedflow.algorithms import LPS, ReFORM, lps, reform
from guidedflow.algorithms.lps import Extraction
from guidedflow.algorithms.parts import one_step_flow
from guidedflow.flows.meanflow import Prediction
from guidedflow.flows.reflection import integrate_reflected
from guidedflow.flows.sources import Latent
from guidedflow.networks import Aggregate

VALUES = {"critic": ("modules_critic/value_net",), "target_critic": ("modules_target_critic/value_net",)}
PREDICTIONS = {"jit_mf": Prediction.clean, "mfql": Prediction.clean, "mf": Prediction.published_velocity}
EXTRACTIONS = {"ddpg": Extraction.ddpg, "onestep_ddpg": Extraction.published_onestep}


@pytest.mark.parametrize("case", ["lps", "lps-h1-mean", "lps-onestep", "lps-mf", "lps-mfql"])
def test_golden_lps(case: str, golden: Path) -> None:
    file = Golden(golden / f"{case}.npz")
    config = file.config
    algorithm = LPS(
        alpha=config["alpha"],
        latent=Latent[config["latent_dist"]],
        prediction=PREDICTIONS[config["mf_method"]],
        extraction=EXTRACTIONS[config["extract_method"]],
        aggregate=Aggregate[config["critic_agg"]],
        hidden=file.hidden,
        critic_hidden=tuple(config["critic_hidden_dims"]),
        actor_hidden=tuple(config["latent_actor_hidden_dims"]),
    )
    names = {**VALUES, "actor": ("modules_latent_actor/mlp",), "flow": ("modules_actor_bc_flow/mlp",)}
    if config["mf_method"] == "mf":  # whose network predicts noise - action, ours action - noise
        for key in [key for key in file.arrays if "modules_actor_bc_flow/mlp/Dense_3" in key]:
            file.arrays[key] = -file.arrays[key]
    source, start, end = (file.arrays[f"noise/mean_flow_{name}"] for name in ("source", "t", "r"))
    flow = one_step_flow.Noise(jnp.asarray(source), jnp.asarray(1 - start), jnp.asarray(1 - end))
    latents = (jnp.asarray(file.arrays.get(f"noise/{name}", source)) for name in ("latent", "next_latent"))
    metrics = reported(
        file,
        critic_loss="critic/critic_loss",
        q="critic/q_mean",
        flow_loss="actor/actor_loss",
        actor_loss="latent/latent_loss",
        q_loss="latent/q_loss",
        distillation_loss="latent/mse_loss",
    )
    assert len(metrics) == (6 if case == "lps-onestep" else 4)
    check_update(algorithm, file, names, (lps.Noise(flow, *latents),), metrics, 1e-6)
    policies = algorithm.policies(fill_of(algorithm, file, names))
    batch = file.batch
    for policy, key in (("actor", "sample"), ("behaviour", "behaviour")):
        noise = jnp.asarray(file.arrays.get(f"noise/{key}", source))
        actions = jax.vmap(lambda s, z, actor=policies[policy].actor: actor.given(s)(z))(batch.observation, noise)
        np.testing.assert_allclose(actions, file.arrays[f"action/{key}"].reshape(8, -1), atol=2e-5)


@pytest.mark.parametrize("case", ["reform", "reform-reflected", "reform-normalized"])
def test_golden_reform(case: str, golden: Path) -> None:
    file = Golden(golden / f"{case}.npz")
    config = file.config
    algorithm = ReFORM(
        weight=config["q_loss_coef"],
        normalize_q=config["normalize_q_loss"],
        aggregate=Aggregate[config["q_agg"]],
        flow_steps=config["action_flow_steps"],
        max_norm=config["max_grad_norm"],
        hidden=file.hidden,
    )
    names = {
        "critic": ("modules_critic/VmapMLP_0",),
        "target_critic": ("modules_target_critic/VmapMLP_0",),
        "generator": ("modules_actor_noise_generator/MLP_0",),
        "student": ("modules_actor_onestep_flow/MLP_0",),
        "flow": ("modules_actor_bc_flow/MLP_0",),
    }
    # The file has gradients before the clip of their norm, which binds; the optimiser sees them after it.
    shrink = min(1.0, config["max_grad_norm"] / float(file.arrays["metric/total/grad_norm"]))
    for key in [key for key in file.arrays if key.startswith("grads/")]:
        file.arrays[key] = file.arrays[key] * np.float32(shrink)
    assert shrink < 1
    metrics = reported(
        file,
        critic_loss="critic/critic_loss",
        q="critic/q_mean",
        flow_loss="actor/bc_flow_loss",
        distillation_loss="actor/distill_loss",
        q_loss="actor/q_loss",
    )
    assert len(metrics) == 5
    check_update(algorithm, file, names, (file.noise(reform.Noise),), metrics, 1e-6)
    state = fill_of(algorithm, file, names)
    policies, batch, noise = algorithm.policies(state), file.batch, jnp.asarray(file.arrays["noise/sample"])
    actions = jax.vmap(lambda s, z: policies["actor"].actor.given(s)(z))(batch.observation, noise)
    np.testing.assert_allclose(actions, file.arrays["action/sample"], atol=2e-5)

    def generated(observation: jax.Array, point: jax.Array) -> jax.Array:
        return integrate_reflected(state.generator.network.given(observation), point, 10, 3**0.5)

    points = jax.vmap(generated)(batch.observation, noise)
    np.testing.assert_allclose(points, file.arrays["action/generated_noise"], atol=2e-5)
    assert np.all(np.linalg.norm(points, axis=1) <= 3**0.5 + 1e-6)
