"""`policy.json`: what lies in an export folder, readable without this package.

    format, policy, task, made, expires       what it is, and until when it may be loaded
    inputs, outputs                           names, shapes (`b` is the batch), types, units, defaults
    interface                                 the same, as this package reads it
    sampler, run, versions                    how it acts, what it was learned by, what wrote it
    artifacts                                 each format: file, bytes, sha256, how to call it, its limits
    check                                     recorded inputs and actions, and the largest difference to them
    checksum                                  sha256 of all the rest, as JSON with sorted keys

This module does not know how an artifact is made or run.
"""

import datetime
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from guidedflow import files
from guidedflow.errors import InputError
from guidedflow.serving.interface import Interface
from guidedflow.settings import from_plain, to_plain

FORMAT = 1
MANIFEST = "policy.json"
MARK = "guidedflow_policy"
MOST_BYTES = 4 * 2**20
DAYS = 180
"""After which an export expires: JAX reads programs that were exported up to six months before its own release."""


class Manifest:
    """The verified contents of `policy.json`, and the folder that it lies in."""

    def __init__(self, folder: Path, contents: Mapping[str, Any]) -> None:
        self.folder, self.contents = folder, contents
        try:
            self.interface = from_plain(Interface, contents["interface"])
            self.expires = datetime.date.fromisoformat(contents["expires"])
            self.artifacts: dict[str, dict[str, Any]] = dict(contents["artifacts"])
        except (KeyError, TypeError, ValueError, InputError) as error:
            raise InputError(f"{folder / MANIFEST} is damaged ({error}); export the policy again.") from None

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """The manifest of an export folder. Raises `InputError` for another folder, format or damage."""
        path = folder / MANIFEST
        if path.is_file() and path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path} has more than {MOST_BYTES} bytes; expected what guidedflow export wrote.")
        try:
            contents = files.read_json(path)
        except files.DamagedFile as error:
            raise InputError(f"{folder} is no export of a policy: {error}.") from None
        if MARK not in contents:
            raise InputError(f"{folder} is no export of a policy: its {MANIFEST} has no entry {MARK!r}.")
        if contents[MARK] != FORMAT:
            raise InputError(
                f"{folder} is an export of format {contents[MARK]!r}, but this version of guidedflow reads {FORMAT}; "
                "export the policy again from its run."
            )
        if contents.get("checksum") != _checksum(contents):
            raise InputError(f"{path} does not match its checksum; export the policy again.")
        return cls(folder, contents)

    def check_date(self, today: datetime.date | None = None) -> None:
        """Raise `InputError` for an export that has expired."""
        today = today or datetime.datetime.now(datetime.UTC).date()
        if today > self.expires:
            raise InputError(
                f"{self.folder} expired on {self.expires}, since exported programs are read for {DAYS} days; export "
                "the policy again from its run."
            )

    @property
    def version(self) -> str:
        """Which export this is: the first digits of its checksum."""
        return str(self.contents["checksum"])[:12]

    def artifact(self, name: str) -> dict[str, Any]:
        """The entry of a format. Raises `InputError` where the export does not have it."""
        if name not in self.artifacts:
            raise InputError(
                f"{self.folder} has no {name} artifact, only {', '.join(self.artifacts)}; export it again with "
                f"--format {name}."
            )
        return self.artifacts[name]

    def content(self, entry: Mapping[str, Any]) -> bytes:
        """The bytes of a file that an entry names. Raises `InputError` where they are not those that were written."""
        name = str(entry.get("file"))
        path = self.folder / name
        if Path(name).name != name:
            raise InputError(f"{self.folder / MANIFEST} names a file outside its folder: {name!r}; it is refused.")
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read: {files.reason(error)}; export the policy again.") from None
        if hashlib.sha256(data).hexdigest() != entry.get("sha256"):
            raise InputError(f"{path} does not match its checksum in {MANIFEST}; export the policy again.")
        return data


def entry(data: bytes, file: str, **more: Any) -> dict[str, Any]:
    """What a manifest says of a file."""
    return {"file": file, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), **more}


def manifest(
    interface: Interface,
    about: Mapping[str, Any],
    artifacts: Mapping[str, Any],
    check: Mapping[str, Any],
    days: int = DAYS,
) -> dict[str, Any]:
    """The contents of `policy.json`; `about` says whose policy it is."""
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    contents = {
        MARK: FORMAT,
        **about,
        "made": now.isoformat(),
        "expires": (now.date() + datetime.timedelta(days=days)).isoformat(),
        "inputs": interface.inputs,
        "outputs": interface.outputs,
        "interface": to_plain(interface),
        "versions": _versions(),
        "artifacts": dict(artifacts),
        "check": dict(check),
    }
    contents = json.loads(json.dumps(contents, allow_nan=False))
    return {**contents, "checksum": _checksum(contents)}


def _checksum(contents: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in contents.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _versions() -> dict[str, str]:
    packages = ("guidedflow", "jax", "jaxlib", "equinox", "numpy")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in packages}
