"""A run on disk: a folder that one process at a time may write to.

    config.json            what was asked for: command, settings, dataset and its fingerprint, versions
    metrics.jsonl          the source of truth of training; metrics.csv and tensorboard/ are views of it
    evaluations.jsonl      one raw row an episode
    checkpoints/STEP/      the whole state

This module does not know what is in these files beside the configuration, nor how a run is trained or evaluated.
"""

import contextlib
import json
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from guidedflow import files
from guidedflow.errors import InputError, did_you_mean
from guidedflow.runs import changes, lock
from guidedflow.runs.mark import CONFIG, MARK

FORMAT = 1
CHECKPOINTS = "checkpoints"


class Run:
    """A run folder and its configuration; holds the lock if `claim` made it, until `close` or the end of a `with`."""

    def __init__(self, path: Path, config: Mapping[str, Any], lock: int | None = None) -> None:
        self.path = path
        self.config = dict(config)
        self._lock = lock
        self._replaces = False
        self._begun = False
        self._made: list[Path] = []
        self._owner = b""
        self._changes: list[str] = []

    @classmethod
    def claim(
        cls,
        path: Path,
        config: Mapping[str, Any],
        resume: bool = False,
        overwrite: bool = False,
        defaults: Mapping[str, Any] | None = None,
    ) -> "Run":
        """Lock `path` for a new run, or for the one that is there; nothing in it changes before `begin`.

        Raises InputError if something is there and neither `resume` nor `overwrite` is set, if it is not a run, if
        another process writes to it, or if a setting that a resumed run must keep has changed; one that came with a
        later version of this library was at its default, as in `defaults`. `resume` with nothing there starts afresh;
        `overwrite` lets `begin` empty a run, and never a folder that is not one.
        """
        config = json.loads(json.dumps({MARK: FORMAT, **config}, allow_nan=False))
        _refuse_both(resume, overwrite)
        try:
            path = Path(path).resolve()
            _refuse_stranger(path, known=resume or overwrite)
            made = [folder for folder in (path, *path.parents) if not folder.exists()]
            path.mkdir(parents=True, exist_ok=True)
            held, owner = lock.acquire(path)
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be a run folder: {files.reason(error)}.") from error
        try:
            # Again: another process may have made and left a run meanwhile.
            _refuse_stranger(path, known=resume or overwrite)
            run = cls(path, config, held)
            run._made, run._owner = made, owner
            if (path / CONFIG).exists():
                if resume:
                    run._changes = changes.between(path, _read_config(path), config, defaults or {})
                else:
                    _refuse_nested(path)
                run._replaces = not resume
        except BaseException:
            lock.release(held)
            raise
        return run

    def begin(self) -> "Run":
        """Write the configuration, after the run that is to be overwritten was removed."""
        self.warn_of_changes()
        self._begun = True
        if self._replaces:
            _clear(self.path)
        files.write_json(self.path / CONFIG, self.config)
        return self

    def warn_of_changes(self) -> None:
        """Warn, once, of what a resumed run does in another way than before."""
        if self._changes:
            warnings.warn(f"{self.path} is resumed with changes: {'; '.join(self._changes)}.", stacklevel=3)
        self._changes = []

    @classmethod
    def check(cls, path: Path, resume: bool = False, overwrite: bool = False) -> None:
        """Raise InputError where `claim` would before it looks at settings; touches nothing."""
        _refuse_both(resume, overwrite)
        try:
            path = Path(path).expanduser().resolve()
            _refuse_stranger(path, known=resume or overwrite)
            place = next(folder for folder in (path, *path.parents) if folder.exists())
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be a run folder: {files.reason(error)}.") from error
        if not os.access(place, os.W_OK):
            raise InputError(f"{path} cannot be a run folder: {place} is read-only.")

    @staticmethod
    def locate(path: Path) -> tuple[Path, int | None]:
        """The folder of the run that a path means, and the step where it is that of one of its checkpoints."""
        above = path.parent
        if above.name == CHECKPOINTS and path.name.isdecimal() and (above.parent / CONFIG).exists():
            return above.parent, int(path.name)
        if path.name == CHECKPOINTS and (above / CONFIG).exists():
            return above, None
        return path, None

    @classmethod
    def open(cls, path: Path) -> "Run":
        """The run at `path`, to be read; raises InputError if there is none."""
        path = Path(path)
        if not path.is_dir():
            names = [entry.name for entry in path.parent.iterdir() if entry.is_dir()] if path.parent.is_dir() else []
            raise InputError(
                f"There is no run at {path}{did_you_mean(path.name, names)}; expected a folder with {CONFIG}."
            )
        return cls(path, _read_config(path))

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / CHECKPOINTS

    @property
    def metrics(self) -> Path:
        """The rows of training, one a log interval."""
        return self.path / "metrics.jsonl"

    @property
    def evaluations(self) -> Path:
        """The rows of evaluation, one an episode."""
        return self.path / "evaluations.jsonl"

    def close(self) -> None:
        """Let another process write to the run; one that never began leaves its folder as it was, or none."""
        with contextlib.suppress(OSError):  # of a disk that refuses; what is left is free all the same
            if self._made and _contents(self.path) == []:
                (self.path / lock.LOCK).unlink(missing_ok=True)
                for folder in self._made:
                    with contextlib.suppress(OSError):  # of one that others have put something into
                        folder.rmdir()
            elif not self._begun and self._lock is not None:
                lock.sign(self._lock, self._owner)
        lock.release(self._lock)
        self._lock = None

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"


