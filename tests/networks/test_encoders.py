"""Encoders: the published numbers of the small IMPALA network, once for each observation, whatever is asked after."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from guidedflow.flows.diffusion import Schedule
from guidedflow.flows.guidance import GUIDANCE, guidance_of
from guidedflow.flows.sampling import GradientAscent, Sampler
from guidedflow.networks import (
    Aggregate,
    ConditionalField,
    Critic,
    Extrapolation,
    Impala,
    MeanActor,
    NoiseField,
    NoisyCritic,
    OneStepActor,
    RawTime,
    StateValue,
    Unencoded,
    VelocityField,
    encoder_of,
)
from guidedflow.networks.encoders import as_convolution, as_product
from guidedflow.policies.kinds import ActorPolicy, DiffusionPolicy, FlowPolicy
from guidedflow.policies.policy import Policy

KEY = jax.random.key(0)
SHAPE = (6, 5, 2)
IMAGE = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)
CONVOLUTIONS = 9
"""Of one encoding: in each of three stacks one, and two of its block."""


def networks() -> dict[str, Any]:
    settings: dict[str, Any] = {"observation_shape": SHAPE, "action_size": 3, "hidden": (8,), "key": KEY}
    return {
        "actor": OneStepActor(**settings),
        "mean": MeanActor(**settings),
        "flow": VelocityField(**settings, embedding=RawTime()),
        "conditional": ConditionalField(**settings, embedding=RawTime()),
        "noise": NoiseField(**settings),
        "critic": Critic(**settings),
        "noisy critic": NoisyCritic(**settings, embedding=RawTime()),
    }


NETWORKS = networks()


def convolved(jaxpr: Any) -> int:
    """How often a program convolves, what is repeated in a loop counted each time; no other product has three axes."""
    total = 0
    for equation in jaxpr.eqns:
        total += equation.primitive.name == "dot_general" and equation.outvars[0].aval.ndim == 3
        inner = [
            part for value in equation.params.values() for part in (value if isinstance(value, tuple) else [value])
        ]
        times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        total += times * sum(convolved(getattr(part, "jaxpr", part)) for part in inner if hasattr(part, "eqns"))
    return total


def encodings(function: Callable[..., Any], *arguments: Any) -> float:
    return convolved(jax.make_jaxpr(function)(*arguments).jaxpr) / CONVOLUTIONS


def sampled(guidance: str = "none", **settings: Any) -> Sampler:
    return Sampler(10, guidance_of(guidance, 0.1, False, 10), **settings)


def policies() -> dict[str, tuple[Policy, int]]:
    """Ways of acting, and how many networks look at the observation."""
    judge: dict[str, Any] = {"critic": NETWORKS["critic"], "aggregate": Aggregate.min}
    both: dict[str, Any] = {"flow": NETWORKS["flow"], "jump": NETWORKS["actor"], **judge}
    flow = {name: FlowPolicy(**both, sampler=sampled(name)) for name in GUIDANCE}
    looking = {name: 3 if name.startswith("distilled") else 1 if name == "none" else 2 for name in flow}
    climbed = sampled("denoised", candidates=4, refinement=GradientAscent())
    conditional = Extrapolation(NETWORKS["conditional"], 3.0)
    noise, schedule = NETWORKS["noise"], Schedule(5, False)
    return {
        **{f"flow, {name}": (policy, looking[name]) for name, policy in flow.items()},
        "best of 4, refined": (FlowPolicy(flow=NETWORKS["flow"], **judge, sampler=climbed), 2),
        "robust": (flow["noisy"].with_critic(NETWORKS["noisy critic"], Aggregate.min), 2),
        "conditional": (FlowPolicy(flow=conditional, **judge, sampler=sampled()), 1),
        "actor": (ActorPolicy(actor=NETWORKS["actor"], **judge, sampler=sampled(candidates=4)), 2),
        "mean": (ActorPolicy(actor=NETWORKS["mean"], **judge, sampler=sampled()), 1),
        "diffusion": (DiffusionPolicy(field=noise, schedule=schedule, **judge, sampler=sampled(candidates=4)), 2),
    }


@pytest.mark.parametrize("name", policies())
def test_acting_encodes_once_a_network(name: str) -> None:
    """However many steps a flow takes, however often guidance differentiates, however many candidates there are."""
    policy, expected = policies()[name]
    assert encodings(policy, IMAGE, KEY) == expected


def test_a_gradient_over_a_rollout_encodes_forward_and_backward_once() -> None:
    """Back through all convolutions but the first, whose input has no gradient."""

    def loss(flow: VelocityField) -> jax.Array:
        velocity = flow.given(IMAGE)
        point = jnp.zeros(3)
        for i in range(5):
            point = point + velocity(point, i / 5)
        return jnp.sum(point)

    assert encodings(jax.grad(loss), NETWORKS["flow"]) == (2 * CONVOLUTIONS - 1) / CONVOLUTIONS


@pytest.mark.parametrize("name", NETWORKS)
def test_every_leaf_is_an_array_of_single_precision(name: str) -> None:
    leaves = jax.tree.leaves(NETWORKS[name])
    assert all(isinstance(leaf, jax.Array) and leaf.dtype == jnp.float32 for leaf in leaves)


def test_the_members_of_a_critic_share_one_encoder() -> None:
    """As in the code of FQL and GFP: 2 convolutions more would be a second one's."""
    weights = [leaf for leaf in jax.tree.leaves(NETWORKS["critic"]) if leaf.ndim == 4]
    assert len(weights) == CONVOLUTIONS
    value = StateValue(SHAPE, (8,), key=KEY)
    assert encodings(value, IMAGE) == 1


