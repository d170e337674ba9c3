"""The related systems agree with their published code, as in `test_golden`: losses, gradients, parameters, actions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_file import Golden, Names, assert_close, recording
from test_golden import check_update, fill_of, reported

from guidedflow.algorithms import A2PO, BC, CFPI, LAPO, LPS, MISA, ReFORM, a2po, cfpi, lapo, lps, misa, reform
from guidedflow.algorithms.learner import Learner
from guidedflow.algorithms.lps import Extraction
from guidedflow.algorithms.parts import cloning, one_step_flow
from guidedflow.flows.improvement import CFPI as Improvement
from guidedflow.flows.meanflow import Prediction
from guidedflow.flows.reflection import integrate_reflected
from guidedflow.flows.sources import Latent
from guidedflow.networks import Aggregate, QuantileCritic
from guidedflow.policies.improved import improved
from guidedflow.types import Transition


def one_quick(*cases: str) -> list[Any]:
    """The cases, of which the first is quick and the others run with the slow tests."""
    return [pytest.param(case, marks=[pytest.mark.slow] if case != cases[0] else []) for case in cases]


class Parts(Golden):
    """A file whose networks are several stacks of layers: a name is the stack's place, and they follow each other."""

    def leaves(self, kind: str, *places: str) -> list[np.ndarray]:
        return [leaf for place in places for leaf in self._stack(kind, place)]

    def _stack(self, kind: str, place: str) -> list[np.ndarray]:
        return super().leaves(kind, place) if f"{kind}/{place}/Dense_0/kernel" in self.arrays else []

    def join(self, trunk: str, layer: int, *heads: str) -> None:
        """Several heads on a trunk become its next layer."""
        for kind in ("params", "grads", "second_grads", "between", "after"):
            for part in ("kernel", "bias"):
                names = [name for head in heads for name in self.arrays if name == f"{kind}/{head}/{part}"]
                if names:
                    joined = np.concatenate([self.arrays.pop(name) for name in names], axis=-1)
                    self.arrays[f"{kind}/{trunk}/Dense_{layer}/{part}"] = joined


def check_step(algorithm: Any, file: Golden, names: Names, noise: Any, metrics: Mapping[str, str], **start: Any) -> Any:
    """As `check_update`, from a state whose other fields are `start`; a network without gradients must not move."""
    algorithm = recording(algorithm)
    before = fill_of(algorithm, file, names)._replace(**start)
    after, ours = jax.jit(algorithm.step)(before, file.batch, noise)
    for mine, published in metrics.items():
        np.testing.assert_allclose(ours[mine], file.arrays[published].mean(), rtol=2e-5, atol=1e-6, err_msg=mine)
    for name, places in names.items():
        mine = getattr(after, name)
        network = mine.network if isinstance(mine, Learner) else mine
        theirs = file.leaves("after", *places) or file.leaves("params", *places)
        if isinstance(mine, Learner) and (gradients := file.leaves("grads", *places)):
            assert_close(mine.optimizer.gradient, gradients, rtol=1e-4, atol=1e-6)
            assert_close(network, theirs, atol=2e-5)
        else:
            assert_close(network, theirs)
    return after


VALUES = {"critic": ("modules_critic/value_net",), "target_critic": ("modules_target_critic/value_net",)}
PREDICTIONS = {"jit_mf": Prediction.clean, "mfql": Prediction.clean, "mf": Prediction.published_velocity}
EXTRACTIONS = {"ddpg": Extraction.ddpg, "onestep_ddpg": Extraction.published_onestep}


@pytest.mark.parametrize("case", one_quick("lps", "lps-h1-mean", "lps-onestep", "lps-mf", "lps-mfql"))
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
        act = jax.jit(jax.vmap(lambda s, z, actor=policies[policy].actor: actor.given(s)(z)))
        actions = act(batch.observation, noise)
        np.testing.assert_allclose(actions, file.arrays[f"action/{key}"].reshape(8, -1), atol=2e-5)


