"""A dataset by the name of its task.

This module does not know what is in a file: each suite has a loader of its own.
"""

from pathlib import Path

from guidedflow.data import ogbench
from guidedflow.data.dataset import Dataset


def load_dataset(task: str, path: Path | str | None = None) -> Dataset:
    """The training data of a task, from its suite's own folder or from `path`.

    Raises `InputError` for an unknown task, and for a file that is missing, damaged or of another environment.
    """
    return ogbench.load(task, None if path is None else Path(path))
