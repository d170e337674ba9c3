"""What a caller may pass to a policy: one observation and one key."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from guidedflow.errors import InputError
from guidedflow.packing import PartShapes, Shape, flat
from guidedflow.parts import Parts
from guidedflow.types import Observation


def as_observation(observation: Any, shape: Shape) -> Observation:
    """The observation as an array of the policy's numbers, or as its parts."""
    if isinstance(shape, PartShapes):
        return _as_parts(observation, shape)
    if isinstance(observation, Mapping):
        raise InputError(
            f"The policy takes one observation of shape {shape}, an array, but got a mapping of {_listed(observation)}."
        )
    return _as_array(observation, shape)


def _as_parts(observation: Any, shape: PartShapes) -> Parts:
    """The parts of an observation, each as an array of the policy's numbers."""
    if not isinstance(observation, Mapping):
        raise InputError(
            f"The policy takes one observation of several parts, as a mapping of names to arrays ({shape}), but got a "
            f"{type(observation).__name__}."
        )
    given = flat(observation)
    if set(given) != set(shape.names):
        raise InputError(f"The policy takes an observation of the parts {shape}, but got {_listed(given)}.")
    found = {}
    for name, part in shape.items():
        try:
            found[name] = _as_array(given[name], part)
        except InputError as error:
            raise InputError(f"In the part {name!r} of the observation: {error}") from None
    return Parts(found)


def _listed(observation: Mapping[str, Any]) -> str:
    return ", ".join(map(repr, observation)) or "nothing"


def _as_array(observation: Any, shape: tuple[int, ...]) -> Array | np.ndarray:
    try:
        array = observation if isinstance(observation, jax.Array) else np.asarray(observation)
    except ValueError:  # rows of different lengths
        array = np.asarray(None)
    if not (jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)):
        told = f"numbers of type {array.dtype}" if array.dtype != object else f"a {type(observation).__name__}"
        raise InputError(f"The policy takes one observation of real numbers, of shape {shape}, but got {told}.")
    if array.shape != shape:
        raise InputError(
            f"The policy takes one observation of shape {shape}, but got shape {array.shape}; map over several "
            "observations with jax.vmap."
        )
    if len(shape) == 3:
        if array.dtype != jnp.uint8:
            raise InputError(f"The policy takes images in bytes (uint8, 0 to 255), but got {array.dtype}.")
        return array
    if isinstance(array, jax.core.Tracer):
        return array.astype(jnp.float32)
    with np.errstate(over="ignore"):
        single = np.asarray(array).astype(np.float32)
    if not (finite := np.isfinite(single)).all():
        wrong = int(np.argmin(finite))
        raise InputError(
            f"The policy takes finite numbers in single precision, but number {wrong} of the observation is "
            f"{array.ravel()[wrong]}."
        )
    return single


def check_action(action: Any) -> None:
    """Raise InputError for an action that is not finite; one that is being traced cannot be checked."""
    if isinstance(action, jax.core.Tracer) or (finite := np.isfinite(np.asarray(action))).all():
        return
    wrong = int(np.argmin(finite))
    raise InputError(
        f"The policy's action is not finite (number {wrong} is {np.asarray(action)[wrong]}); the observation lies far "
        "outside the data that it was trained on, or its training diverged."
    )


def check_key(key: Any) -> None:
    """Raise InputError for what is not one key, of the new type or the old."""
    found = getattr(key, "dtype", None), getattr(key, "shape", None)
    new = found[0] is not None and jnp.issubdtype(found[0], jax.dtypes.prng_key) and found[1] == ()
    old = found[0] == jnp.uint32 and len(found[1] or ()) == 1
    if not new and not old:
        raise InputError(f"The policy takes one random key, such as jax.random.key(0), but got {key!r}.")