@pytest.mark.parametrize("case", one_quick("reform-reflected", "reform", "reform-normalized"))
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
    actions = jax.jit(jax.vmap(lambda s, z: policies["actor"].actor.given(s)(z)))(batch.observation, noise)
    np.testing.assert_allclose(actions, file.arrays["action/sample"], atol=2e-5)

    def generated(observation: jax.Array, point: jax.Array) -> jax.Array:
        return integrate_reflected(state.generator.network.given(observation), point, 10, 3**0.5)

    points = jax.jit(jax.vmap(generated))(batch.observation, noise)
    np.testing.assert_allclose(points, file.arrays["action/generated_noise"], atol=2e-5)
    assert np.all(np.linalg.norm(points, axis=1) <= 3**0.5 + 1e-6)


A2PO_NAMES = {
    "actor": ("actor",),
    "target_actor": ("target_actor",),
    "vae": ("vae/encoder", "vae/decoder"),
    "critic": ("critic",),
    "target_critic": ("target_critic",),
    "value": ("value",),
}


def a2po_of(path: Path) -> tuple[A2PO, Parts]:
    file = Parts(path)
    config = file.config
    file.join("vae/encoder", 2, "vae/mean", "vae/log_std")
    algorithm = A2PO(
        alpha=config["alpha"],
        weight=config["bc_weight"],
        levels=config["use_discrete"],
        threshold=config["r_thresold"],
        beta=config["kl_weight"],
        vae_updates=config["vae_step"],
        value_range=(config["min_v"], config["max_v"]) if config["clip"] else (),
        hidden=file.hidden,
        critic_hidden=tuple(config["value_hidden_dims"]),
        vae_hidden=tuple(config["vae_hidden_dims"]),
    )
    return algorithm, file


@pytest.mark.parametrize("case", one_quick("a2po", "a2po-clip", "a2po-discrete", "a2po-frozen"))
def test_golden_a2po(case: str, golden: Path) -> None:
    algorithm, file = a2po_of(golden / f"{case}.npz")
    metrics = reported(file, value_loss="value_loss", vae_loss="vae_loss", actor_loss="actor_loss", condition="xi")
    assert len(metrics) == (3 if case == "a2po-frozen" else 4)
    del metrics["actor_loss"]
    file.arrays.setdefault("noise/vae", np.zeros((8, 6), np.float32))  # not drawn for a frozen autoencoder
    made = jnp.asarray(file.config["first_update_number"] - 1)
    state = check_step(algorithm, file, A2PO_NAMES, file.noise(a2po.Noise), metrics, updates=made)
    (policy,) = algorithm.policies(state).values()
    act = jax.jit(jax.vmap(lambda observation: policy(observation, jax.random.key(0))))
    np.testing.assert_allclose(act(file.batch.observation), file.arrays["action/greedy"], atol=2e-5)


@pytest.mark.slow
def test_golden_a2po_twice(golden: Path) -> None:
    """The first update leaves actor and copies where they were, the second moves them."""
    algorithm, file = a2po_of(golden / "a2po-two.npz")
    state = fill_of(algorithm, file, A2PO_NAMES)
    step = jax.jit(algorithm.step)
    for prefix, kind in (("", "between"), ("second_", "after")):
        if prefix:
            second = [key for key in file.arrays if key.startswith("second/")]
            file.arrays |= {key.replace("second/", "batch/"): file.arrays[key] for key in second}
        noise = (jnp.asarray(file.arrays[f"noise/{prefix}{name}"]) for name in a2po.Noise._fields)
        state, _ = step(state, file.batch, a2po.Noise(*noise))
        for name, places in A2PO_NAMES.items():
            part = getattr(state, name)
            theirs = file.leaves(kind, *places) or file.leaves("params", *places)
            assert_close(part.network if isinstance(part, Learner) else part, theirs, atol=2e-5)


