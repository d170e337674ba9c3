"""Where the data of a known task lie, whether they do or not.

This module does not know what is in a file.
"""

from pathlib import Path

from guidedflow import environments
from guidedflow.data import d4rl, minari
from guidedflow.data.collect import FOLDER
from guidedflow.errors import InputError


def has_home(name: str) -> bool:
    """Whether a name says where its data lie: that of a known task, or of one of Minari's datasets on this disk."""
    return environments.known(name) or minari.is_minari(minari.folder() / name)


def home(task: str, folder: Path | None = None) -> Path:
    """Where the data of a known task lie, in a folder or by default in their suite's own, whether they do or not."""
    if not environments.known(task):
        return minari.folder() / task
    parsed = environments.parse(task)
    if parsed.suite == "ogbench":
        return (FOLDER.expanduser() if folder is None else folder) / f"{parsed.dataset}.npz"
    if parsed.suite == "minari":
        return (minari.folder() if folder is None else folder) / task
    try:
        return d4rl.locate(task, folder)
    except InputError:
        return (d4rl.folder() if folder is None else folder) / d4rl.address(task).rsplit("/", 1)[1]
