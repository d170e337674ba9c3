"""Observations of several named parts on the device: a pytree, so that it is mapped, traced and drawn as an array is.

On the host such observations are rows of a structured array (`packing`). This module does not know which parts there
are, nor which network reads them.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpy.typing import NDArray

from guidedflow.packing import PartShapes, pack, unpacked


@jax.tree_util.register_pytree_with_keys_class
class Parts(Mapping[str, Any]):
    """An observation, or a batch of them, by the names of its parts."""

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self._parts = {name: parts[name] for name in sorted(parts)}

    @property
    def shape(self) -> PartShapes:
        """The shape of each part."""
        return PartShapes.of({name: jnp.shape(part) for name, part in self._parts.items()})

    def map(self, function: Callable[[Any], Any]) -> "Parts":
        """The function of each part."""
        return Parts({name: function(part) for name, part in self._parts.items()})

    def __getitem__(self, name: str) -> Any:
        return self._parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __repr__(self) -> str:
        return f"Parts({self._parts!r})"

    def tree_flatten_with_keys(self) -> tuple[list[tuple[Any, Any]], tuple[str, ...]]:
        """The parts under their names, for JAX."""
        return [(jax.tree_util.DictKey(name), part) for name, part in self._parts.items()], tuple(self._parts)

    @classmethod
    def tree_unflatten(cls, names: tuple[str, ...], parts: Any) -> "Parts":
        """From what `tree_flatten_with_keys` returned; parts may be whatever JAX puts in their place."""
        made = object.__new__(cls)
        made._parts = dict(zip(names, parts, strict=True))
        return made


def on_host(column: Any) -> NDArray[Any]:
    """A column of observations in NumPy: an array, or a structured one of all parts; the inverse of `on_device`."""
    if not isinstance(column, Parts):
        return np.asarray(column)
    return pack({name: np.asarray(part) for name, part in column.items()})


def on_device(column: Any) -> Array | Parts:
    """A column of observations on the device: an array, or the parts of a structured one."""
    if isinstance(column, Parts):
        return column.map(jnp.asarray)
    if getattr(column.dtype, "names", None) is None:
        return jnp.asarray(column)
    return Parts({name: jnp.asarray(part) for name, part in unpacked(column).items()})
