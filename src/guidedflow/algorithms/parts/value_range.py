"""The range of possible values: what a target is clipped to where the smallest and largest return are known."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from guidedflow.errors import InputError


def within(value: Float[Array, "*members"], limits: tuple[float, ...]) -> Float[Array, "*members"]:
    """The value, or that of each member, clipped to (smallest, largest); as it is where no limits are given."""
    return jnp.clip(value, *limits) if limits else value


def check_limits(limits: tuple[float, ...]) -> None:
    """Raises `InputError` for limits that are not two numbers in ascending order."""
    if limits and (len(limits) != 2 or not limits[0] < limits[1]):
        raise InputError(f"value-range must be the smallest and the largest value, such as 0 100, but is {limits}.")
