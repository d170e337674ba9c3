"""Inputs of a policy, drawn once, and its actions at them: what an export is compared with, now and later.

This module does not know what is compared.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from guidedflow.errors import InputError
from guidedflow.packing import PartShapes, is_image
from guidedflow.policies.policy import Policy, value_of
from guidedflow.policies.rescaled import Rescaled
from guidedflow.serving.interface import Interface
from guidedflow.serving.programs import columns_of, observed, one_by_one, weighted

ROWS = 64
CLEAR = 1e-4
"""Share of the spread of values by which the best candidate must lead, so that rounding cannot choose another."""


@dataclass(frozen=True, eq=False)
class Recorded:
    """Inputs in the order in which programs take them, and the actions at them."""

    inputs: tuple[NDArray[Any], ...]
    actions: NDArray[np.float32]
    names: tuple[str, ...]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Inputs and actions by name."""
        named = dict(zip(self.names, self.inputs, strict=True)) | {"actions": self.actions}
        return {name: np.ascontiguousarray(array) for name, array in named.items()}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], interface: Interface) -> "Recorded":
        """From what `arrays` returned. Raises `InputError` where an input is missing."""
        names = tuple(each["name"] for each in interface.inputs)
        if missing := [name for name in (*names, "actions") if name not in arrays]:
            raise InputError(f"The recorded inputs of the export lack {missing[0]!r}; export the policy again.")
        return cls(tuple(arrays[name] for name in names), arrays["actions"], names)


def record(
    policy: Policy, interface: Interface, observations: NDArray[Any] | None = None, rows: int = ROWS, seed: int = 0
) -> Recorded:
    """Actions at `rows` random observations and at those given, each with noise and weights drawn for it.

    Where a critic chooses among candidates, inputs whose two best are nearly alike are left out.
    """
    random = np.random.default_rng(seed)
    drawn = _observations(policy, interface, random, rows)
    if observations is not None:
        given = columns_of(interface, observations)
        drawn = tuple(
            np.concatenate([own, np.asarray(more, own.dtype)]) for own, more in zip(drawn, given, strict=True)
        )
    noise = random.standard_normal((len(drawn[0]), *interface.noise_shape)).astype(np.float32)
    weights = [
        (default * random.choice([0.0, 0.5, 1.0, 1.0, 2.0], len(drawn[0]))).astype(np.float32)
        for default in interface.weights.values()
    ]
    inputs: tuple[NDArray[Any], ...] = (*drawn, noise, *weights)
    if interface.candidates > 1:
        clear = leads(policy, interface, inputs) > CLEAR
        if not clear.any():
            raise InputError(
                "The critic values all candidates alike, so that none is the best; the policy cannot be compared."
            )
        inputs = tuple(array[clear] for array in inputs)
    actions = one_by_one(policy, interface)(*inputs)
    if not np.isfinite(actions).all():
        raise InputError("The policy's actions are not finite; look for where its training diverged.")
    return Recorded(inputs, actions, tuple(each["name"] for each in interface.inputs))


def _observations(
    policy: Policy, interface: Interface, random: np.random.Generator, rows: int
) -> tuple[NDArray[Any], ...]:
    """Random images, and states of the mean and deviation that the policy was trained on, if it knows them."""
    shapes = [(rows, *each["shape"][1:]) for each in interface.seen]
    scale = policy.observations if isinstance(policy, Rescaled) else None
    drawn = [
        random.integers(0, 256, shape, np.uint8) if is_image(shape[1:]) else random.standard_normal(shape)
        for shape in shapes
    ]
    if scale is not None and isinstance(interface.observation_shape, PartShapes):
        scales = scale.parts(interface.observation_shape)
        for place, name in enumerate(interface.observation_shape.names):
            if name in scales:
                own = scales[name]
                drawn[place] = np.asarray(own.mean) + np.asarray(own.deviation) * drawn[place]
    elif scale is not None and not is_image(shapes[0][1:]):
        mean, deviation = map(np.asarray, scale.each(shapes[0][-1]))
        drawn[0] = mean + deviation * drawn[0]
    return tuple(each if each.dtype == np.uint8 else each.astype(np.float32) for each in drawn)


def leads(policy: Policy, interface: Interface, inputs: tuple[NDArray[Any], ...]) -> NDArray[np.float32]:
    """By how much the best candidate of each row leads, as a share of the spread of its values."""
    scale = policy.observations if isinstance(policy, Rescaled) else None
    policy = policy.inner if isinstance(policy, Rescaled) else policy

    @eqx.filter_jit
    def lead(policy: Policy, *inputs: jax.Array) -> jax.Array:
        observation, (noise, *given) = observed(interface, inputs)
        chosen = weighted(policy, dict(zip(interface.weights, given, strict=True)))
        observation = observation if scale is None else scale(observation)
        value = value_of(chosen, observation)
        single = chosen.with_sampler(dataclasses.replace(chosen.sampler, candidates=1))
        actions = jax.vmap(lambda row: single.act_from(observation, row[None]))(noise)
        ordered = jnp.sort(jax.vmap(lambda action: value(action, 1.0))(actions))
        return (ordered[-1] - ordered[-2]) / jnp.maximum(ordered[-1] - ordered[0], 1e-12)

    return np.stack([lead(policy, *row) for row in zip(*inputs, strict=True)])
