"""A run on disk: a folder that one process at a time may write to.

    config.json            what was asked for: command, settings, dataset and its fingerprint, versions
    metrics.jsonl          the source of truth of training; metrics.csv and tensorboard/ are views of it
    evaluations.jsonl      one raw row an episode
    checkpoints/STEP/      the whole state

This module does not know what is in these files beside the configuration, nor how a run is trained or evaluated.
"""

import contextlib
import fcntl
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from guidedflow import files
from guidedflow.errors import InputError, did_you_mean

FORMAT = 1
MARK = "guidedflow_run"  # its presence in config.json tells a run from any other folder
CONFIG = "config.json"
CHECKPOINTS = "checkpoints"
LOCK = ".lock"

MAY_CHANGE = frozenset(
    {"steps", "log_interval", "eval_interval", "eval_episodes", "checkpoint_interval", "keep_checkpoints"}
    | {"workers", "wandb", "versions", "commit"}
)
"""Entries of the configuration that a resumed run may change, because they leave the mathematics alone."""

NOT_COMPARED = frozenset({MARK, "command", "recipe", "resume", "overwrite", "out"})
"""Entries that say where settings came from; the settings themselves are compared."""


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
        if resume and overwrite:
            raise InputError("A run is either resumed or overwritten; give --resume or --overwrite, not both.")
        try:
            path = Path(path).resolve()
            _refuse_stranger(path, known=resume or overwrite)
            made = [folder for folder in (path, *path.parents) if not folder.exists()]
            path.mkdir(parents=True, exist_ok=True)
            lock, owner = _acquire(path)
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be a run folder: {files.reason(error)}.") from error
        try:
            # Again: another process may have made and left a run meanwhile.
            _refuse_stranger(path, known=resume or overwrite)
            run = cls(path, config, lock)
            run._made, run._owner = made, owner
            if (path / CONFIG).exists():
                if resume:
                    run._changes = _changes(path, _read_config(path), config, defaults or {})
                else:
                    _refuse_nested(path)
                run._replaces = not resume
        except BaseException:
            _release(lock)
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
        if resume and overwrite:
            raise InputError("A run is either resumed or overwritten; give --resume or --overwrite, not both.")
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
        if self._made and _contents(self.path) == []:
            (self.path / LOCK).unlink(missing_ok=True)
            for folder in self._made:
                with contextlib.suppress(OSError):  # of one that others have put something into
                    folder.rmdir()
        elif not self._begun and self._lock is not None:
            _sign(self._lock, self._owner)
        _release(self._lock)
        self._lock = None

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"


def _refuse_stranger(path: Path, known: bool) -> None:
    """Raise InputError unless `path` is free, or is a run and `known` says that the caller expects one."""
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; expected a folder for the run, or a path where there is nothing.")
    if not path.exists() or not _contents(path):
        return
    if not known:
        _refuse_in_use(path)
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
    return sorted(entry.name for entry in path.iterdir() if entry.name not in (LOCK, f".{CONFIG}.part", "wandb"))


def _read_config(path: Path) -> dict[str, Any]:
    """The configuration of a run; raises InputError if `path` is not one."""
    try:
        config = json.loads((path / CONFIG).read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path} is not a run of guidedflow: {_instead(path)}.") from None
    except OSError as error:
        raise InputError(
            f"{path} is not a run of guidedflow: {CONFIG} cannot be read: {files.reason(error)}."
        ) from error
    except (ValueError, RecursionError):
        raise InputError(f"{path} is not a run of guidedflow: its {CONFIG} is not JSON.") from None
    if not isinstance(config, dict) or MARK not in config:
        raise InputError(f"{path} is not a run of guidedflow: its {CONFIG} has no entry {MARK!r}.")
    if config[MARK] != FORMAT:
        raise InputError(f"{path} is a run of format {config[MARK]!r}; this version of guidedflow reads {FORMAT}.")
    return config


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


def _acquire(path: Path) -> tuple[int, bytes]:
    """Lock the folder for this process, and return what the last owner wrote into the lock.

    The system lets go of it however the process ends, so no lock is ever stale.
    """
    descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        error = _in_use(path, descriptor)
        os.close(descriptor)
        raise error from None
    except OSError as error:  # some network file systems cannot lock
        warnings.warn(f"{path} cannot be locked: {files.reason(error)}; start no second process on it.", stacklevel=3)
    owner = os.pread(descriptor, 32, 0)
    _sign(descriptor, f"{os.getpid()}\n".encode())
    return descriptor, owner


def _sign(lock: int, owner: bytes) -> None:
    os.ftruncate(lock, 0)
    os.pwrite(lock, owner, 0)


def _refuse_in_use(path: Path) -> None:
    """Raise InputError if a process holds the lock of the folder; writes nothing."""
    try:
        descriptor = os.open(path / LOCK, os.O_RDONLY)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _in_use(path, descriptor) from None
    except OSError:
        return
    finally:
        os.close(descriptor)


def _in_use(path: Path, descriptor: int) -> InputError:
    owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
    return InputError(f"{path} is in use by process {owner or 'unknown'}; wait until it ends, or choose another --out.")


def _release(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)


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


def _changes(path: Path, old: Mapping[str, Any], new: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """The settings that have changed, in words; raises InputError if one of them must stay."""
    asked = dict(_flat(new))
    saved = {name: value for name, value in _flat(defaults) if name in asked} | dict(_flat(old))
    changed = [name for name in {**saved, **asked} if saved.get(name, _UNSET) != asked.get(name, _UNSET)]
    changed = [name for name in changed if name.split(".")[0] not in NOT_COMPARED]
    told = {name: f"{name} {_told(saved, name)} -> {_told(asked, name)}" for name in changed}
    if any(name.startswith("action_scale") for name in changed):
        raise InputError(
            f"{path} was trained on actions of another scale; give --rescale-actions and the dataset as before, or "
            "choose another --out."
        )
    for name in changed:
        if name.split(".")[-1] == "fingerprint":
            raise InputError(
                f"{path} was trained on another dataset (fingerprint {saved.get(name)}, now {asked.get(name)}); "
                "give the same dataset, or choose another --out."
            )
    if any(name.startswith("observation_scale") for name in changed):
        raise InputError(
            f"{path} was trained on observations of another scale; give --normalize-observations or "
            "--no-normalize-observations, and the dataset, as before, or choose another --out."
        )
    fixed = [told[name] for name in changed if name.split(".")[0] not in MAY_CHANGE]
    if fixed:
        raise InputError(
            f"{path} cannot be resumed with other settings ({'; '.join(fixed)}); "
            "give the saved ones, or choose another --out."
        )
    return list(told.values())


_UNSET = object()


def _told(settings: Mapping[str, Any], name: str) -> str:
    return json.dumps(settings[name]) if name in settings else "(not set)"


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The settings under dotted names, such as `algorithm.alpha`."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
