"""The leaves of a state by name: a pytree <-> arrays named by their place in it.

The name is the path: `actor.network.layers.0.weight`, `opt_state.0.count`.
This module does not know where the arrays go, nor what a checkpoint is.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from guidedflow.errors import InputError

Tree = TypeVar("Tree")

DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32", "I32": "int32",
    "U64": "uint64", "I64": "int64", "BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64",
    "C64": "complex64",
}  # fmt: skip
"""What a leaf may hold: the words of safetensors, and NumPy's."""


class Spec(NamedTuple):
    """What a leaf is, without its numbers."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


def on_host(state: Any) -> dict[str, np.ndarray]:
    """Every leaf as a NumPy array under its name; raises InputError, naming the leaf, where one is no array."""
    named = _named(state)
    specs(state)
    # np.ascontiguousarray would make a scalar one-dimensional.
    return {name: np.asarray(leaf, order="C") for name, leaf in named.items()}


def specs(state: Any) -> dict[str, Spec]:
    """The dtype and shape of every leaf under its name; leaves are arrays, numbers or `jax.ShapeDtypeStruct`s."""
    return {name: _spec(name, leaf) for name, leaf in _named(state).items()}


def check(where: str, found: Mapping[str, Spec], like: Any) -> None:
    """Raise InputError, naming the first leaf that differs, what was expected and what `where` has."""
    expected = specs(like)
    for name in [*expected, *found]:
        if expected.get(name) != found.get(name):
            raise InputError(
                f"{where} does not fit: leaf {name!r} should be {expected.get(name, 'absent')}, "
                f"but it is {found.get(name, 'absent')}; were the settings of the networks changed?"
            )


def restore(arrays: Mapping[str, np.ndarray], like: Tree) -> Tree:
    """The tree of `like` with `arrays` for leaves: JAX arrays, or NumPy's and numbers where `like` has these."""
    places, structure = jax.tree_util.tree_flatten(like)
    restored = [_as_leaf(arrays[name], leaf) for name, leaf in zip(_named(like), places, strict=True)]
    return jax.tree_util.tree_unflatten(structure, restored)


def _named(state: Any) -> dict[str, Any]:
    """Every leaf under its name, in the order of the tree."""
    named: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        name = jax.tree_util.keystr(path, simple=True, separator=".") or "state"
        if name in named or name == "__metadata__":
            raise InputError(
                f"The name {name!r} of a leaf is taken; rename a key, so that each leaf has a name of its own."
            )
        named[name] = leaf
    return named


def _spec(name: str, leaf: Any) -> Spec:
    leaf = np.asarray(leaf) if isinstance(leaf, bool | int | float) else leaf
    dtype, shape = getattr(leaf, "dtype", None), getattr(leaf, "shape", None)
    if dtype is None or shape is None:
        raise InputError(f"Leaf {name!r} of the state is of type {type(leaf).__name__}; expected an array.")
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        raise InputError(f"Leaf {name!r} of the state is a typed random key; save its jax.random.key_data instead.")
    if dtype.name not in DTYPES.values():
        raise InputError(
            f"Leaf {name!r} of the state is of {dtype.name}; expected one of {', '.join(DTYPES.values())}."
        )
    return Spec(dtype.name, tuple(shape))


def _as_leaf(array: np.ndarray, like: Any) -> Any:
    if isinstance(like, np.ndarray | np.generic):
        return array.copy()
    if isinstance(like, bool | int | float):
        return array.item()
    return jnp.array(array)  # a copy: an update may donate its buffers, and must not be given the file's
