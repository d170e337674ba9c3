"""A policy as a StableHLO program, by `jax.export`: for CPU and CUDA, of any batch, its weights inside.

The program needs jax (and flatbuffers) to be called, and none of this package. No CUDA is needed to export for it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from guidedflow.errors import InputError
from guidedflow.policies.policy import Policy
from guidedflow.serving.extras import needing
from guidedflow.serving.interface import Interface
from guidedflow.serving.manifest import Manifest, entry
from guidedflow.serving.programs import batched, inputs_of

FILE = "policy.stablehlo"
PLATFORMS = ("cpu", "cuda")


def write(policy: Policy, interface: Interface, folder: Path) -> dict[str, Any]:
    """Write the program into `folder`; returns its entry in the manifest."""
    from jax import export

    with needing("StableHLO", "export"):
        import flatbuffers  # noqa: F401
    (batch,) = export.symbolic_shape("b")
    program = jax.jit(batched(policy, interface))
    exported = export.export(program, platforms=PLATFORMS)(*inputs_of(interface, batch))
    data = bytes(exported.serialize())
    (folder / FILE).write_bytes(data)
    names = ", ".join(each["name"] for each in interface.inputs)
    return entry(
        data,
        FILE,
        platforms=list(PLATFORMS),
        calling_convention_version=exported.calling_convention_version,
        call=[
            "import jax",
            "from jax import export",
            f"program = jax.jit(export.deserialize(bytearray(open({FILE!r}, 'rb').read())).call)",
            f"actions = program({names})",
        ],
        limits=["needs jax of at least the version that wrote it, and flatbuffers", "float32"],
    )


def load(manifest: Manifest) -> Callable[..., jax.Array]:
    """The program of an export, compiled at its first call. Raises `InputError` for what this JAX cannot read."""
    from jax import export

    artifact = manifest.artifact("stablehlo")
    with needing("StableHLO", "export"):
        import flatbuffers  # noqa: F401
    _check_version(manifest, artifact)
    data = manifest.content(artifact)
    try:
        exported = export.deserialize(bytearray(data))
    except Exception as error:  # whatever a reader of another version makes of it
        told = " ".join(str(error).split())[:200]
        raise InputError(
            f"{manifest.folder / FILE} cannot be read by jax {jax.__version__} ({told}); export the policy again."
        ) from error
    if jax.default_backend() not in exported.platforms and not _is_cuda(exported.platforms):
        raise InputError(
            f"{manifest.folder} was exported for {', '.join(exported.platforms)}, but JAX runs on "
            f"{jax.default_backend()} here; set JAX_PLATFORMS=cpu."
        )
    return jax.jit(exported.call)


def _is_cuda(platforms: tuple[str, ...]) -> bool:
    return jax.default_backend() == "gpu" and "cuda" in platforms


def _check_version(manifest: Manifest, artifact: Mapping[str, Any]) -> None:
    from jax import export

    found = artifact.get("calling_convention_version")
    low, high = export.minimum_supported_calling_convention_version, export.maximum_supported_calling_convention_version
    if not isinstance(found, int) or not low <= found <= high:
        wrote = manifest.contents.get("versions", {}).get("jax", "another version")
        raise InputError(
            f"{manifest.folder} was written by jax {wrote} in calling convention {found}, but jax {jax.__version__} "
            f"here reads {low} to {high}; install that version, or export the policy again."
        )
