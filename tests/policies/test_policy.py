"""Policies: one observation and a key give one action in the box; what cannot be sampled is said in a sentence."""

import dataclasses
import functools
import inspect
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_file import Golden
from tiny_algorithm import shapes_of

from guidedflow.algorithms import GFP, QGF
from guidedflow.algorithms.parts import distillation
from guidedflow.errors import InputError
from guidedflow.flows.guidance import DenoisedGradient, JacobianGradient, NoisyGradient, RolloutGradient
from guidedflow.flows.path import clip, integrate
from guidedflow.flows.sampling import GradientAscent, Sampler
from guidedflow.networks import Aggregate, Critic, OneStepActor, SinusoidalTime, VelocityField
from guidedflow.policies.kinds import ActorPolicy, FlowPolicy
from guidedflow.policies.policy import Policy
from guidedflow.types import Observation, Value, Velocity

KEY = jax.random.key(0)
SHAPE, SIZE, HIDDEN = (4,), 3, (8, 8)
OBSERVATIONS = jax.random.normal(jax.random.key(1), (5, *SHAPE))

CRITIC = Critic(SHAPE, SIZE, HIDDEN, key=KEY)
FLOW = FlowPolicy(VelocityField(SHAPE, SIZE, HIDDEN, SinusoidalTime(), key=KEY), CRITIC, Aggregate.min, Sampler())
ACTOR = ActorPolicy(OneStepActor(SHAPE, SIZE, HIDDEN, key=KEY), CRITIC, Aggregate.min, Sampler())
POLICIES = {"flow": FLOW, "actor": ACTOR}

GUIDED = [
    Sampler(guidance=guided(0.5)) for guided in (NoisyGradient, DenoisedGradient, JacobianGradient, RolloutGradient)
]
UNGUIDED = [
    Sampler(),
    Sampler(candidates=4),
    Sampler(refinement=GradientAscent(0.1, 2)),
    Sampler(refinement=GradientAscent(0.1, 2), candidates=4),
]
FULL = Sampler(guidance=DenoisedGradient(0.5), refinement=GradientAscent(0.1, 2), candidates=4)


def without_critic(policy: Policy) -> Policy:
    return dataclasses.replace(policy, critic=None)


def name(sampler: Sampler) -> str:
    return f"{type(sampler.guidance).__name__}-{sampler.refinement is not None}-{sampler.candidates}"


@pytest.mark.parametrize(
    "sampler",
    [
        pytest.param(sampler, marks=pytest.mark.slow if sampler in UNGUIDED[1:3] else ())
        for sampler in (*GUIDED, *UNGUIDED, FULL)
    ],
    ids=name,
)
def test_one_observation_equals_its_row_in_a_batch(sampler: Sampler) -> None:
    policies = [FLOW, ACTOR] if sampler in UNGUIDED else [FLOW]
    keys = jax.random.split(KEY, len(OBSERVATIONS))
    for policy in policies:
        sampled = policy.with_sampler(sampler)
        act = jax.jit(lambda observation, key, sampled=sampled: sampled(observation, key))
        batch = jax.vmap(act)(OBSERVATIONS, keys)
        assert batch.shape == (5, SIZE)
        assert jnp.max(jnp.abs(batch)) <= 1
        np.testing.assert_allclose(batch[3], act(OBSERVATIONS[3], keys[3]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_the_key_is_all_that_is_random(policy: Policy) -> None:
    action = policy(OBSERVATIONS[0], KEY)
    np.testing.assert_array_equal(action, policy(OBSERVATIONS[0], KEY))
    assert not jnp.allclose(action, policy(OBSERVATIONS[0], jax.random.key(1)))


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_a_policy_says_what_it_takes_and_gives(policy: Policy) -> None:
    assert policy.observation_shape == SHAPE
    assert policy.action_size == SIZE
    assert policy(OBSERVATIONS[0], KEY).shape == (SIZE,)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_several_seeds_are_one_policy_with_a_leading_axis(policy: Policy) -> None:
    """Training three seeds gives one stacked policy; its row is the policy of one seed."""
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf, -leaf]), policy)
    actions = jax.vmap(lambda policy: policy(OBSERVATIONS[0], KEY))(stacked)
    np.testing.assert_allclose(actions[0], policy(OBSERVATIONS[0], KEY), rtol=1e-4, atol=1e-6)
    assert len(np.unique(np.asarray(actions), axis=0)) == 3