@pytest.mark.parametrize("case", one_quick("lapo-class", "lapo"))
def test_golden_lapo(case: str, golden: Path) -> None:
    file = Parts(golden / f"{case}.npz")
    config = file.config
    file.join("vae/encoder", 3, "vae/mean", "vae/log_var")
    file.join("target_vae/encoder", 3, "target_vae/mean", "target_vae/log_var")
    algorithm = LAPO(
        expectile=config["expectile"],
        latent_bound=config["max_latent_action"],
        pessimism=config["doubleq_min"],
        beta=config["kl_beta"],
        value_range=(config["min_v"], config["max_v"]),
        learning_rate=config["actor_lr"],
        hidden=file.hidden,
    )
    vae = ("encoder", "decoder")
    names = {
        **{name: (name,) for name in ("actor", "target_actor", "critic", "target_critic", "value")},
        "vae": tuple(f"vae/{part}" for part in vae),
        "target_vae": tuple(f"target_vae/{part}" for part in vae),
    }
    metrics = reported(file, value_loss="value_loss", vae_loss="vae_loss", actor_loss="actor_loss", weight="weight")
    assert len(metrics) == 4
    state = check_step(algorithm, file, names, file.noise(lapo.Noise), metrics)
    (policy,) = algorithm.policies(state).values()
    act = jax.jit(jax.vmap(lambda observation: policy.actor.given(observation)(jnp.zeros(3))))
    actions = act(file.batch.observation)
    mean, std = file.arrays["batch/action_mean"], file.arrays["batch/action_std"]
    np.testing.assert_allclose(np.asarray(actions) * (std + 1e-6) + mean, file.arrays["action/greedy"], atol=2e-5)


@pytest.mark.parametrize("case", one_quick("misa-small_step", "misa", "misa-biased", "misa-50"))
def test_golden_misa(case: str, golden: Path) -> None:
    file = Parts(golden / f"{case}.npz")
    config, arrays = file.config, file.arrays
    algorithm = MISA(
        gap=config["min_q_weight"],
        weight=config["bc_weight_misa"],
        correction=config["unbiased_weight"] if config["unbiased_grad"] else 0.0,
        samples=config["n_actions"],
        temperature=config["temp"],
        learning_rate=config["qf_lr"],
        actor_learning_rate=config["policy_lr"],
        hidden=file.hidden,
    )
    arrays.setdefault("noise/hmc_samples", arrays["noise/current_actions"])  # not drawn where they have no weight
    noise = file.noise(misa.Noise)

    def leaves(kind: str) -> dict[str, list[np.ndarray]]:
        log_std = [arrays.get(f"{kind}/policy/log_std_{part}_module/value") for part in ("multiplier", "offset")]
        critics = [file.leaves(kind, f"{name}/FullyConnectedNetwork_0") for name in ("qf1", "qf2")]
        targets = [file.leaves(kind, f"target_{name}/FullyConnectedNetwork_0") for name in ("qf1", "qf2")]
        return {
            "actor": file.leaves(kind, "policy/base_network") + log_std,
            "critic": critics[0] + critics[1],
            "target_critic": targets[0] + targets[1],
            "log_alpha": [arrays[f"{kind}/log_alpha/value"]],
        }

    def filled(part: Any, arrays: list[np.ndarray]) -> Any:
        network = part.network if isinstance(part, Learner) else part
        assert [leaf.shape for leaf in jax.tree.leaves(network)] == [array.shape for array in arrays]
        network = jax.tree.unflatten(jax.tree.structure(network), map(jnp.asarray, arrays))
        return part._replace(network=network) if isinstance(part, Learner) else network

    state = fill_of(algorithm, file, {})
    state = misa.State(**{name: filled(getattr(state, name), arrays) for name, arrays in leaves("params").items()})
    after, metrics = jax.jit(algorithm.step)(state, file.batch, noise)
    for name, theirs in leaves("after").items():
        mine = getattr(after, name)
        if isinstance(mine, Learner):
            gradient = jax.tree.map(lambda moment: moment / 0.1, mine.optimizer[0].mu)  # of Adam's first step
            assert_close(gradient, leaves("grads")[name], rtol=1e-4, atol=1e-5)
        assert_close(mine.network if isinstance(mine, Learner) else mine, theirs, atol=2e-5)
    np.testing.assert_allclose(metrics["actor_loss"], arrays["metric/policy_loss"], rtol=2e-5)

    def asked(observation: jax.Array, noise: jax.Array, action: jax.Array) -> tuple[jax.Array, ...]:
        density = misa.density(state.actor.network, observation)
        return density.mode(), *density.draw(noise), density.log_density(action)

    noise = jnp.asarray(arrays["noise/sample"])
    mode, drawn, log_density, likelihood = jax.jit(jax.vmap(asked))(file.batch.observation, noise, file.batch.action)
    np.testing.assert_allclose(mode, arrays["action/deterministic"], atol=2e-6)
    np.testing.assert_allclose(drawn, arrays["action/sample"], atol=2e-6)
    np.testing.assert_allclose(log_density, arrays["action/sample_log_prob"], rtol=2e-5)
    np.testing.assert_allclose(likelihood, arrays["action/data_log_prob"], rtol=2e-5)


