"""QGF's rivals agree with its release: losses, gradients, parameters after one update, and sampled actions."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_file import Golden
from test_golden import QGF_NAMES, check_update, fill_of

from guidedflow.algorithms import CFGRL, DAC, EDP, QAM, QGF, QSM
from guidedflow.algorithms.parts import adjoints, cloning, denoising
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.flows.diffusion import Schedule, denoise
from guidedflow.flows.guidance import NoisyGradient, RolloutGradient
from guidedflow.flows.path import clip, integrate
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import Aggregate
from guidedflow.policies.kinds import FlowPolicy

later = partial(pytest.param, marks=pytest.mark.slow)
VALUE_LOSSES = {"critic_loss": "loss/critic", "value_loss": "loss/value"}


def filled(algorithm: Any, file: Golden, names: Any) -> Any:
    return fill_of(algorithm, file, names)


def sampled(policy: Any, file: Golden, sampler: Sampler) -> jax.Array:
    """The policy's action at every observation of the file, from the file's noise."""
    name = "noise/sample" if sampler.candidates == 1 else f"noise/sample_best_of_{sampler.candidates}"
    observations = file.batch.observation
    noise = jnp.asarray(file.arrays[name]).reshape(len(observations), sampler.candidates, -1)

    def act(observation: jax.Array, noise: jax.Array) -> jax.Array:
        values = policy.critic.given(observation)
        return sampler(policy.flow.given(observation), lambda action, t: policy.aggregate(values(action, t)), noise)

    return jax.jit(jax.vmap(act))(observations, noise)


def check_actions(policy: FlowPolicy, file: Golden, name: str, sampler: Sampler, **tolerance: float) -> None:
    theirs = file.arrays[f"action/{name}"]
    np.testing.assert_allclose(sampled(policy, file, sampler), theirs, **({"rtol": 1e-4, "atol": 2e-4} | tolerance))


@pytest.mark.parametrize("case", ["cfgrl", later("cfgrl-chunk5")])
def test_golden_cfgrl(case: str, golden: Path) -> None:
    file = Golden(golden / f"{case}.npz")
    algorithm = CFGRL(expectile=file.config["expectile"], tau=file.config["tau"], hidden=file.hidden)
    observation, action = file.batch.observation.shape[1], file.batch.action.shape[1]
    theirs = np.split(np.arange(observation + action + 48), [observation, observation + action + 16])
    file.reorder(
        "actor/MLP_0/Dense_0", np.concatenate([theirs[0], theirs[2], theirs[1]])
    )  # the label comes second here
    flow = (("actor/MLP_0", "actor/Dense_0"), ("actor/Embed_0/embedding",))
    names = {**QGF_NAMES, "flow": flow}
    metrics = {"flow_loss": "loss/actor", "better": "metric/actor/actor_positive_ratio", **VALUE_LOSSES}
    check_update(algorithm, file, names, (file.noise(cloning.Noise),), metrics, 1e-6)
    conditional: Any = algorithm.policies(filled(algorithm, file, names))["conditional"]
    for weight in (0.0, 1.0, 3.0, 10.0):
        check_actions(conditional.conditioned(weight), file, f"weight_{weight}", Sampler())
    check_actions(conditional.conditioned(3.0), file, "weight_3.0_best_of_4", Sampler(candidates=4))


@pytest.mark.parametrize("case", ["edp", later("edp-chunk5")])
def test_golden_edp(case: str, golden: Path) -> None:
    file = Golden(golden / f"{case}.npz")
    config = file.config
    algorithm = EDP(alpha=config["bc_weight"], expectile=config["expectile"], tau=config["tau"], hidden=file.hidden)
    metrics = {"flow_loss": "metric/policy/bc_loss", "q_loss": "metric/policy/q_loss", **VALUE_LOSSES}
    check_update(algorithm, file, QGF_NAMES, (file.noise(cloning.Noise),), metrics, 1e-6)
    policy: Any = algorithm.policies(filled(algorithm, file, QGF_NAMES))["flow"]
    check_actions(policy, file, "sample", Sampler())
    check_actions(policy, file, "best_of_4", Sampler(candidates=4))


@pytest.mark.parametrize("case", ["robust_q", later("robust_q-chunk5")])
def test_golden_robust_q(case: str, golden: Path) -> None:
    """Its guidance is the gradient of a batch mean, so its weight W is one of W / batch here."""
    file = Golden(golden / f"{case}.npz")
    algorithm = QGF(expectile=file.config["expectile"], tau=file.config["tau"], robust=True, hidden=file.hidden)
    names = {**QGF_NAMES, "robust": ("robust_critic/value_net",)}
    metrics = {"flow_loss": "loss/policy", "robust_loss": "loss/robust_critic", **VALUE_LOSSES}
    robust_noise = cloning.Noise(*(jnp.asarray(file.arrays[f"noise/robust_{name}"]) for name in ("source", "time")))
    check_update(algorithm, file, names, (file.noise(cloning.Noise), robust_noise), metrics, 1e-6)
    policies: Any = algorithm.policies(filled(algorithm, file, names))
    for weight in (0.0, 0.4, 4.0, 24.0):
        sampler = Sampler(guidance=NoisyGradient(weight / 8))
        check_actions(policies["robust"], file, f"mean_weight_{weight}", sampler)

    # Its best of N is chosen by the critic of clean actions, ours by the critic that guides.
    flow, noisy, clean = policies["flow"].flow, policies["robust"].critic, policies["flow"].critic
    guidance = NoisyGradient(0.4 / 32)

    def best(observation: jax.Array, noise: jax.Array) -> jax.Array:
        values = noisy.given(observation)
        guided = guidance(flow.given(observation), lambda action, t: values(action, t)[0])
        actions = jax.vmap(lambda noise: clip(integrate(guided, noise, 10)))(noise)
        return actions[jnp.argmax(jax.vmap(lambda action: jnp.min(clean.given(observation)(action)))(actions))]

    noise = jnp.asarray(file.arrays["noise/sample_best_of_4"]).reshape(8, 4, -1)
    theirs = file.arrays["action/mean_weight_0.4_best_of_4"]
    np.testing.assert_allclose(jax.jit(jax.vmap(best))(file.batch.observation, noise), theirs, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("case", ["bptt", later("bptt-chunk5")])
def test_golden_bptt(case: str, golden: Path) -> None:
    file = Golden(golden / f"{case}.npz")
    algorithm = QGF(expectile=file.config["expectile"], tau=file.config["tau"], hidden=file.hidden)
    metrics = {"flow_loss": "loss/policy", **VALUE_LOSSES}
    noise = file.noise(cloning.Noise)
    check_update(algorithm, file, QGF_NAMES, (noise, noise), metrics, 1e-6)
    policy: Any = algorithm.policies(filled(algorithm, file, QGF_NAMES))["flow"]
    for key in [key for key in file.arrays if key.startswith("action/weight_")]:
        weight, _, best = key.removeprefix("action/weight_").partition("_best_of_")
        sampler = Sampler(guidance=RolloutGradient(float(weight)), candidates=int(best or 1))
        check_actions(policy, file, key.removeprefix("action/"), sampler)


QAM_NAMES = {
    "fast": ("modules_actor_fast/MLP_0", "modules_actor_fast/Dense_0"),
    "base": ("modules_actor_slow/MLP_0", "modules_actor_slow/Dense_0"),
    "target_base": ("modules_target_actor_slow/MLP_0", "modules_target_actor_slow/Dense_0"),
    "critic": ("modules_critic/value_net",),
    "target_critic": ("modules_target_critic/value_net",),
    "value": ("modules_value/value_net",),
}
TARGETS = {"iql": Aggregate.min, "ddpg": Aggregate.pessimistic}
IMPLICIT = {"critic_loss": "metric/critic/critic_loss", "value_loss": "metric/value/value_loss"}


@pytest.mark.parametrize("case", ["qam", later("qam-chunk5"), later("qam-kappa3"), later("qam-ddpg")])
def test_golden_qam(case: str, golden: Path) -> None:
    file = Golden(golden / f"{case}.npz")
    config = file.config
    algorithm = QAM(
        kappa=config["inv_temp"], expectile=config["expectile"], tau=config["tau"], hidden=file.hidden,
        joint_clip=True, separate_start=True, online_ranking=True, bootstrapped=config["critic_loss_type"] == "ddpg",
        ensemble=Ensemble(config["num_qs"], target_aggregate=TARGETS[config["critic_loss_type"]], rho=config["rho"]),
    )  # fmt: skip
    names = {name: place for name, place in QAM_NAMES.items() if name != "value" or not algorithm.bootstrapped}
    metrics = {"adjoint_loss": "metric/actor/adj_loss", "flow_loss": "metric/actor/flow_loss"}
    metrics |= {mine: theirs for mine, theirs in IMPLICIT.items() if theirs in file.arrays}
    check_update(algorithm, file, names, (file.noise(adjoints.Noise),), metrics, 1e-6)
    policies: Any = algorithm.policies(filled(algorithm, file, names))
    check_actions(policies["flow"], file, "sample", Sampler())
    check_actions(policies["base"], file, "base", Sampler())
    check_actions(policies["flow"], file, "best_of_4", Sampler(candidates=4))


DIFFUSION_NAMES = {
    "noise": (
        ("modules_actor/FourierFeatures_0/kernel",), ("modules_actor/MLP_0",), ("modules_actor/MLP_1",),
    ),
    "critic": ("modules_critic/value_net",),
    "target_critic": ("modules_target_critic/value_net",),
    "value": ("modules_value/value_net",),
}  # fmt: skip


@pytest.mark.parametrize("case", ["dac", later("dac-chunk5"), "qsm", later("qsm-chunk5")])
def test_golden_dac_and_qsm(case: str, golden: Path) -> None:
    file = Golden(golden / f"{case}.npz")
    config = file.config
    observation, action = file.batch.observation.shape[1], file.batch.action.shape[1]
    order = np.arange(observation + action + file.hidden[-1])
    order[: observation + action] = np.roll(order[: observation + action], -action)  # the observation comes first here
    file.reorder("modules_actor/MLP_1/Dense_0", order)
    shared = {
        "alpha": config["alpha"], "expectile": config["expectile"], "tau": config["tau"], "hidden": file.hidden,
        "joint_clip": True, "deep_time": True, "published_denoising": True,
    }  # fmt: skip
    algorithm: Any = (
        DAC(mean_guidance=True, **shared) if case.startswith("dac") else QSM(kappa=config["inv_temp"], **shared)
    )
    metrics = {"guidance_loss": "metric/actor/actor_loss", "cloning_loss": "metric/actor/bc_loss", **IMPLICIT}
    check_update(algorithm, file, DIFFUSION_NAMES, (file.noise(denoising.Noise),), metrics, 1e-6)
    np.testing.assert_allclose(algorithm.schedule.betas(), file.arrays["schedule/betas"][1:], rtol=1e-5)
    np.testing.assert_allclose(algorithm.schedule.kept(), file.arrays["schedule/alpha_hats"][1:], rtol=1e-5)
    field = filled(algorithm, file, DIFFUSION_NAMES).noise.network

    def act(observation: jax.Array, noise: jax.Array) -> jax.Array:
        return denoise(field.given(observation), Schedule(config["diffusion_steps"], published=True), noise)

    steps = jnp.asarray(file.arrays["noise/sample_steps"])
    actions = jax.jit(jax.vmap(act))(file.batch.observation, steps)
    theirs = file.arrays["action/sample"]
    np.testing.assert_allclose(actions, theirs, rtol=2e-3, atol=1e-3 * np.abs(theirs).max())
