"""`guidedflow export`: which policy is written, as what, and where.

This module does not know how an export is written or compared.
"""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console

from guidedflow.cli.steering import Steering
from guidedflow.data.formats.columns import Columns
from guidedflow.errors import InputError
from guidedflow.keys import Stream, stream_key
from guidedflow.packing import pack
from guidedflow.parts import Parts
from guidedflow.runs import source
from guidedflow.runs.trained import Trained
from guidedflow.serving.export import TOLERANCE, check_export, write_export
from guidedflow.serving.manifest import DAYS, Manifest
from guidedflow.serving.sources import interface_of_run, is_export
from guidedflow.settings import check_ranges

OBSERVATIONS = 100
"""Of the dataset, at which an export is compared beside the random ones."""


@dataclass(frozen=True)
class Export:
    """Write a policy with its sampler as files that need neither its run nor this package, or check such files."""

    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run; with --check also that of an export."""
    steering: Steering
    out: Annotated[Path | None, tyro.conf.arg(aliases=("-o",))] = None
    """Folder to write, which must not be there yet; with --check the export that is compared with the run."""
    policy: str | None = None
    """Policy, for example actor or flow; by default the algorithm's main one, or its flow if it is to be guided."""
    format: tuple[Literal["stablehlo", "onnx", "numpy"], ...] = ("stablehlo",)
    """Formats: stablehlo for JAX on CPU and CUDA, onnx for onnxruntime, numpy for NumPy alone."""
    check: bool = False
    """Write nothing; compare an export with its recorded actions, and with the run if both are given."""
    tolerance: float = TOLERANCE
    """Largest difference of an action that --check lets pass, for actions of the size of 1."""
    dataset: Path | None = None
    """Dataset file, at whose observations the export is compared too."""
    columns: tuple[str, ...] = ()
    """Which column of that file is what, as for train, if their names are not kept beside it."""
    unroll: bool = False
    """Write ONNX without loops, for runtimes that have none; the conversion takes longer."""
    days: int = DAYS
    """Days until the export expires."""
    overwrite: bool = False
    """Replace an export that is there."""
    json: bool = False
    """Print one JSON object on standard output."""

    def run(self) -> None:
        self._refuse_idle()
        if self.check and is_export(self.path):
            if self.out is not None:
                raise InputError(f"{self.path} is an export already; leave -o out to check it, or name its run.")
            self._tell(Manifest.read(self.path), check_export(self.path, tolerance=self.tolerance))
            return
        if self.out is None:
            raise InputError("missing argument -o, the folder of the export; see 'guidedflow export --help'.")
        trained = Trained.open(self.path, self.steering.step)
        name = self.steering.name(trained, self.policy)
        policy = self.steering.policy(trained, name)
        if self.check:
            self._tell(Manifest.read(self.out), check_export(self.out, policy, self.tolerance))
            return
        interface = interface_of_run(trained, policy, self.steering.parts)
        seed = trained.seeds[0] if self.steering.seed is None else self.steering.seed
        run = {"algorithm": trained.run.config["algorithm"], "seed": seed, "step": trained.step}
        about = {"policy": name, "task": trained.task, "sampler": policy.columns(), "run": run}
        written = write_export(
            policy, interface, self.out, self.format, about, observations=self._observations(trained),
            overwrite=self.overwrite, unroll=self.unroll, days=self.days,
        )  # fmt: skip
        self._tell(written, written.contents["check"]["largest_difference"])

    def _refuse_idle(self) -> None:
        """Raise `InputError` for a flag out of its range, or one that would change nothing."""
        self.steering.check()
        check_ranges(self, days=(1, 3650), tolerance=(0, math.inf))
        for flag, given, works, needs in (
            ("--tolerance", self.tolerance != TOLERANCE, self.check, "--check"),
            ("--unroll", self.unroll, "onnx" in self.format, "--format onnx"),
            ("--columns", self.columns, self.dataset is not None, "--dataset"),
            ("several --candidates", len(self.steering.candidates) > 1, False, "a server to choose among them"),
        ):
            if given and not works:
                raise InputError(f"{flag} changes nothing without {needs}.")

    def _observations(self, trained: Trained) -> NDArray[Any] | None:
        """Some observations of the dataset, in its own units; None where no dataset is named."""
        if self.dataset is None:
            return None
        dataset = trained.load(self.dataset, Columns.parse(self.columns) if self.columns else None)
        transitions = source.cut(replace(trained.configuration, observation_scale=None), dataset)
        drawn = transitions.sample(stream_key(0, Stream.SELECTION_EPISODES), OBSERVATIONS)
        seen = drawn.acting.observation
        return (
            pack({name: np.asarray(part) for name, part in seen.items()})
            if isinstance(seen, Parts)
            else np.asarray(seen)
        )

    def _tell(self, manifest: Manifest, differences: dict[str, float]) -> None:
        told = {
            "export": str(manifest.folder),
            "version": manifest.version,
            "expires": manifest.contents["expires"],
            "rows": manifest.contents["check"]["rows"],
            "bytes": {name: artifact["bytes"] for name, artifact in manifest.artifacts.items()},
            "largest_difference": differences,
        }
        if self.json:
            print(json.dumps(told))
            return
        show = Console()
        show.print(f"{manifest.folder}: {manifest.contents.get('policy')}, expires {told['expires']}", markup=False)
        for name, difference in differences.items():
            size = f"{told['bytes'][name] / 1e6:.2f} MB, " if name in manifest.artifacts else ""
            show.print(f"  {name}: {size}largest difference {difference:.2g} in {told['rows']} rows", markup=False)
