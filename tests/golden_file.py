"""A file of `tests/golden`: what a published implementation computed, with all the noise that it drew."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from guidedflow.types import Transition

T = TypeVar("T")

Names = Mapping[str, tuple[Any, ...]]
"""Where a network of ours is in the file: the place of its hidden layers, and that of its output layer if apart.

A network of several parts is a tuple of such tuples.
"""


class Golden:
    """One file, and the settings that it was made with."""

    def __init__(self, path: Path):
        with np.load(path, allow_pickle=False) as arrays:
            self.arrays = {name: arrays[name] for name in arrays.files}
        self.config: dict[str, Any] = json.loads(str(self.arrays.pop("config")))

    def reorder(self, layer: str, order: np.ndarray) -> None:
        """Put the inputs of a network's first `layer` into our order: a permutation of rows that are drawn alike."""
        for kind in ("params", "grads", "after"):
            name = f"{kind}/{layer}/kernel"
            self.arrays[name] = self.arrays[name][order]

    def leaves(self, kind: str, trunk: str | tuple[str, ...], *more: Any) -> list[np.ndarray]:
        """The parameters, gradients or parameters after the update (`kind`), in the order of our leaves.

        Of a network of several parts these are names one by one: each a tuple, or the name of a single array.
        """
        if isinstance(trunk, tuple):
            return [leaf for place in (trunk, *more) for leaf in self.leaves(kind, *place)]
        if f"{kind}/{trunk}" in self.arrays:
            return [self.arrays[f"{kind}/{trunk}"].squeeze()]
        first = self.arrays[f"{kind}/{trunk}/Dense_0/kernel"]
        layers = self._layers(kind, trunk, "Dense", "kernel")
        layers += [self.arrays[f"{kind}/{more[0]}/{part}"] for part in ("kernel", "bias")] if more else []
        leaves = layers + self._layers(kind, trunk, "LayerNorm", "scale")
        return [leaf[i] for i in range(len(first)) for leaf in leaves] if first.ndim == 3 else leaves

    def _layers(self, kind: str, place: str, layer: str, weight: str) -> list[np.ndarray]:
        names = [f"{kind}/{place}/{layer}_{i}" for i in range(len(self.arrays))]
        found = [name for name in names if f"{name}/{weight}" in self.arrays]
        return [self.arrays[f"{name}/{part}"] for name in found for part in (weight, "bias")]

    def fill(self, network: T, *names: Any) -> T:
        """`network` with the parameters that the file has at `names`."""
        ours, theirs = jax.tree.leaves(network), self.leaves("params", *names)
        assert [leaf.shape for leaf in ours] == [leaf.shape for leaf in theirs]
        return jax.tree.unflatten(jax.tree.structure(network), map(jnp.asarray, theirs))

    @property
    def hidden(self) -> tuple[int, ...]:
        return tuple(self.config["actor_hidden_dims"])

    @property
    def batch(self) -> Transition:
        """The batch; of a chunk, what an update uses: all actions as one, and the end of everything else."""
        read = {key.removeprefix("batch/"): value for key, value in self.arrays.items() if "batch/" in key}
        horizon = self.config.get("horizon_length", 1)
        if "horizon_length" in self.config:
            for name in ("rewards", "masks", "next_observations"):
                read[name] = read[name][:, -1]
            if not self.config["action_chunking"]:
                read["actions"] = read["actions"][:, :1]
        actions = read["actions"].reshape(len(read["rewards"]), -1)
        columns = Transition(
            observation=read["observations"],
            action=actions,
            reward=read["rewards"],
            discount=np.float32(self.config["discount"] ** horizon) * read["masks"],
            next_observation=read["next_observations"],
            next_action=read.get("next_actions", np.zeros_like(actions)),
        )
        return jax.tree.map(jnp.asarray, columns)

    def noise(self, cls: type[T]) -> T:
        """The noise of the update, as the named tuple `cls`."""
        names: tuple[str, ...] = cls._fields  # type: ignore[attr-defined]
        return cls(
            **{name: jnp.asarray(self.arrays[f"noise/{name}"]) for name in names if f"noise/{name}" in self.arrays}
        )


class Recorded(NamedTuple):
    """The state of an optimiser, and the gradient that it last saw."""

    state: Any
    gradient: Any


def recording(algorithm: T) -> T:
    """The same algorithm, whose optimiser keeps each gradient beside its own state."""
    inner = algorithm.optimizer  # type: ignore[attr-defined]

    def init(params: Any) -> Recorded:
        return Recorded(inner.init(params), jax.tree.map(jnp.zeros_like, params))

    def update(gradient: Any, state: Recorded, params: Any = None) -> tuple[Any, Recorded]:
        updates, after = inner.update(gradient, state.state, params)
        return updates, Recorded(after, gradient)

    class Recording(type(algorithm)):  # type: ignore[misc]
        optimizer = property(lambda self: optax.GradientTransformation(init, update))

    settings = {field.name: getattr(algorithm, field.name) for field in dataclasses.fields(algorithm)}  # type: ignore[arg-type]
    return Recording(**settings)


def assert_close(ours: Any, theirs: list[np.ndarray], *, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """All leaves agree, up to rounding of the largest number of each."""
    ours = jax.tree.leaves(ours)
    assert len(ours) == len(theirs)
    for mine, published in zip(ours, theirs, strict=True):
        scale = max(1.0, float(np.abs(published).max()))
        np.testing.assert_allclose(mine, published, rtol=rtol, atol=atol * scale)
