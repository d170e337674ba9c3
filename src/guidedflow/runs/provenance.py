"""Where a number came from: versions and commit.

This module does not know which numbers.
"""

import importlib.metadata
import platform
import subprocess
from pathlib import Path


def versions() -> dict[str, str]:
    """Versions of Python, of this library, and of what its arithmetic rests on."""
    packages = ("guidedflow", "jax", "jaxlib", "equinox", "optax", "numpy", "safetensors")
    found = {name: importlib.metadata.version(name) for name in packages}
    return {"python": platform.python_version(), **found}


def commit() -> str | None:
    """The commit of this library's working copy, with "+" where its files differ from it; None if it is installed."""
    here = Path(__file__).parents[1]  # the package, of which all files count
    tracked = ["ls-files", "--error-unmatch", "__init__.py"]
    try:
        _, head, changes = (
            subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True, timeout=10).stdout
            for words in (tracked, ["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "--", "."])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return head.strip() + ("+" if changes.strip() else "")
