"""Where a served policy is from: a run or an export, opened again when something newer lies there.

This module does not know who serves what it opens.
"""

import contextlib
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from numpy.typing import NDArray

from guidedflow.errors import InputError
from guidedflow.policies.policy import Policy
from guidedflow.runs import checkpoint
from guidedflow.runs.trained import Trained
from guidedflow.serving import stablehlo
from guidedflow.serving.interface import Interface
from guidedflow.serving.manifest import MANIFEST, Manifest
from guidedflow.serving.programs import Acting, columns_of, interface_of

Program = Callable[[NDArray[Any], NDArray[np.uint32], NDArray[np.float32]], NDArray[np.float32]]
"""Actions [rows, chunk, size] of observations [rows, ...], seeds [rows] and weights [rows, names]."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A policy that can be served: its interface, its version, and a program for each number of candidates."""

    interface: Interface
    version: str
    programs: dict[int, Program]
    facts: dict[str, Any]
    """Task, sampler and the like, for the metadata."""


@runtime_checkable
class Source(Protocol):
    """Something that may change on disk."""

    def version(self) -> str | None:
        """The newest version there, as cheaply as it can be found out; None where that fails."""
        ...

    def open(self) -> Opened:
        """The newest version. Raises `InputError` where it cannot be used."""
        ...


class RunSource:
    """A policy of a run, steered by `steer`, at its newest checkpoint or at a fixed step."""

    def __init__(
        self,
        path: Path,
        steer: Callable[[Trained], Policy],
        step: int | None = None,
        parts: tuple[str, ...] = (),
        candidates: tuple[int, ...] = (),
    ) -> None:
        self.path, self.steer, self.step, self.parts = path.expanduser(), steer, step, parts
        self.candidates = candidates

    def version(self) -> str | None:
        with contextlib.suppress(OSError):
            newest = checkpoint.latest(self.path / "checkpoints") if self.step is None else self.step
            return None if newest is None else f"step {newest}"
        return None

    def open(self) -> Opened:
        trained = Trained.open(self.path, self.step)
        policy = self.steer(trained)
        programs: dict[int, Program] = {}
        for number in (policy.sampler.candidates, *self.candidates):
            if number not in programs:
                chosen = with_candidates(policy, number)
                programs[number] = Acting(chosen, interface_of_run(trained, chosen, self.parts))
        interface = interface_of_run(trained, policy, self.parts)
        facts = {"task": trained.task, "sampler": policy.columns()}
        return Opened(interface, f"step {trained.step}", programs, facts)


class ExportSource:
    """The StableHLO program of an export folder, which may be replaced by a newer one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser()

    def version(self) -> str | None:
        with contextlib.suppress(InputError):
            return Manifest.read(self.folder).version
        return None

    def open(self) -> Opened:
        manifest = Manifest.read(self.folder)
        manifest.check_date()
        interface, program = manifest.interface, stablehlo.load(manifest)
        shape = interface.noise_shape

        @jax.jit
        def act(observations: tuple[jax.Array, ...], seeds: jax.Array, weights: jax.Array) -> jax.Array:
            noise = jax.vmap(lambda seed: jax.random.normal(jax.random.key(seed), shape))(seeds)
            return program(*observations, noise, *(weights[:, i] for i in range(weights.shape[1])))

        def call(
            observations: NDArray[Any], seeds: NDArray[np.uint32], weights: NDArray[np.float32]
        ) -> NDArray[np.float32]:
            return np.asarray(act(columns_of(interface, observations), seeds, weights))

        facts = {name: manifest.contents.get(name) for name in ("task", "sampler")}
        return Opened(interface, manifest.version, {interface.candidates: call}, facts)


def is_export(path: Path) -> bool:
    """Whether a folder is an export and not a run."""
    return (path.expanduser() / MANIFEST).is_file()


def with_candidates(policy: Policy, candidates: int) -> Policy:
    """The policy with another number of proposals. Raises `InputError` for a policy that cannot choose."""
    return policy.with_sampler(dataclasses.replace(policy.sampler, candidates=candidates))


def interface_of_run(trained: Trained, policy: Policy, parts: tuple[str, ...] = ()) -> Interface:
    """What a policy of a run takes and gives."""
    configuration = trained.configuration
    step = configuration.transition.action_size // (configuration.horizon if configuration.chunk else 1)
    chunk = policy.action_size // step  # of DQC, a part of the critic's
    units = "the box [-1, 1]" if configuration.action_scale is None else "as in the dataset"
    return interface_of(policy, chunk, parts, units)
