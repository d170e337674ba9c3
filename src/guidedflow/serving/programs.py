"""A policy as a function of its observation, its noise or seed, and the weights that a request may choose.

This module does not know where a policy is from, nor who calls the function.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import PyTreeDef
from numpy.typing import NDArray

from guidedflow.flows.guidance import GRADIENTS
from guidedflow.networks import Extrapolation
from guidedflow.packing import PartShapes, is_image
from guidedflow.parts import Parts
from guidedflow.policies.policy import Policy
from guidedflow.serving.interface import Interface, Part, parts_of
from guidedflow.types import Observation


def weights_of(policy: Policy) -> dict[str, float]:
    """The weights that a request may choose, as the policy has them: of its guidance, of its condition, or none."""
    found: dict[str, float] = {}
    for node in jax.tree.leaves(policy, is_leaf=_weighs):
        if isinstance(node, GRADIENTS):
            found["weight"] = float(node.weight)
        elif isinstance(node, Extrapolation):
            found["condition"] = float(node.weight)
    return {name: found[name] for name in ("weight", "condition") if name in found}


def weighted(policy: Policy, weights: Mapping[str, Any]) -> Policy:
    """The same policy under other weights, which may be traced; those that are not named stay."""

    def replaced(node: Any) -> Any:
        if isinstance(node, GRADIENTS) and "weight" in weights:
            return eqx.tree_at(lambda guidance: guidance.weight, node, weights["weight"])
        if isinstance(node, Extrapolation) and "condition" in weights:
            return Extrapolation(node.field, weights["condition"])
        return node

    return jax.tree.map(replaced, policy, is_leaf=_weighs)


def _weighs(node: Any) -> bool:
    return isinstance(node, (*GRADIENTS, Extrapolation))


def interface_of(
    policy: Policy, chunk: int = 1, parts: tuple[str, ...] | tuple[Part, ...] = (), units: str = "the box [-1, 1]"
) -> Interface:
    """What a policy takes and gives, its action being `chunk` steps; `parts` names the pieces of its observation."""
    shape = policy.observation_shape
    words = tuple(part for part in parts if isinstance(part, str))
    named = tuple(part for part in parts if isinstance(part, Part))
    weights = weights_of(policy)
    return Interface(
        observation_shape=shape,
        observation_dtype="mixed" if isinstance(shape, PartShapes) else "uint8" if is_image(shape) else "float32",
        parts=named or parts_of(words, shape),
        chunk=chunk,
        action_size=policy.action_size // chunk,
        noise_shape=policy.noise_shape,
        units=units,
        weight=weights.get("weight"),
        condition=weights.get("condition"),
    )


def one_row(policy: Policy, interface: Interface) -> Callable[..., jax.Array]:
    """The actions [chunk, size] at one observation, as a function of it, its noise and each weight."""

    def one(*inputs: jax.Array) -> jax.Array:
        observation, (noise, *weights) = observed(interface, inputs)
        chosen = weighted(policy, dict(zip(interface.weights, weights, strict=True)))
        return chosen.act_from(observation, noise).reshape(interface.chunk, interface.action_size)

    return one


def observed(interface: Interface, inputs: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
    """The observation among a program's inputs, and the rest of them."""
    count = len(interface.seen)
    if not isinstance(interface.observation_shape, PartShapes):
        return inputs[0], inputs[1:]
    return Parts(dict(zip(interface.observation_shape.names, inputs[:count], strict=True))), inputs[count:]


def columns_of(interface: Interface, observations: Any) -> tuple[Any, ...]:
    """Rows of observations, structured or as parts, as a program's first inputs."""
    shape = interface.observation_shape
    if not isinstance(shape, PartShapes):
        return (observations,)
    return tuple(np.ascontiguousarray(observations[name]) for name in shape.names)


def batched(policy: Policy, interface: Interface) -> Callable[..., jax.Array]:
    """The program that is exported: over a batch of observations, noise and weights."""
    return jax.vmap(one_row(policy, interface))


def one_by_one(policy: Policy, interface: Interface) -> Callable[..., NDArray[np.float32]]:
    """The policy itself over rows of observations, noise and weights, a call a row, its arrays not folded into it."""

    @eqx.filter_jit
    def one(policy: Policy, *inputs: jax.Array) -> jax.Array:
        return one_row(policy, interface)(*inputs)

    def program(*inputs: Any) -> NDArray[np.float32]:
        return np.stack([one(policy, *row) for row in zip(*inputs, strict=True)])

    return program


def inputs_of(interface: Interface, batch: Any) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Shapes and types of that program's inputs, for a batch that may be symbolic."""
    seen = interface.seen
    shapes = [*((batch, *each["shape"][1:]) for each in seen), (batch, *interface.noise_shape)]
    shapes += [(batch,) for _ in interface.weights]
    dtypes = [*(each["dtype"] for each in seen), *["float32"] * (len(shapes) - len(seen))]
    return tuple(jax.ShapeDtypeStruct(shape, jnp.dtype(dtype)) for shape, dtype in zip(shapes, dtypes, strict=True))


class Acting:
    """Actions of a policy from seeds: of one row with the bits of `policy(observation, jax.random.key(seed))`.

    Several rows are one call under `jax.vmap`, whose last bits differ. The compiled programs are shared by all policies
    of one structure, so that newer weights compile nothing.
    """

    def __init__(self, policy: Policy, interface: Interface) -> None:
        leaves, structure = jax.tree.flatten(policy)
        arrays = [leaf for leaf in leaves if eqx.is_array(leaf)]
        fixed = tuple(None if eqx.is_array(leaf) else leaf for leaf in leaves)
        self._arrays = jax.device_put(arrays)
        self._call = _compiled(structure, fixed, tuple(interface.weights), interface.chunk, interface.action_size)

    def __call__(
        self, observations: NDArray[Any], seeds: NDArray[np.uint32], weights: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Actions [rows, chunk, size] of observations [rows, ...], seeds [rows] and weights [rows, names]."""
        several = len(observations) > 1
        seen: Any = observations if several else observations[0]
        if observations.dtype.names is not None:
            seen = Parts({name: seen[name] for name in observations.dtype.names})
        if several:
            return np.asarray(self._call[1](self._arrays, seen, seeds, weights))
        return np.asarray(self._call[0](self._arrays, seen, seeds[0], weights[0]))[None]


@functools.cache
def _compiled(
    structure: PyTreeDef, fixed: tuple[Any, ...], names: tuple[str, ...], chunk: int, size: int
) -> tuple[Callable[..., jax.Array], Callable[..., jax.Array]]:
    """The program of one row, and of several, of every policy of a structure; numbers that are no arrays are fixed."""

    def one(arrays: list[jax.Array], observation: Observation, seed: jax.Array, weights: jax.Array) -> jax.Array:
        given = iter(arrays)
        leaves = [next(given) if leaf is None else leaf for leaf in fixed]
        policy = weighted(jax.tree.unflatten(structure, leaves), {name: weights[i] for i, name in enumerate(names)})
        return policy.act(observation, jax.random.key(seed)).reshape(chunk, size)

    return jax.jit(one), jax.jit(jax.vmap(one, in_axes=(None, 0, 0, 0)))