@pytest.mark.parametrize("shape", [(3,), (5, 4), (4, 1), ()], ids=str)
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_an_observation_of_another_shape_is_an_input_error(policy: Policy, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError) as error:
        policy(jnp.zeros(shape), KEY)
    assert f"takes one observation of shape {SHAPE}, but got shape {shape}" in str(error.value)


@pytest.mark.parametrize(
    ("observation", "sentence"),
    [
        (
            np.array([0, 1, np.nan, 0]),
            "takes finite numbers in single precision, but number 2 of the observation is nan",
        ),
        (
            jnp.array([-jnp.inf, 1, 0, 0]),
            "takes finite numbers in single precision, but number 0 of the observation is -inf",
        ),
        (np.zeros(4, complex), "of real numbers, of shape (4,), but got numbers of type complex128"),
        (None, "but got a NoneType"),
        ([[0.0], [0.0, 1.0]], "but got a list"),
        ("text", "but got numbers of type <U4"),
        ({"joints": 0}, "but got a dict"),
    ],
)
def test_what_is_no_observation_is_an_input_error(observation: object, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        FLOW(observation, KEY)


def test_numbers_that_single_precision_cannot_hold_are_told() -> None:
    for number in (1e39, -1e39):
        with pytest.raises(InputError, match="finite numbers in single precision, but number 1 of the observation is"):
            FLOW([0, number, 0, 0], KEY)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_an_action_that_is_not_finite_is_told(policy: Policy) -> None:
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, policy)
    with pytest.raises(InputError, match=r"action is not finite \(number 0 is nan\); the observation lies far outside"):
        broken(OBSERVATIONS[0], KEY)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_a_policy_can_be_compiled(policy: Policy) -> None:
    compiled = jax.jit(policy)
    np.testing.assert_array_equal(compiled(OBSERVATIONS[0], KEY), policy(OBSERVATIONS[0], KEY))
    compiled(OBSERVATIONS[1], KEY)
    assert compiled._cache_size() == 1


def test_numbers_of_any_kind_are_an_observation() -> None:
    action = FLOW(jnp.array([1.0, 0.0, -2.0, 3.0]), KEY)
    for same in ([1, 0, -2, 3], (1.0, 0.0, -2.0, 3.0), np.array([1, 0, -2, 3]), np.array([1.0, 0.0, -2.0, 3.0])):
        np.testing.assert_array_equal(FLOW(same, KEY), action)


def test_images_are_bytes() -> None:
    shape = (16, 16, 3)
    policy = ActorPolicy(OneStepActor(shape, SIZE, HIDDEN, key=KEY), None, Aggregate.min, Sampler())
    with pytest.raises(InputError, match="images in bytes"):
        policy(np.ones(shape, np.float32), KEY)


@pytest.mark.parametrize("key", [0, None, "key", jnp.float32(0), jax.random.split(KEY)], ids=repr)
def test_what_is_no_key_is_an_input_error(key: object) -> None:
    with pytest.raises(InputError, match="one random key, such as"):
        FLOW(OBSERVATIONS[0], key)


def test_a_key_of_the_old_type_is_a_key() -> None:
    np.testing.assert_array_equal(FLOW(OBSERVATIONS[0], jax.random.PRNGKey(0)), FLOW(OBSERVATIONS[0], KEY))


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("seeds", [1, 3])
def test_policies_of_all_seeds_are_not_called_as_one(policy: Policy, seeds: int) -> None:
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf] * seeds), policy)
    with pytest.raises(InputError, match="policies of all seeds at once"):
        stacked(OBSERVATIONS[0], KEY)


@pytest.mark.parametrize("sampler", [*GUIDED, *UNGUIDED[1:], FULL], ids=name)
def test_a_policy_that_was_made_without_its_critic_never_acts(sampler: Sampler) -> None:
    """Also where nobody called `with_sampler`."""
    with pytest.raises(InputError, match="need a critic"):
        dataclasses.replace(FLOW, critic=None, sampler=sampler)(OBSERVATIONS[0], KEY)