def test_sizes_are_those_of_the_published_encoder() -> None:
    """64 x 64 pixels, three frames: 8 x 8 places of 32 channels are left."""
    encoder = jax.eval_shape(lambda key: Impala((64, 64, 9), key=key), KEY)
    sizes = [
        (i, o) for i, o in ((9, 16), (16, 16), (16, 16), (16, 32), (32, 32), (32, 32), (32, 32), (32, 32), (32, 32))
    ]
    expected = sum(9 * i * o + o for i, o in sizes) + 8 * 8 * 32 * 512 + 512
    assert sum(leaf.size for leaf in jax.tree.leaves(encoder)) == expected


def test_weights_are_glorots_and_biases_zero() -> None:
    encoder = Impala((64, 64, 9), key=KEY)
    for leaf in jax.tree.leaves(encoder):
        if leaf.ndim == 1:
            assert not leaf.any()
            continue
        places = leaf.shape[0] * leaf.shape[1] if leaf.ndim == 4 else 1
        largest = np.sqrt(6 / (places * (leaf.shape[-2] + leaf.shape[-1])))
        assert 0.98 * largest < jnp.abs(leaf).max() <= largest
        np.testing.assert_allclose(jnp.std(leaf), largest / np.sqrt(3), rtol=0.05)


def test_states_stay_as_they_are_and_take_no_parameter() -> None:
    encoder = encoder_of((4,), KEY)
    assert isinstance(encoder, Unencoded)
    assert (encoder.size, jax.tree.leaves(encoder)) == (4, [])
    np.testing.assert_array_equal(encoder(np.arange(4.0, dtype=np.float32)), np.arange(4.0))


def test_an_encoder_of_ones_own_takes_the_place_of_the_usual_one() -> None:
    small = Impala(SHAPE, channels=(3,), blocks=2, size=7, key=KEY)
    flow = VelocityField(SHAPE, 3, (8,), RawTime(), encoder=small, key=KEY)
    assert flow.given(IMAGE)(jnp.zeros(3), 0.5).shape == (3,)
    assert convolved(jax.make_jaxpr(small)(IMAGE).jaxpr) == 5


def test_features_are_those_of_loops_in_numpy() -> None:
    """Zeros beyond the edge of a convolution, nothing beyond that of a maximum, which begins one place before an odd
    size, and at the edge of an even one."""
    encoder = Impala(SHAPE, channels=(2, 3), size=4, key=KEY)
    leaves, structure = jax.tree.flatten(encoder)
    keys = jax.random.split(KEY, len(leaves))
    leaves = [jax.random.normal(key, leaf.shape) / 2 for key, leaf in zip(keys, leaves, strict=True)]
    encoder = jax.tree.unflatten(structure, leaves)
    x = IMAGE.astype(np.float64) / 255
    for stack in encoder.stacks:
        x = largest(convolve(x, stack.entrance))
        for first, second in stack.blocks:
            x = x + convolve(np.maximum(convolve(np.maximum(x, 0), first), 0), second)
    x = np.maximum(x, 0).ravel() @ np.asarray(encoder.head.weight) + np.asarray(encoder.head.bias)
    gelu = x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    np.testing.assert_allclose(encoder(IMAGE), gelu, rtol=1e-4, atol=1e-5)
    assert jnp.ptp(encoder(IMAGE)) > 0.1


def test_a_convolution_and_a_product_of_patches_are_the_same_with_the_same_gradients() -> None:
    x, weight = jax.random.normal(KEY, SHAPE), jax.random.normal(KEY, (3, 3, 2, 4))

    @jax.jit
    def both(x: jax.Array, weight: jax.Array) -> Any:
        return [
            (way(x, weight), jax.grad(lambda *a, way=way: jnp.sum(way(*a) ** 2), (0, 1))(x, weight))
            for way in (as_product, as_convolution)
        ]

    one, other = both(x, weight)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4), one, other)


def convolve(x: np.ndarray, convolution: Any) -> np.ndarray:
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    weight = np.asarray(convolution.weight)
    result = np.zeros((*x.shape[:2], weight.shape[-1])) + np.asarray(convolution.bias)
    for row in range(x.shape[0]):
        for column in range(x.shape[1]):
            result[row, column] += np.einsum("ijk,ijkl->l", padded[row : row + 3, column : column + 3], weight)
    return result


def largest(x: np.ndarray) -> np.ndarray:
    height, width = (-(-size // 2) for size in x.shape[:2])
    result = np.zeros((height, width, x.shape[2]))
    for row in range(height):
        for column in range(width):
            top, left = 2 * row - x.shape[0] % 2, 2 * column - x.shape[1] % 2
            window = x[max(top, 0) : top + 3, max(left, 0) : left + 3]
            result[row, column] = window.max(axis=(0, 1))
    return result
