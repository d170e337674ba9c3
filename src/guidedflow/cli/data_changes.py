"""`guidedflow data clean`, `split` and `weigh`: write a dataset anew, changed.

This module does not know how arguments are read, nor what is in a file.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from guidedflow.cli.data_origin import origin_of
from guidedflow.data.actions import Outside
from guidedflow.data.cleaning import Cleaning, clean, split
from guidedflow.data.convert import Format, check_free, convert
from guidedflow.data.dataset import Dataset
from guidedflow.data.load import read_parts
from guidedflow.errors import InputError
from guidedflow.results.counts import plural
from guidedflow.training.advantages import Advantages


@dataclass(frozen=True)
class Clean:
    """Write a dataset without what cannot or should not be learned from, and tell what was taken out."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SRC")]
    """File, folder, or name of a task."""
    destination: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DST")]
    """File, or folder, that is not there yet."""
    nan: Literal["drop", "cut"] = "drop"
    """Drop episodes with NaN or infinity, or cut them before the first such row."""
    trim_idle: bool = False
    """Cut the end of an episode where no observation changes any more, but no step that ended the task."""
    drop_repeated: bool = False
    """Keep the first of episodes with the same beginning, actions and rewards."""
    clip_actions: bool = False
    """Clip actions that lie outside [-1, 1]."""
    rescale_actions: bool = False
    """Map the range of each dimension of the actions to [-1, 1]; the file does not tell the old range."""
    to: Format | None = None
    """Format; by default told by the suffix."""
    task: str | None = None
    """Task, if the file's name does not tell it."""
    columns: tuple[str, ...] = ()
    """Which column of your own file is what, as for train."""
    json: bool = False
    """Print one JSON object on standard output."""

    def run(self) -> None:
        outside = Outside.of(self.clip_actions, self.rescale_actions)
        origin = origin_of(self)
        dataset, done = clean(origin, Cleaning(self.nan, self.trim_idle, self.drop_repeated, outside))
        path = convert(dataset, self.destination, self.to, str(origin.path))
        if self.json:
            print(json.dumps({"path": str(path), **done}))
            return
        bad = done["not_finite"]
        print(f"not finite: {plural(bad['episodes'], 'episode')}, {plural(bad['rows'], 'row')} taken out")
        print(
            f"idle: {plural(done['idle_steps'], 'step')} cut; "
            f"repeated: {plural(done['repeated_episodes'], 'episode')} taken out"
        )
        print(f"{path}: {plural(done['episodes'], 'episode')}, {plural(done['transitions'], 'transition')}")


@dataclass(frozen=True)
class Split:
    """Write the episodes of a dataset into two files: to train on, and held out."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SRC")]
    """File, folder, or name of a task."""
    train: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TRAIN")]
    """File, or folder, for the episodes to train on; not there yet."""
    held_out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="HELD-OUT")]
    """File, or folder, for the others; not there yet."""
    share: float = 0.1
    """Share of the episodes that is held out."""
    seed: int = 0
    """Chooses them; the same seed chooses the same."""
    task: str | None = None
    """Task, if the file's name does not tell it."""
    columns: tuple[str, ...] = ()
    """Which column of your own file is what, as for train."""
    json: bool = False
    """Print one JSON object on standard output."""

    def run(self) -> None:
        origin = origin_of(self)
        dataset = read_parts(origin)
        if not isinstance(dataset, Dataset):
            raise InputError(f"{origin.path} comes in parts that may exceed memory; hold out some of its files instead")
        check_free([self.train, self.held_out])
        told = {}
        for path, part in zip((self.train, self.held_out), split(dataset, self.share, self.seed), strict=True):
            made = convert(part, path, None, str(origin.path))
            told[str(made)] = {"episodes": part.episodes, "transitions": len(part)}
        if self.json:
            print(json.dumps(told))
        else:
            for name, sizes in told.items():
                print(f"{name}: {plural(sizes['episodes'], 'episode')}, {plural(sizes['transitions'], 'transition')}")


@dataclass(frozen=True)
class Weigh:
    """Write a dataset with a column of weights by advantage, for `train --rebalance weights` (ODPR-A)."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SRC")]
    """File, folder, or name of a task."""
    destination: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DST")]
    """File that is not there yet, npz or HDF5."""
    advantages: Annotated[Advantages, tyro.conf.arg(name="")] = Advantages()  # noqa: RUF009
    """How the weights are found."""
    discount: float = 0.99
    """Discount (gamma) of one environment step."""
    horizon: int = 1
    """Environment steps of a transition: its reward is their discounted sum; published for kitchen and pen: 5."""
    seed: int = 0
    """Of the values and of the batches that they are fitted to."""
    task: str | None = None
    """Task, if the file's name does not tell it."""
    columns: tuple[str, ...] = ()
    """Which column of your own file is what, as for train."""

    def run(self) -> None:
        origin = origin_of(self)
        dataset = read_parts(origin)
        if not isinstance(dataset, Dataset):
            raise InputError(f"{origin.path} comes in parts that may exceed memory; weigh some of its files instead")
        transitions = dataset.cut(self.discount, self.horizon)
        weights = np.zeros(len(dataset.last), np.float32)
        weights[np.asarray(transitions.starts)] = self.advantages.weigh(transitions, self.seed)
        print(convert(replace(dataset, weights=weights), self.destination, None, str(origin.path)))
