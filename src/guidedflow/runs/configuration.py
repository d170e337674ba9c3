"""What a run's configuration tells of its task, its seeds, its actions and how its data was cut.

`training` writes it and `run` keeps it, in a file that may have been damaged or edited since, so it is checked here.
This module does not know what is done with any of it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from guidedflow.algorithms import ALGORITHMS
from guidedflow.algorithms.contract import Algorithm
from guidedflow.data.sampling.cutting import Cutting, Rewards
from guidedflow.data.sampling.goals import GoalSampling
from guidedflow.errors import InputError, did_you_mean
from guidedflow.normalization import ActionScale, ObservationScale
from guidedflow.packing import PartShapes, Shape, dtype_of
from guidedflow.parts import Parts, on_device
from guidedflow.policies.policy import Policy
from guidedflow.policies.rescaled import in_units
from guidedflow.settings import check_ranges, from_plain
from guidedflow.types import Transition


@dataclass(frozen=True)
class Spaces:
    """The shapes of a transition, as the networks see it."""

    observation_shape: Shape
    observation_dtype: Literal["float32", "uint8", "mixed"]
    """mixed: images are uint8, vectors float32."""
    action_size: int

    @classmethod
    def of(cls, example: Transition) -> "Spaces":
        """The shapes of one transition."""
        seen = example.observation
        if isinstance(seen, Parts):
            return cls(seen.shape, "mixed", example.action.size)
        return cls(seen.shape, "uint8" if seen.dtype == jnp.uint8 else "float32", example.action.size)

    def example(self) -> Transition:
        """A transition of zeros."""
        shape = self.observation_shape
        observation: Array | Parts
        if isinstance(shape, PartShapes):
            observation = on_device(np.zeros((), dtype_of(shape)))
        else:
            observation = jnp.zeros(shape, self.observation_dtype)
        action = jnp.zeros(self.action_size)
        return Transition(observation, action, jnp.zeros(()), jnp.zeros(()), observation, action)


@dataclass(frozen=True)
class Configuration:
    """Entries of `config.json` that it takes to use what was trained; those with a default may be missing."""

    task: str
    seed: int
    seeds: int
    discount: float
    horizon: int
    chunk: bool
    transition: Spaces
    frame_stack: int = 1
    goals: GoalSampling = field(default_factory=GoalSampling)
    action_scale: ActionScale | None = None
    observation_scale: ObservationScale | None = None
    rewards: Rewards = "data"

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> "Configuration":
        """From the whole configuration. Raises `InputError` for an entry that is missing or cannot be."""
        read = from_plain(cls, {entry.name: config[entry.name] for entry in fields(cls) if entry.name in config})
        check_ranges(read, seed=(0, 2**31 - 1), discount=(0, 1))
        check_ranges(read, **dict.fromkeys(("seeds", "horizon", "frame_stack"), (1, math.inf)))
        check_ranges(read.transition, observation_shape=(1, math.inf), action_size=(1, math.inf))
        return read

    @property
    def each_seed(self) -> list[int]:
        """The seeds that the run trains together."""
        return [self.seed + i for i in range(self.seeds)]

    @property
    def cutting(self) -> Cutting:
        """How its dataset became batches; pictures are left as they are."""
        return Cutting(
            self.discount, self.horizon, self.chunk, frame_stack=self.frame_stack, goals=self.goals,
            observation_scale=self.observation_scale, rewards=self.rewards,
        )  # fmt: skip

    def in_units(self, policy: Policy) -> Policy:
        """A policy of the run in the units of its data, where these are not its own."""
        return in_units(policy, self.action_scale, self.observation_scale)


def name_of(algorithm: Algorithm[Any]) -> str:
    """Its name in the table of algorithms; of one that is not there, that of its class."""
    return class_name(type(algorithm))


def class_name(algorithm: type[Algorithm[Any]]) -> str:
    """The same, of the class of an algorithm."""
    return next((name for name, cls in ALGORITHMS.items() if cls is algorithm), algorithm.__name__)


def algorithm_of(config: Mapping[str, Any], given: type[Algorithm[Any]] | None = None) -> Algorithm[Any]:
    """The algorithm, with its settings, that a run's configuration names.

    One that is not in the table of algorithms is made of the class that is given. Raises `InputError` where that is
    another one, and for settings that it does not have.
    """
    settings = config.get("algorithm")
    if not isinstance(settings, Mapping) or not isinstance(name := settings.get("name"), str):
        raise InputError("It must say the algorithm's name and settings.")
    if given is not None and name != (expected := class_name(given)):
        raise InputError(f"It was trained by {name!r}, not by {expected!r}.")
    if given is None and name not in ALGORITHMS:
        raise InputError(
            f"The algorithm {name!r} is not one of {', '.join(ALGORITHMS)}{did_you_mean(name, ALGORITHMS)}; one of "
            "your own is given to Trained.open(path, algorithm=...), or as --algorithm MODULE:CLASS."
        )
    return from_plain(given or ALGORITHMS[name], {key: value for key, value in settings.items() if key != "name"})
