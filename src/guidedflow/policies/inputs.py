"""What a caller may pass to a policy: one observation and one key."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from guidedflow.errors import InputError
from guidedflow.types import Observation


def as_observation(observation: Any, shape: tuple[int, ...]) -> Observation:
    """The observation as an array of the policy's numbers."""
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
    elif not isinstance(array, jax.core.Tracer) and not (finite := np.isfinite(array)).all():
        wrong = int(np.argmin(finite))
        raise InputError(
            f"The policy takes finite numbers, but number {wrong} of the observation is {array.ravel()[wrong]}."
        )
    return array if len(shape) == 3 else array.astype(jnp.float32)


def check_key(key: Any) -> None:
    """Raise InputError for what is not one key, of the new type or the old."""
    found = getattr(key, "dtype", None), getattr(key, "shape", None)
    new = found[0] is not None and jnp.issubdtype(found[0], jax.dtypes.prng_key) and found[1] == ()
    old = found[0] == jnp.uint32 and len(found[1] or ()) == 1
    if not new and not old:
        raise InputError(f"The policy takes one random key, such as jax.random.key(0), but got {key!r}.")
