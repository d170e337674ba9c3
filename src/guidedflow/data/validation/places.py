"""Where the data of a known task lie, whether they do or not.

This module does not know what is in a file.
"""

from pathlib import Path

from guidedflow import environments
from guidedflow.data.formats import d4rl, minari
from guidedflow.data.obtain.collect import FOLDER
from guidedflow.errors import InputError


def home(task: str, folder: Path | None = None) -> Path:
    """Where the data of a known task lie, in a folder or by default in their suite's own, whether they do or not."""
    parsed = environments.parse(task) if environments.known(task) else None
    if parsed is not None and parsed.suite == "ogbench":
        return (FOLDER.expanduser() if folder is None else folder) / f"{parsed.dataset}.npz"
    if not d4rl.is_walker(task) and (parsed is None or parsed.suite == "minari"):
        return (minari.folder() if folder is None else folder) / task
    try:
        return d4rl.locate(task, folder)
    except InputError:
        return (d4rl.folder() if folder is None else folder) / d4rl.address(task).rsplit("/", 1)[1]