@pytest.mark.parametrize("case", one_quick("cfpi-behavior-mixture", "cfpi-behavior"))
def test_golden_gaussian_bc(case: str, golden: Path) -> None:
    file = Parts(golden / f"{case}.npz")
    config = file.config
    file.join("actor", 3, "mean", "log_std")
    file.join("weight", 0, "weight")
    stacks = ("actor", "weight") if config["components"] > 1 else ("actor",)
    algorithm = BC(components=config["components"], learning_rate=config["lr"], hidden=file.hidden)
    file.arrays |= {f"batch/{name}": np.zeros(8, np.float32) for name in ("rewards", "masks")}
    file.arrays["batch/next_observations"], file.config["discount"] = file.arrays["batch/observations"], 0.99
    noise = cloning.Noise(jnp.zeros((8, 3)), jnp.zeros(8))
    check_step(algorithm, file, {"actor": stacks}, noise, reported(file, log_likelihood="log_likelihood"))
    network = fill_of(algorithm, file, {"actor": stacks}).actor.network
    modes = jax.jit(jax.vmap(lambda observation: misa.density(network, observation).mode()))(file.batch.observation)
    np.testing.assert_allclose(modes, file.arrays["action/greedy"], atol=2e-6)


@pytest.mark.parametrize("case", one_quick("coil-bc", "coil-bc-learned-std", "coil-bc-mse"))
def test_golden_coil_bc(case: str, golden: Path) -> None:
    """Loss, gradients and parameters after the update; likelihoods and actions of the policy."""
    file = Parts(golden / f"{case}.npz")
    config, arrays = file.config, file.arrays
    unit = config["gaussian_std"] is not None
    file.join("actor", 2, "mean", *([] if unit else ["log_std"]))
    algorithm = BC(
        components=1, unit_deviation=unit, learning_rate=config["lr"], low_momentum=config["optimizer_b1"] == 0.25,
        squared_error=config["bc_mode"] == "mse",
        penalty=config["policy_mean_reg_weight"] if config["use_l2"] else 0.0,
        hidden=file.hidden,
    )  # fmt: skip
    arrays |= {f"batch/{name}": np.zeros(8, np.float32) for name in ("rewards", "masks")}
    arrays["batch/next_observations"], file.config["discount"] = arrays["batch/observations"], 0.99
    noise = cloning.Noise(jnp.asarray(arrays["noise/action"]), jnp.zeros(8))
    recorder = recording(algorithm)
    after, _ = jax.jit(recorder.step)(fill_of(recorder, file, {"actor": ("actor",)}), file.batch, noise)
    assert_close(after.actor.optimizer.gradient, file.leaves("grads", "actor"), rtol=2e-3, atol=6e-4)
    assert_close(after.actor.network, file.leaves("after", "actor"), atol=2e-5)
    network = fill_of(algorithm, file, {"actor": ("actor",)}).actor.network
    likely = jax.jit(jax.vmap(lambda observation, action: misa.density(network, observation).log_density(action)))
    likelihoods = likely(file.batch.observation, file.batch.action)
    theirs = arrays["metric/log_likelihood_normalised"]
    inside = np.abs(arrays["batch/actions"]).max(axis=1) < 0.99  # the release keeps away from the edge in another way
    np.testing.assert_allclose(np.asarray(likelihoods)[inside], theirs[inside], rtol=2e-5)
    arrays |= {f"params{name[5:]}": arrays[name] for name in arrays if name.startswith("after/")}
    network = fill_of(algorithm, file, {"actor": ("actor",)}).actor.network
    modes = jax.jit(jax.vmap(lambda observation: misa.density(network, observation).mode()))(file.batch.observation)
    np.testing.assert_allclose(modes, arrays["action/greedy"], atol=2e-6)


