"""Algorithms at a size that compiles fast."""

import dataclasses
from typing import Any


def small(cls: type[Any]) -> Any:
    """The algorithm at a size that compiles fast, with every part that it can have."""
    settings = {"hidden": (16, 16), "flow_steps": 3, "candidates": 2, "robust": True, "ratio": 1}
    return cls(**{field.name: settings[field.name] for field in dataclasses.fields(cls) if field.name in settings})
