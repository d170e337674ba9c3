"""A dataset by the name of its task, or by its file: read by its source, with its actions in the box.

This module does not know which source data are from, nor what is in a file.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path

from guidedflow.data import actions, validation
from guidedflow.data.actions import Outside
from guidedflow.data.dataset import Dataset
from guidedflow.data.formats.columns import Columns
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.sources import Origin, by_goals, locate
from guidedflow.data.validation import Problems
from guidedflow.normalization import ActionScale


def load_dataset(
    task: Path | str | Origin,
    path: Path | str | None = None,
    *,
    columns: Columns | Mapping[str, str] | None = None,
    clip_actions: bool = False,
    rescale_actions: bool | ActionScale = False,
    problems: Problems | None = None,
) -> Dataset:
    """The training data of a task, from its suite's own folder or from `path`, with its actions in [-1, 1].

    A file or folder may stand in the place of the task, and tells its name then; so may what `locate` found.

    `columns` tells which column is what in a file of your own, with what is kept beside it; a task without a simulator
    may have any name.
    `rescale_actions` maps the range of each dimension, or a given one, to [-1, 1]; a policy that is trained on it acts
    in the units of the file again. What is odd about the file is added to `problems`. Raises `InputError` for an
    unknown task, for actions outside [-1, 1], unless `clip_actions` or `rescale_actions`, and for whatever else
    `validate` calls an error.
    """
    rule = Outside.of(clip_actions, bool(rescale_actions))
    scale = rescale_actions if isinstance(rescale_actions, ActionScale) else None
    dataset = validation.read(_found(task, path, columns), rule, Problems() if problems is None else problems)
    return actions.inside(dataset, rule, scale)


def open_dataset(
    task: Path | str | Origin,
    path: Path | str | None = None,
    *,
    columns: Columns | Mapping[str, str] | None = None,
    clip_actions: bool = False,
    rescale_actions: bool | ActionScale = False,
    problems: Problems | None = None,
) -> Dataset | Mapped:
    """The training data of a task as `load_dataset` gives it, but a folder that was converted stays on disk."""
    origin = _found(task, path, columns)
    if not origin.mapped:
        return load_dataset(origin, clip_actions=clip_actions, rescale_actions=rescale_actions, problems=problems)
    Outside.of(clip_actions, bool(rescale_actions))  # not both
    opened = Mapped.open(origin.path, origin.task, clip_actions)
    given = rescale_actions if isinstance(rescale_actions, ActionScale) else None
    scale = given or (opened.action_range if rescale_actions else None)
    return dataclasses.replace(opened, action_scale=scale, goal_conditioned=by_goals(origin.task))


def read_dataset(
    task: Path | str | Origin,
    path: Path | str | None = None,
    *,
    columns: Columns | Mapping[str, str] | None = None,
    source: str | None = None,
) -> Dataset:
    """The dataset with actions as they were recorded (OGBench's are clipped), without the checks of `load_dataset`.

    `source` names a row of the table of sources.
    """
    return _found(task, path, columns, source).read()


def read_parts(
    task: Path | str | Origin,
    path: Path | str | None = None,
    *,
    columns: Columns | Mapping[str, str] | None = None,
    source: str | None = None,
    to_disk: bool = False,
) -> Dataset | Iterable[Dataset]:
    """What is to be converted: actions as recorded; a folder of OGBench's shards is read a part at a time.

    With `to_disk` films are decoded some episodes at a time, so that images may exceed memory.
    Raises `InputError` for whatever `validate` calls an error, but for actions outside [-1, 1].
    """
    origin = _found(task, path, columns, source)
    if to_disk and (pieces := validation.in_pieces(origin)) is not None:
        return pieces
    parts = origin.parts()
    return validation.read(origin, Outside.refused, Problems()) if parts is None else validation.whole(origin, parts)


def _found(
    task: Path | str | Origin,
    path: Path | str | None,
    columns: Columns | Mapping[str, str] | None,
    source: str | None = None,
) -> Origin:
    return task if isinstance(task, Origin) else locate(task, path, Columns.of(columns), source)