def _refuse_both(resume: bool, overwrite: bool) -> None:
    """Raise InputError if a run is to be resumed and overwritten."""
    if resume and overwrite:
        raise InputError("A run is either resumed or overwritten; give --resume or --overwrite, not both.")


def _refuse_stranger(path: Path, known: bool) -> None:
    """Raise InputError unless `path` is free, or is a run and `known` says that the caller expects one."""
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; expected a folder for the run, or a path where there is nothing.")
    if not path.exists() or not _contents(path):
        return
    if not known:
        lock.refuse_in_use(path)
        raise InputError(
            f"{path} exists and is not empty; add --resume to continue it, --overwrite to replace it, "
            "or choose another --out."
        )
    _read_config(path)


def _refuse_nested(path: Path) -> None:
    """Raise InputError if another run lies in the folder of one that is to be overwritten."""
    for config in (each for name in _contents(path) for each in (path / name).glob(f"**/{CONFIG}")):
        if MARK.encode() in config.read_bytes():
            raise InputError(
                f"{path} holds another run, {config.parent.relative_to(path)}, which --overwrite would remove too; "
                "move it away, or choose another --out."
            )


def _contents(path: Path) -> list[str]:
    """What a folder holds, without what is there before a run has a configuration, and without W&B's own folder."""
    return sorted(entry.name for entry in path.iterdir() if entry.name not in (lock.LOCK, f".{CONFIG}.part", "wandb"))


def _read_config(path: Path) -> dict[str, Any]:
    """The configuration of a run; raises InputError if `path` is not one."""
    try:
        config = files.read_json(path / CONFIG)
    except files.DamagedFile as error:
        raise InputError(f"{path} is not a run of guidedflow: {_why_not(path, error.__cause__)}.") from error
    if MARK not in config:
        raise InputError(f"{path} is not a run of guidedflow: {_why_not(path, None)}.")
    if config[MARK] != FORMAT:
        raise InputError(f"{path} is a run of format {config[MARK]!r}; this version of guidedflow reads {FORMAT}.")
    return config


def _why_not(path: Path, cause: BaseException | None) -> str:
    """Why a folder is not one of a run: what its configuration could not be read for, if anything."""
    if isinstance(cause, FileNotFoundError):
        return _instead(path)
    if isinstance(cause, OSError):
        return f"{CONFIG} cannot be read: {files.reason(cause)}"
    return f"its {CONFIG} has no entry {MARK!r}" if cause is None else f"its {CONFIG} is not JSON"


def _instead(path: Path) -> str:
    """What a folder without a configuration is, and what to name in its place."""
    run, step = Run.locate(path)
    if run != path:
        told = "the folder of checkpoints" if step is None else f"checkpoint {step}"
        return f"it is {told} of the run {run}; name that folder"
    runs = sorted(entry.parent.name for entry in path.glob(f"*/{CONFIG}") if MARK.encode() in entry.read_bytes())
    if runs:
        more = f", and {len(runs) - 5} more" if len(runs) > 5 else ""
        return f"it is a folder of runs; name one of them, such as {path / runs[0]} ({', '.join(runs[:5])}{more})"
    return f"{CONFIG} cannot be read: No such file or directory"


def _clear(path: Path) -> None:
    """Empty the folder of a run, its lock aside; the configuration goes last, so that what a crash leaves is a run."""
    try:
        for name in [*(name for name in _contents(path) if name != CONFIG), CONFIG]:
            entry = path / name
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    except OSError as error:
        raise InputError(f"{path} could not be overwritten: {files.reason(error)}.") from error
