"""Files of MetaWorld's tasks, as `guidedflow data collect` writes them: the columns of this library's own files.

An episode of L actions has L + 1 rows, and the mask is 0 in the step with success, which ends it. The four kinds of
data of one environment share their rewards, so one task may be trained on another's file. This module does not know how
a file was made, nor what is learned from it.
"""

from pathlib import Path

from guidedflow import environments
from guidedflow.data.formats import making
from guidedflow.data.formats.arrays import Arrays
from guidedflow.data.formats.columns import OURS, Columns, Roles
from guidedflow.data.obtain.metaworld import FOLDER
from guidedflow.errors import InputError


def home(task: str, place: Path | None = None) -> Path:
    """The training file of a task: the place, or its file there or in the suite's folder; it need not be there."""
    place = (FOLDER if place is None else place).expanduser()
    return place if place.is_file() or place.suffix == ".npz" else place / f"{task}.npz"


def roles(file: Arrays, task: str, told: Columns) -> Roles:
    """This library's own names. Raises `InputError` for a file that was collected in another environment."""
    made = making.read(file.path) or {}
    dataset = str(made.get("dataset", task))
    if environments.known(dataset) and not environments.alike(dataset, task):
        raise InputError(
            f"{file.path} was collected as {dataset}, in another environment than that of {task}; name another file by "
            f"--dataset, or train on --task {dataset}"
        )
    return Roles(OURS)


def missing(file: Path, task: str) -> InputError:
    """The sentence about a file that is not there, with the way to make it."""
    own = file.parent == FOLDER.expanduser()
    place = file.parent if file.name == f"{task}.npz" else file
    return InputError(
        f"{file} does not exist: collect it by `guidedflow data collect {task}{'' if own else f' --out {place}'}`, or "
        "name a file by --dataset"
    )
