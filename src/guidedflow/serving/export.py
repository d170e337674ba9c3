"""`guidedflow export`: a policy with its sampler as files that need neither its run nor this package.

    policy.json          how to call it; see `manifest`
    policy.stablehlo     a program for CPU and CUDA (`--format stablehlo`)
    policy.onnx          a graph (`--format onnx`)
    policy.py            code for NumPy alone, with policy.safetensors (`--format numpy`)
    check.safetensors    recorded inputs and the policy's actions at them

Every format is compared with the policy before the folder appears: what differs is never written. This module does not
know what is inside a format.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from guidedflow import files
from guidedflow.errors import InputError
from guidedflow.policies.policy import Policy
from guidedflow.serving import numpy_files, onnx, stablehlo
from guidedflow.serving.interface import Interface
from guidedflow.serving.manifest import DAYS, MANIFEST, Manifest, entry, manifest
from guidedflow.serving.programs import one_by_one
from guidedflow.serving.recorded import Recorded, record

FORMATS: Mapping[str, Any] = {"stablehlo": stablehlo, "onnx": onnx, "numpy": numpy_files}
"""Modules with `write(policy, interface, folder)` and `load(manifest)`, by the name of their format."""

CHECK = "check.safetensors"
TOLERANCE = 1e-5
"""Largest difference of an action's numbers, for actions of the size of 1."""


def write_export(
    policy: Policy,
    interface: Interface,
    folder: Path,
    formats: Sequence[str] = ("stablehlo",),
    about: Mapping[str, Any] | None = None,
    *,
    observations: NDArray[Any] | None = None,
    overwrite: bool = False,
    unroll: bool = False,
    days: int = DAYS,
) -> Manifest:
    """Write a policy in each of `formats` into `folder`, which appears whole or not at all.

    Each is compared with the policy at random observations and at `observations`, if there are any. Raises `InputError`
    for a policy that a format cannot hold, an action that differs by more than `TOLERANCE`, a folder that is there
    already, or a disk that refuses.
    """
    folder = folder.expanduser().resolve()
    if folder.exists() and not (overwrite and (folder / MANIFEST).is_file()):
        raise InputError(
            f"{folder} exists already; choose another -o, or add --overwrite if it is an export to replace."
        )
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    with files.folders_above(folder), files.replacing(folder) as part:
        part.mkdir()
        told = _fill(part, policy, interface, formats, about or {}, observations, unroll, days)
        if folder.exists():  # a folder cannot take the place of another one in one step
            os.rename(folder, old)
    shutil.rmtree(old, ignore_errors=True)
    return Manifest(folder, told)


def _fill(
    part: Path,
    policy: Policy,
    interface: Interface,
    formats: Sequence[str],
    about: Mapping[str, Any],
    observations: NDArray[Any] | None,
    unroll: bool,
    days: int,
) -> dict[str, Any]:
    """Write every file of an export into an empty folder and compare; returns the manifest."""
    recorded = record(policy, interface, observations)
    artifacts = {
        name: FORMATS[name].write(policy, interface, part, **({"unroll": unroll} if name == "onnx" else {}))
        for name in formats
    }
    data = safetensors.numpy.save(recorded.arrays())
    (part / CHECK).write_bytes(data)
    check = entry(data, CHECK, rows=len(recorded.actions), tolerance=TOLERANCE)
    draft = Manifest(part, manifest(interface, about, artifacts, check, days))
    files.write_json(part / MANIFEST, draft.contents)
    check["largest_difference"] = differences(draft, recorded)
    told = manifest(interface, about, artifacts, check, days)
    files.write_json(part / MANIFEST, told)
    for path in part.iterdir():
        files.sync(path)
    return told


def check_export(folder: Path, policy: Policy | None = None, tolerance: float = TOLERANCE) -> dict[str, float]:
    """The largest difference of each format to the recorded actions, and of these to the policy, if it is given.

    Raises `InputError` for a damaged or expired export, and for a difference above `tolerance`.
    """
    found = Manifest.read(folder.expanduser())
    found.check_date()
    recorded = Recorded.of(safetensors.numpy.load(found.content(found.contents["check"])), found.interface)
    told = {}
    if policy is not None:
        if policy.observation_shape != found.interface.observation_shape or policy.noise_shape != (
            found.interface.noise_shape
        ):
            raise InputError(f"{folder} is an export of another policy: its observations or noise have other shapes.")
        told["policy"] = _compared(found, "policy", recorded, one_by_one(policy, found.interface), tolerance)
    return told | differences(found, recorded, tolerance)


def differences(found: Manifest, recorded: Recorded, tolerance: float = TOLERANCE) -> dict[str, float]:
    """The largest difference of each format to recorded actions. Raises `InputError` for one above `tolerance`."""
    return {name: _compared(found, name, recorded, FORMATS[name].load(found), tolerance) for name in found.artifacts}


def _compared(found: Manifest, name: str, recorded: Recorded, program: Callable[..., Any], tolerance: float) -> float:
    actions = np.asarray(program(*recorded.inputs))
    if actions.shape != recorded.actions.shape:
        raise InputError(
            f"The {name} actions have the shape {actions.shape}, but the recorded ones {recorded.actions.shape}."
        )
    apart = np.abs(actions - recorded.actions).reshape(len(actions), -1).max(axis=1)
    worst = int(np.argmax(np.where(np.isnan(apart), np.inf, apart)))
    if not apart[worst] <= tolerance * max(1.0, float(np.abs(recorded.actions).max())):
        raise InputError(
            f"The {name} actions of {found.folder.name.strip('.')} differ from the recorded ones by "
            f"{apart[worst]:.2g} in row {worst}, more than {tolerance:g}; do not use this format for this policy."
        )
    return float(apart[worst])
