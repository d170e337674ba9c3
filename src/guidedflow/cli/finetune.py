"""`guidedflow finetune`: a run goes on learning in its environment.

This module does not know how anything is trained.
"""

import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from guidedflow import environments
from guidedflow.cli.named import algorithm_class, environment
from guidedflow.data.formats.columns import Columns
from guidedflow.errors import InputError
from guidedflow.runs.run import Run
from guidedflow.runs.trained import Trained
from guidedflow.training.online import Online, finetune

console = Console(stderr=True)


@dataclass(frozen=True)
class Finetune:
    """Go on training a run in the simulator, or in your own environment: from offline to online."""

    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run, or of one of its checkpoints."""
    out: Path
    """Folder of the new run, whose steps follow those of RUN."""
    online: Online
    env: str | None = None
    """Your own environment, MODULE:FUNCTION, as evaluate takes it."""
    episode_steps: int | None = None
    """Steps after which an episode of --env ends, if the environment itself has no limit."""
    algorithm: str | None = None
    """Class of an algorithm of your own that the run was trained by, MODULE:CLASS."""
    dataset: Path | None = None
    """Dataset file of the run, if it is not in the suite's own folder."""
    columns: tuple[str, ...] = ()
    """Which column of that file is what, as for train, if their names are not kept beside it."""
    resume: bool = False
    """Go on from the newest checkpoint of --out; name RUN and the settings as before."""
    overwrite: bool = False
    """Replace an existing run, with all that is in its folder."""

    def run(self) -> None:
        Run.check(self.out, self.resume, self.overwrite)
        if self.episode_steps is not None and self.env is None:
            raise InputError("--episode-steps changes nothing without --env.")
        if self.online.eval_episodes != Online.eval_episodes and not self.online.eval_interval:
            raise InputError("--eval-episodes changes nothing without --eval-interval.")
        trained = Trained.open(self.path, algorithm=None if self.algorithm is None else algorithm_class(self.algorithm))
        if self.out.expanduser().resolve() == trained.run.path.resolve():
            raise InputError(f"--out must be another folder than that of the run, {trained.run.path}.")
        own = None if self.env is None else environment(self.env, trained.frame_stack, self.episode_steps)
        if own is None:
            environments.simulated(trained.task)
        dataset = trained.load(self.dataset, Columns.parse(self.columns) if self.columns else None)
        tuned = finetune(
            trained, dataset, self.online, out=self.out, env=own, resume=self.resume, overwrite=self.overwrite,
            command=("guidedflow", *self._words()),
        )  # fmt: skip
        console.print(f"run: {self.out}, step {tuned.step:,}", markup=False, highlight=False, soft_wrap=True)
        named = "" if self.env is None else f" --env {self.env}"
        told = f"next: guidedflow evaluate {shlex.quote(str(self.out))}{named}"
        console.print(told, markup=False, highlight=False, soft_wrap=True)

    def _words(self) -> list[str]:
        """The command, with the settings that are not at their defaults."""
        words = ["finetune", str(self.path), "--out", str(self.out)]
        for settings, skipped in ((self.online, ()), (self, ("path", "out", "online", "resume", "overwrite"))):
            for each in fields(settings):
                value = getattr(settings, each.name)
                if each.name in skipped or value == each.default:
                    continue
                flag = f"--{each.name.replace('_', '-')}"
                values = value if isinstance(value, tuple) else () if value is True else (value,)
                words += [flag, *map(str, values)]
        return words
