"""Algorithms at a size that compiles fast."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def small(cls: type[Any]) -> Any:
    """The algorithm at a size that compiles fast, with every part that it can have."""
    sizes = dict.fromkeys(("hidden", "actor_hidden", "critic_hidden", "vae_hidden"), (16, 16))
    settings = sizes | {"flow_steps": 3, "candidates": 2, "samples": 4, "robust": True, "ratio": 1}
    algorithm = cls(**{field.name: settings[field.name] for field in dataclasses.fields(cls) if field.name in settings})
    few = dataclasses.replace(algorithm.ensemble, members=2) if hasattr(algorithm, "ensemble") else None
    return algorithm if few is None else dataclasses.replace(algorithm, ensemble=few)


def shapes_of(algorithm: Any, example: Any) -> Any:
    """The state before the first update, of shapes and types instead of numbers; nothing is compiled."""
    return jax.eval_shape(algorithm.init, example, jax.random.key(0))


def drawn(algorithm: Any, example: Any) -> Any:
    """A state before the first update whose networks are drawn by NumPy; nothing is compiled."""
    return filled(shapes_of(algorithm, example))


def filled(shapes: Any) -> Any:
    """Arrays of these shapes and types, drawn by NumPy; those of an optimiser are 0, and so are whole numbers."""
    random = np.random.default_rng(0)

    def draw(path: Any, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        if ".optimizer" in jax.tree_util.keystr(path) or leaf.dtype != np.float32:
            return jnp.asarray(np.zeros(leaf.shape, leaf.dtype))
        mean, deviation = (0.0, leaf.shape[-2] ** -0.5) if len(leaf.shape) > 1 else (0.5, 0.3)
        return jnp.asarray(random.normal(mean, deviation, leaf.shape).astype(np.float32))

    return jax.tree_util.tree_map_with_path(draw, shapes)
