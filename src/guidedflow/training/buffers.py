"""The replay buffers of a run that goes on in its environment: one a seed, made, saved and restored.

    RUN/replay/STEP/        the buffers and the episodes in progress of a checkpoint
    RUN/replay/working-0/   the buffer of seed 0, where it is kept in files

This module does not know how transitions are played, nor how they are drawn.
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from guidedflow.data.replay import Replay, load, save
from guidedflow.runs import checkpoint
from guidedflow.training.member import Member
from guidedflow.training.online_plan import Online
from guidedflow.training.playing import Player

FOLDER = "replay"
"""The folder of replay buffers in a run: one for each checkpoint, under its step."""


def replay(online: Online, member: Member, folder: Path) -> Replay:
    """An empty replay buffer, in memory or in files of the run."""
    plan, spaces = member.plan, member.configuration.transition
    size, shape = spaces.action_size // (plan.horizon if plan.chunk else 1), spaces.observation_shape
    cutting = replace(plan.cutting, observation_scale=member.configuration.observation_scale)
    capacity = 2 * online.steps + 1 if online.capacity is None else online.capacity  # episodes may be of one step
    return Replay(
        capacity, shape, size, observation_dtype=spaces.observation_dtype, cutting=cutting,
        folder=folder if online.on_disk else None,
    )  # fmt: skip


def save_all(member: Member, players: Sequence[Player], state: Any, step: int) -> None:
    """The replay buffers, then the checkpoint that they belong to; those of checkpoints that are gone are removed."""
    folder = member.run.path / FOLDER
    arrays = {f"{player.seed}.{name}": array for player in players for name, array in player.state().items()}
    save(folder / str(step), arrays)
    checkpoint.save(member.run.checkpoints, step, state, member.plan.kept)
    kept = set(map(str, checkpoint.steps(member.run.checkpoints)))
    for old in folder.iterdir():
        if old.name.isdecimal() and old.name not in kept:
            shutil.rmtree(old, ignore_errors=True)


def restore(players: Sequence[Player], folder: Path) -> None:
    """Replay buffers and episodes in progress, as they were at a checkpoint."""
    arrays = load(folder)
    for player in players:
        prefix = f"{player.seed}."
        own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        player.restore(own)