def test_guidance_may_be_a_function_of_ones_own() -> None:
    """It is structure, as whatever has no numbers: also where the numbers of a policy are taken apart and mapped."""

    def doubled(velocity: Velocity, value: Value) -> Velocity:
        return lambda point, t: 2 * velocity(point, t)

    policy = FLOW.with_sampler(Sampler(guidance=doubled))
    leaves, structure = jax.tree.flatten(policy)
    assert all(isinstance(leaf, jax.Array | float) for leaf in leaves)
    again = jax.tree.unflatten(structure, leaves)
    np.testing.assert_array_equal(again(OBSERVATIONS[0], KEY), policy(OBSERVATIONS[0], KEY))
    assert not jnp.allclose(again(OBSERVATIONS[0], KEY), FLOW(OBSERVATIONS[0], KEY))
    assert policy.columns()["guidance"].endswith("doubled")


def test_what_is_no_sampler_is_an_input_error() -> None:
    """Past the type checker of the tests, which refuses it in other words."""
    for policy in POLICIES.values():
        with pytest.raises(InputError, match=r"acts by a Sampler, such as .* but got DenoisedGradient"):
            inspect.unwrap(Policy.with_sampler)(policy, DenoisedGradient(0.1))


@pytest.mark.parametrize("sampler", GUIDED, ids=name)
def test_a_one_step_actor_cannot_be_guided(sampler: Sampler) -> None:
    with pytest.raises(
        InputError, match="one-step actor has no flow to guide; ask for refinement, or for a policy of the run"
    ):
        ACTOR.with_sampler(sampler)


@pytest.mark.parametrize("sampler", [*GUIDED, *UNGUIDED[1:], FULL], ids=name)
def test_what_asks_a_value_needs_a_critic(sampler: Sampler) -> None:
    with pytest.raises(InputError, match="need a critic, and this policy was trained without one"):
        without_critic(FLOW).with_sampler(sampler)


@pytest.mark.parametrize("sampler", UNGUIDED[1:], ids=name)
def test_an_actor_without_critic_can_neither_refine_nor_choose(sampler: Sampler) -> None:
    with pytest.raises(InputError, match="need a critic"):
        without_critic(ACTOR).with_sampler(sampler)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_a_policy_without_critic_samples_plainly(policy: Policy) -> None:
    plain = without_critic(policy).with_sampler(Sampler(steps=5))
    np.testing.assert_array_equal(
        plain(OBSERVATIONS[0], KEY), policy.with_sampler(Sampler(steps=5))(OBSERVATIONS[0], KEY)
    )


def test_another_sampler_is_another_policy_with_the_same_networks() -> None:
    sampled = FLOW.with_sampler(FULL)
    assert sampled.sampler == FULL
    assert FLOW.sampler == Sampler()
    assert sampled.flow is FLOW.flow
    assert sampled.critic is FLOW.critic