def test_golden_quantile_critics(golden: Path) -> None:
    """The critics of CFPI, and their loss, gradients and step."""
    file = Golden(golden / "cfpi-sarsa.npz")
    config, arrays = file.config, file.arrays
    algorithm = recording(
        CFPI(quantiles=config["num_quantiles"], waves=config["embedding_size"], hidden=tuple(config["hidden_dims"]))
    )

    def leaves(place: str) -> list[np.ndarray]:
        """Of both members, in the order of our leaves."""
        layers = [("base/Dense_0", "base/LayerNorm_0"), ("base/Dense_1", "base/LayerNorm_1")]
        layers += [(f"{part}/Dense_0", f"{part}/LayerNorm_0") for part in ("tau", "merge")]
        names = [
            f"{place}/{name}"
            for dense, norm in layers
            for name in (f"{dense}/kernel", f"{dense}/bias", f"{norm}/scale", f"{norm}/bias")
        ]
        names += [f"{place}/head/kernel", f"{place}/head/bias"]
        return [arrays[name][member] for member in range(2) for name in names]

    def filled(network: QuantileCritic, place: str) -> QuantileCritic:
        assert [leaf.shape for leaf in jax.tree.leaves(network)] == [leaf.shape for leaf in leaves(place)]
        return jax.tree.unflatten(jax.tree.structure(network), map(jnp.asarray, leaves(place)))

    state = fill_of(algorithm, file, {})
    critic = state.critic._replace(network=filled(state.critic.network, "params/critic"))
    state = state._replace(critic=critic, target_critic=filled(state.target_critic, "params/target_critic"))
    uniform = jnp.asarray(arrays["noise/tau_uniform"])
    after, metrics = jax.jit(algorithm.step)(state, file.batch, cfpi.Noise(uniform[:8], uniform[8:]))
    np.testing.assert_allclose(jax.jit(jax.vmap(cfpi.spaced))(uniform[:8])[0], arrays["noise/tau_hat"], atol=1e-6)
    np.testing.assert_allclose(metrics["critic_loss"], arrays["metric/critic_loss"], rtol=2e-5)
    assert_close(after.critic.optimizer.gradient, leaves("grads/critic"), rtol=1e-4, atol=1e-6)
    assert_close(after.critic.network, leaves("after/critic"), atol=2e-5)
    assert_close(after.target_critic, leaves("after/target_critic"), atol=1e-6)


@pytest.mark.slow
def test_a_policy_improves_under_quantile_critics() -> None:
    """As `evaluate --improve cfpi` makes it: the value grows with the budget, and is the lower bound of the members."""
    algorithm, random = CFPI(hidden=(8, 8, 8), waves=4), np.random.default_rng(0)
    columns = [random.uniform(-1, 1, (1, size)).astype(np.float32) for size in (3, 2, 3, 2)]
    batch = Transition(columns[0], columns[1], np.zeros(1), np.zeros(1), columns[2], columns[3])
    state = algorithm.init(jax.tree.map(lambda leaf: leaf[0], batch), jax.random.key(0))
    policy, observation = algorithm.policies(state)["actor"], jnp.asarray(columns[0][0])
    values = state.critic.network.given(observation)

    def bound(action: Any) -> float:
        found = np.asarray(values(action))
        return float(found.mean() - found.std(ddof=1))

    actions = [
        improved(policy, Improvement(budgets=(budget,)))(observation, jax.random.key(1)) for budget in (0.0, 0.01, 0.1)
    ]
    np.testing.assert_allclose(actions[0], policy(observation, jax.random.key(1)), atol=1e-6)
    found = [bound(action) for action in actions]
    assert found[0] < found[1] < found[2]
    assert policy.aggregate(values(actions[1])) == pytest.approx(found[1], abs=1e-6)
