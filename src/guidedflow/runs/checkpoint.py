"""State <-> safetensors: named leaves, a checksum, written beside and renamed.

A checkpoint is a folder `STEP/` with `state.safetensors` (one tensor a leaf, named by its place in the state, such as
`actor.network.layers.0.weight`) and `manifest.json` (step, the name, shape and dtype of every leaf, SHA-256 of the
tensors and of the manifest itself, versions). It appears by one rename, so it is whole or not there; nothing in it is
code, and nothing is unpickled.
This module does not know what the leaves mean, which algorithm they belong to, or how often it is called.
"""

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import warnings
from pathlib import Path
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from guidedflow import files
from guidedflow.errors import InputError
from guidedflow.runs import pytrees as leaves

FORMAT = 1
MANIFEST = "manifest.json"
TENSORS = "state.safetensors"
MANIFEST_BYTES = 64 * 2**20  # far above any state of ours; a larger file is not read at all
MOST_LEAVES = 100_000

State = TypeVar("State")


class DamagedCheckpoint(InputError):
    """A checkpoint whose files are not those that were saved."""


def save(folder: Path, step: int, state: Any, keep: int | None = None) -> Path:
    """Write `state` to `folder/STEP`, wait until the disk holds it, then remove all but the `keep` newest up to it.

    Raises InputError if a leaf is no array or the disk refuses; the earlier checkpoints are then as they were. Saving
    the same state at the same step again changes nothing; another state there is an error, unless what is there is
    damaged.
    """
    if step < 0 or (keep is not None and keep < 1):
        raise InputError(f"A checkpoint needs step >= 0 and keep >= 1, but step is {step} and keep is {keep}.")
    tensors = leaves.on_host(state)
    data = safetensors.numpy.save(tensors)
    manifest = _manifest(step, tensors, data)
    final = folder / str(step)
    if final.exists() and _holds_already(final, manifest):
        return final
    part = folder / f".{step}.part"
    try:
        _prepare(folder)
        part.mkdir()
        files.write_synced(part / TENSORS, data)
        files.write_synced(part / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
        files.sync(part)
        if final.exists():
            os.replace(final, folder / f".{step}.damaged.part")
        files.rename(part, final)
    except OSError as error:
        raise InputError(
            f"Checkpoint {step} could not be saved in {folder}: {files.reason(error)}; the earlier ones are unharmed."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    if keep is not None:
        _prune(folder, [older for older in steps(folder) if older <= step][:-keep])
    return final


def load(folder: Path, step: int | None, like: State) -> tuple[int, State]:
    """The step and the state saved there, in the structure of `like`, of arrays or `jax.ShapeDtypeStruct`s.

    Without a step it is the newest intact checkpoint, and a warning names the damaged ones that were passed over.
    Raises InputError, naming the first leaf that differs from `like`, and DamagedCheckpoint where none is intact.
    """
    _refuse_pickles(folder)
    known = steps(folder)
    if step is not None and step not in known:
        raise InputError(f"{folder} has no checkpoint of step {step}; it has {_listed(known)}.")
    if not known:
        raise InputError(f"{folder} has no checkpoint; expected folders named by their step, each with {TENSORS}.")
    damages = []
    for candidate in reversed(known) if step is None else [step]:
        try:
            state = _read(folder / str(candidate), candidate, like)
        except DamagedCheckpoint as damage:
            damages.append(str(damage))
            continue
        if damages:
            warnings.warn(f"{' '.join(damages)} Using checkpoint {candidate} instead.", stacklevel=2)
        return candidate, state
    raise DamagedCheckpoint(" ".join(damages) + (" No intact checkpoint is left." if step is None else ""))


def latest(folder: Path) -> int | None:
    """The newest step on disk, or None; whether it is intact is for `load` to find out."""
    return max(steps(folder), default=None)


def steps(folder: Path) -> list[int]:
    """The steps that `folder` has checkpoints of, ascending, as the disk tells now."""
    if not folder.is_dir():
        return []
    names = (entry.name for entry in folder.iterdir() if entry.is_dir())
    return sorted(int(name) for name in names if re.fullmatch(r"0|[1-9][0-9]{0,17}", name))


def _manifest(step: int, tensors: dict[str, np.ndarray], data: bytes) -> dict[str, Any]:
    manifest = {
        "format": FORMAT,
        "step": step,
        "leaves": [{"name": name, "dtype": a.dtype.name, "shape": list(a.shape)} for name, a in tensors.items()],
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "versions": _versions(),
    }
    return {**manifest, "checksum": _checksum(manifest)}


def _versions() -> dict[str, str]:
    found = {}
    for package in ("guidedflow", "jax", "equinox", "optax", "numpy", "safetensors"):
        found[package] = importlib.metadata.version(package)
    return found


def _checksum(manifest: dict[str, Any]) -> str:
    """SHA-256 of all that a manifest says beside its checksum, so that no flipped bit in it goes unseen."""
    rest = {key: value for key, value in manifest.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _prepare(folder: Path) -> None:
    """Make `folder`, and clear it of what saves left there that were cut off."""
    if not folder.exists():
        folder.mkdir(parents=True)
        files.sync(folder.parent)
    for stale in folder.glob(".*.part"):
        shutil.rmtree(stale)


def _holds_already(final: Path, manifest: dict[str, Any]) -> bool:
    """Whether the checkpoint at `final` is this one; False if it is damaged and may be replaced."""
    try:
        found = _read_manifest(final, manifest["step"])
        _read_data(final, found)
    except DamagedCheckpoint:
        return False
    if found["sha256"] != manifest["sha256"]:
        raise InputError(f"{final} holds another state already; save at another step or in another folder.")
    return True


def _prune(folder: Path, old: list[int]) -> None:
    for step in old:
        # Renamed first: what is half removed must not look like a checkpoint. What stays behind goes at the next save.
        hidden = folder / f".{step}.old.part"
        try:
            os.replace(folder / str(step), hidden)
        except OSError:
            continue
        shutil.rmtree(hidden, ignore_errors=True)


def _refuse_pickles(folder: Path) -> None:
    names = [folder.name] if folder.is_file() else [entry.name for entry in folder.glob("*.pkl")]
    pickles = [name for name in names if name.endswith((".pkl", ".pickle"))]
    if pickles and not steps(folder):
        raise InputError(
            f"{folder} holds a pickle ({pickles[0]}), which can run code when it is read, so it is refused; "
            f"expected a folder of checkpoints that guidedflow saved ({TENSORS})."
        )


def _listed(known: list[int]) -> str:
    return ", ".join(map(str, known[-10:])) if known else "none"


def _read(path: Path, step: int, like: State) -> State:
    """The state in one checkpoint; all is compared with `like` before a tensor is read."""
    manifest = _read_manifest(path, step)
    found = {leaf["name"]: leaves.Spec(leaf["dtype"], tuple(leaf["shape"])) for leaf in manifest["leaves"]}
    leaves.check(f"Checkpoint {path}", found, like)
    return leaves.restore(_parse_tensors(path, _read_data(path, manifest), found), like)


def _read_manifest(path: Path, step: int) -> dict[str, Any]:
    """The manifest of a checkpoint, verified against its own checksum."""
    data = _bytes(path / MANIFEST, MANIFEST_BYTES)
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError):
        raise DamagedCheckpoint(f"Checkpoint {path} is damaged: {MANIFEST} is not JSON.") from None
    if not isinstance(manifest, dict) or manifest.get("checksum") != _checksum(manifest):
        raise DamagedCheckpoint(f"Checkpoint {path} is damaged: {MANIFEST} does not match its checksum.")
    if manifest["format"] != FORMAT:
        raise InputError(
            f"Checkpoint {path} has format {manifest['format']}; this version of guidedflow reads {FORMAT}."
        )
    if manifest["step"] != step:
        raise DamagedCheckpoint(f"Checkpoint {path} was saved as step {manifest['step']}: the folder was renamed.")
    if len(manifest["leaves"]) > MOST_LEAVES:
        raise InputError(f"Checkpoint {path} has {len(manifest['leaves'])} leaves; expected at most {MOST_LEAVES}.")
    return manifest


def _read_data(path: Path, manifest: dict[str, Any]) -> bytes:
    """The tensor file of a checkpoint, verified against its manifest."""
    data = _bytes(path / TENSORS, manifest["bytes"])
    if len(data) != manifest["bytes"]:
        raise DamagedCheckpoint(
            f"Checkpoint {path} is damaged: {TENSORS} has {len(data)} bytes, not {manifest['bytes']}."
        )
    if hashlib.sha256(data).hexdigest() != manifest["sha256"]:
        raise DamagedCheckpoint(f"Checkpoint {path} is damaged: {TENSORS} does not match its checksum.")
    return data


def _bytes(path: Path, limit: int) -> bytes:
    """The contents of a file of at most `limit` bytes."""
    try:
        size = path.stat().st_size
        if size > limit:
            raise DamagedCheckpoint(f"Checkpoint {path.parent} is damaged: {path.name} has {size} bytes, not {limit}.")
        return path.read_bytes()
    except OSError as error:
        raise DamagedCheckpoint(
            f"Checkpoint {path.parent} is damaged: {path.name} cannot be read: {files.reason(error)}."
        ) from error


def _parse_tensors(path: Path, data: bytes, specs: dict[str, leaves.Spec]) -> dict[str, np.ndarray]:
    """The arrays in a tensor file; its own header must say what the manifest says."""
    header = sum(len(name.encode()) * 6 + 256 for name in specs) + 1024  # six bytes: one escaped character
    try:
        if int.from_bytes(data[:8], "little") > header:
            raise ValueError("its header is too long")
        entries = dict(safetensors.deserialize(data))
        if {name: leaves.Spec(leaves.DTYPES[e["dtype"]], tuple(e["shape"])) for name, e in entries.items()} != specs:
            raise ValueError("its header and the manifest disagree")
        return {
            name: np.frombuffer(e["data"], jnp.dtype(specs[name].dtype)).reshape(e["shape"])
            for name, e in entries.items()
        }
    except (ValueError, KeyError, safetensors.SafetensorError) as error:
        raise DamagedCheckpoint(f"Checkpoint {path} is damaged: {TENSORS}: {error}.") from error
