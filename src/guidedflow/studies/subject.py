"""What a study of a run looks at: its flow, the critic beside it, and states and actions of its dataset.

This module does not know what is studied.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from guidedflow.data.dataset import Dataset
from guidedflow.data.formats.columns import Columns
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.transitions import Transitions
from guidedflow.errors import InputError
from guidedflow.flows.guidance import guidance_of
from guidedflow.flows.sampling import Sampler
from guidedflow.flows.schedules import WeightSchedule
from guidedflow.keys import Stream, stream_key
from guidedflow.policies.kinds import FlowPolicy
from guidedflow.runs.trained import Trained
from guidedflow.types import Transition


@dataclass(frozen=True)
class Subject:
    """A run with a flow and a critic, and the transitions of its data; `base` is the unguided flow of all seeds."""

    trained: Trained
    policy: str
    base: FlowPolicy
    transitions: Transitions

    @classmethod
    def open(
        cls,
        path: Path | str,
        dataset: Path | str | None = None,
        policy: str | None = None,
        step: int | None = None,
        columns: Columns | Mapping[str, str] | None = None,
    ) -> "Subject":
        """The run at `path` with its dataset, from the suite's own folder or from a file, with its `columns`.

        Raises `InputError` for a run that has no flow, no critic, or was trained on other shapes than the dataset's.
        """
        trained = Trained.open(path, step)
        return cls.of(trained, trained.load(dataset, columns), policy)

    @classmethod
    def of(cls, trained: Trained, dataset: Dataset | Mapped, policy: str | None = None) -> "Subject":
        """The same, of what is open already."""
        name = policy or ("flow" if "flow" in trained.policies() else next(iter(trained.policies())))
        base = trained.steered(name)
        if not isinstance(base, FlowPolicy) or base.critic is None:
            raise InputError(
                f"Policy {name!r} of {trained.run.path} is no flow with a critic beside it, so there is nothing to "
                "guide; study a run of qgf, or of another method that trains both."
            )
        transitions = trained.cut(dataset)
        example = transitions.example()
        found, expected = (example.observation.shape, example.action.size), (base.observation_shape, base.action_size)
        if found != expected:
            raise InputError(
                f"The dataset {dataset.name} has observations and actions of sizes {found}, but {trained.run.path} was "
                f"trained on {expected}; name its own dataset with --dataset."
            )
        base = replace(base, sampler=Sampler(base.sampler.steps))
        return cls(trained, name, base, transitions)

    def guided(
        self,
        guidance: str,
        weight: float,
        *,
        normalize: bool = False,
        candidates: int = 1,
        schedule: WeightSchedule = WeightSchedule.constant,
        match: bool = False,
    ) -> FlowPolicy:
        """The flow of all seeds under a guidance of the table, from so many candidates."""
        steps = self.base.sampler.steps
        guided = guidance_of(guidance, weight, normalize, steps, schedule, match)
        sampler = Sampler(steps, guided, candidates=candidates)
        return replace(self.base, sampler=sampler)

    def draw(self, states: int, seed: int) -> Transition:
        """So many transitions of the dataset as a policy sees them, from the stream of choosing."""
        return self.transitions.sample(stream_key(seed, Stream.SELECTION_EPISODES), states).acting


def over_seeds(policy: PyTree) -> PyTree:
    """The axes for `jax.vmap` over training seeds: every array has one, numbers of a sampler are shared."""
    return jax.tree.map(lambda leaf: 0 if jnp.ndim(leaf) else None, policy)


def first_seed(policy: FlowPolicy) -> FlowPolicy:
    """The policy of the first training seed."""

    def first(leaf: Array | float) -> Array | float:
        return jnp.asarray(leaf)[0] if jnp.ndim(leaf) else leaf

    return jax.tree.map(first, policy)
