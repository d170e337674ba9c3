"""A policy as one Python file and its numbers, for machines with NumPy alone.

Only one-step actors and flows without a critic: neither guidance, refinement nor candidates, no images and no parts.
What a network makes of the time of a flow is written as a table, one row an Euler step.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from guidedflow.errors import InputError
from guidedflow.flows.sources import gaussian
from guidedflow.networks import MLP, ConditionalField, Extrapolation, MeanActor, OneStepActor, VelocityField
from guidedflow.packing import PartShapes
from guidedflow.policies.kinds import ActorPolicy, FlowPolicy
from guidedflow.policies.policy import Policy
from guidedflow.policies.rescaled import Rescaled
from guidedflow.serving import standalone
from guidedflow.serving.interface import Interface
from guidedflow.serving.manifest import Manifest, entry

CODE, NUMBERS = "policy.py", "policy.safetensors"


def write(policy: Policy, interface: Interface, folder: Path) -> dict[str, Any]:
    """Write code and numbers into `folder`; returns their entry. Raises `InputError` for what NumPy does not get."""
    arrays, network = _contents(policy)
    data = safetensors.numpy.save({name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()})
    code = Path(standalone.__file__).read_bytes()
    (folder / NUMBERS).write_bytes(data)
    (folder / CODE).write_bytes(code)
    return entry(
        data,
        NUMBERS,
        network=network,
        code=entry(code, CODE),
        call=["from policy import Policy", "policy = Policy('.')", "actions = policy(observation, noise)"],
        limits=[
            "one observation a call",
            "no critic: neither guidance, refinement nor candidates",
            "no images, no parts",
        ],
    )


def load(manifest: Manifest) -> Callable[..., NDArray[np.float32]]:
    """The program over rows, run by this package's copy of the code. Raises `InputError` for damaged files."""
    artifact = manifest.artifact("numpy")
    manifest.content(artifact)
    manifest.content(artifact["code"])
    policy = standalone.Policy(manifest.folder)

    def program(observations: Any, noise: Any, *weights: Any) -> NDArray[np.float32]:
        return np.stack([policy(*row) for row in zip(observations, noise, *weights, strict=True)])

    return program


def _contents(policy: Policy) -> tuple[dict[str, Any], dict[str, Any]]:
    """The numbers of a policy by name, and what it takes to use them."""
    arrays: dict[str, Any] = {}
    shape = policy.observation_shape
    if isinstance(shape, PartShapes) or len(shape) != 1:
        raise InputError(
            "The NumPy format holds policies of states; export one of images or of several parts as stablehlo or onnx."
        )
    if isinstance(policy, Rescaled):
        arrays |= _scales(policy)
        policy = policy.inner
    if not isinstance(policy, ActorPolicy | FlowPolicy) or policy.sampler.asks:
        raise InputError(
            "The NumPy format holds one-step actors and flows without a critic: export without guidance, refinement "
            "and candidates, or as stablehlo or onnx."
        )
    if policy.source is not gaussian:
        raise InputError("The NumPy format holds policies of Gaussian noise; export as stablehlo or onnx.")
    if isinstance(policy, FlowPolicy):
        field = policy.flow.field if isinstance(policy.flow, Extrapolation) else policy.flow
        if not isinstance(field, VelocityField | ConditionalField):
            raise InputError(f"The NumPy format does not know the flow {type(field).__name__}; export as stablehlo.")
        steps = policy.sampler.steps
        arrays["times"] = jax.vmap(field.embedding)(jnp.arange(steps, dtype=jnp.float32) / steps)
        if isinstance(field, ConditionalField):
            arrays["labels"] = field.labels
        return arrays | _layers(field.mlp), {"kind": "flow", "steps": steps, "squash": False, **_shape(field.mlp)}
    actor = policy.actor
    if not isinstance(actor, MeanActor | OneStepActor):
        raise InputError(f"The NumPy format does not know the actor {type(actor).__name__}; export as stablehlo.")
    kind = "actor" if isinstance(actor, OneStepActor) else "mean"
    squash = isinstance(actor, MeanActor) and actor.squash
    return arrays | _layers(actor.mlp), {"kind": kind, "steps": 1, "squash": squash, **_shape(actor.mlp)}


def _size(policy: Policy) -> int:
    """Numbers of an observation that is a state."""
    shape = policy.observation_shape
    assert not isinstance(shape, PartShapes)
    return shape[-1]


def _scales(policy: Rescaled) -> dict[str, Any]:
    """What brings observations to unit scale, and actions out of the box."""
    arrays: dict[str, Any] = {}
    if policy.observations is not None:
        mean, deviation = policy.observations.each(_size(policy))
        arrays |= {"mean": np.asarray(mean), "deviation": np.asarray(deviation)}
    if policy.scale is not None:
        steps = policy.action_size // len(policy.scale.low)
        low, high = (np.tile(np.asarray(end), steps) for end in (policy.scale.low, policy.scale.high))
        arrays |= {"middle": (high + low) / 2, "half": (high - low) / 2}
    return arrays


def _layers(mlp: MLP) -> dict[str, Any]:
    if mlp.activation is not jax.nn.gelu:
        raise InputError("The NumPy format knows networks of GELU units only; export as stablehlo or onnx.")
    found: dict[str, Any] = {}
    for i, layer in enumerate(mlp.layers):
        found |= {f"weight.{i}": layer.weight, f"bias.{i}": layer.bias}
    for i, norm in enumerate(mlp.norms):
        found |= {f"scale.{i}": norm.weight, f"shift.{i}": norm.bias}
    return found


def _shape(mlp: MLP) -> dict[str, Any]:
    return {"layers": len(mlp.layers), "norm_first": mlp.norm_first}