@pytest.mark.parametrize("aggregate", Aggregate)
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_the_candidate_that_the_critic_prefers_is_taken(policy: Policy, aggregate: Aggregate) -> None:
    """The members of the ensemble are combined as the policy says, which can change what is best."""
    policy = dataclasses.replace(policy, aggregate=aggregate)
    noise = jax.random.normal(KEY, (8, SIZE))

    def propose(observation: jax.Array, noise: jax.Array) -> jax.Array:
        if isinstance(policy, FlowPolicy):
            return clip(integrate(policy.flow.given(observation), noise, 10))
        return clip(policy.actor.given(observation)(noise))

    def proposals_and_values(observation: jax.Array) -> tuple[jax.Array, jax.Array]:
        proposals = jax.vmap(lambda noise: propose(observation, noise))(noise)
        return proposals, jax.vmap(lambda proposal: aggregate(CRITIC.given(observation)(proposal)))(proposals)

    chooser = policy.with_sampler(Sampler(candidates=8))
    chosen = jax.vmap(lambda observation: chooser(observation, KEY))(OBSERVATIONS)
    for action, proposals, values in zip(chosen, *jax.vmap(proposals_and_values)(OBSERVATIONS), strict=True):
        np.testing.assert_allclose(action, proposals[jnp.argmax(values)], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", ["default", "steps3"])
def test_golden_gfp_actions(case: str, golden: Path) -> None:
    """Both policies of GFP act as published, given the noise that was drawn there."""
    file = Golden(golden / f"gfp-{case}.npz")
    batch, noise = file.batch, file.noise(distillation.Noise).action
    state = shapes_of(GFP(hidden=file.hidden), jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[0]), batch))
    flow = file.fill(state.flow.network, "modules_vabc/mlp")
    actor = file.fill(state.actor.network, "modules_actor/mlp")
    sampler = Sampler(file.config["flow_steps"])
    never = lambda action, t: pytest.fail("the value was asked")  # noqa: E731

    def act(observation: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
        noise = noise[None]
        return sampler(flow.given(observation), never, noise), sampler.choose(actor.given(observation), never, noise)

    by_flow, by_actor = jax.jit(jax.vmap(act))(batch.observation, noise)
    np.testing.assert_allclose(by_flow, file.arrays["action/flow"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(by_actor, file.arrays["action/actor"], rtol=1e-5, atol=1e-6)


SAMPLERS = {
    "qgf": {f"weight_{weight}": Sampler(guidance=DenoisedGradient(weight)) for weight in (0.0, 0.05, 0.5, 3.0)}
    | {"weight_0.05_best_of_4": Sampler(guidance=DenoisedGradient(0.05), candidates=4)},
    "qgf-noisy": {f"weight_{weight}": Sampler(guidance=NoisyGradient(weight)) for weight in (0.0, 0.05, 0.5, 3.0)}
    | {"weight_0.05_best_of_4": Sampler(guidance=NoisyGradient(0.05), candidates=4)},
    "qgf-jacobian": {f"weight_{weight}": Sampler(guidance=JacobianGradient(weight)) for weight in (0.0, 0.05, 0.5, 3.0)}
    | {"weight_0.05_best_of_4": Sampler(guidance=JacobianGradient(0.05), candidates=4)},
    "grad-step": {
        "sample": Sampler(refinement=GradientAscent(0.05, 3)),
        "best_of_4": Sampler(refinement=GradientAscent(0.05, 3), candidates=4),
    },
}
SAMPLERS["qgf-chunk5"] = SAMPLERS["qgf-nstep3"] = SAMPLERS["qgf"]


@pytest.mark.parametrize("case", SAMPLERS)
def test_golden_qgf_actions(case: str, golden: Path) -> None:
    """Guidance, refinement and best-of-4 act as published, at every weight, under the min of the target critics."""
    file = Golden(golden / f"{case}.npz")
    batch = file.batch
    state = shapes_of(QGF(hidden=file.hidden), jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[0]), batch))
    flow = file.fill(state.flow.network, "policy/MLP_0", "policy/Dense_0")
    critic = file.fill(state.values.target_critic, "target_critic/value_net")
    published = {key.removeprefix("action/"): actions for key, actions in file.arrays.items() if "action/" in key}
    assert set(published) == set(SAMPLERS[case])

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(None, 0, 0))
    def act(sampler: Sampler, observation: jax.Array, noise: jax.Array) -> jax.Array:
        values = critic.given(observation)
        return sampler(flow.given(observation), lambda action, t: Aggregate.min(values(action)), noise)

    for name, actions in published.items():
        candidates = 4 if name.endswith("best_of_4") else 1
        noise = file.arrays["noise/sample" if candidates == 1 else "noise/sample_best_of_4"]
        noise = jnp.asarray(noise).reshape(len(actions), candidates, -1)
        ours = act(SAMPLERS[case][name], batch.observation, noise)
        # The embedding's fastest numbers carry errors of 1e-3 in float32, here and there.
        np.testing.assert_allclose(ours, actions.reshape(len(actions), -1), rtol=1e-3, atol=2e-4, err_msg=name)


def test_a_policy_is_compiled_once() -> None:
    """A flow is a loop, which is compiled anew wherever it is traced anew."""
    traced = []

    class Counting(VelocityField):
        def given(self, observation: Observation) -> Velocity:
            traced.append(1)
            return super().given(observation)

    policy = dataclasses.replace(FLOW, flow=Counting(SHAPE, SIZE, HIDDEN, SinusoidalTime(), key=KEY))
    actions = [policy(OBSERVATIONS[0], KEY) for _ in range(3)]
    assert len(traced) == 1
    np.testing.assert_array_equal(actions[0], actions[2])
