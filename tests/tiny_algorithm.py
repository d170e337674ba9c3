"""Algorithms at a size that compiles fast."""

import dataclasses
from typing import Any


def small(cls: type[Any]) -> Any:
    """The algorithm at a size that compiles fast, with every part that it can have."""
    sizes = dict.fromkeys(("hidden", "actor_hidden", "critic_hidden", "vae_hidden"), (16, 16))
    settings = sizes | {"flow_steps": 3, "candidates": 2, "samples": 4, "robust": True, "ratio": 1}
    algorithm = cls(**{field.name: settings[field.name] for field in dataclasses.fields(cls) if field.name in settings})
    few = dataclasses.replace(algorithm.ensemble, members=2) if hasattr(algorithm, "ensemble") else None
    return algorithm if few is None else dataclasses.replace(algorithm, ensemble=few)
