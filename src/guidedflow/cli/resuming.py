"""`guidedflow train --resume --out RUN`: a run goes on as it was, from its folder alone.

Settings are those of its configuration, flags about data those of its recorded command; what is typed wins. This
module does not know how arguments become a command.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from guidedflow.algorithms import ALGORITHMS
from guidedflow.algorithms.contract import Algorithm
from guidedflow.cli.named import is_name
from guidedflow.errors import InputError
from guidedflow.runs.configuration import algorithm_of, class_name
from guidedflow.runs.run import Run
from guidedflow.settings import from_plain
from guidedflow.training.plan import Plan

PROGRAMS = ("guidedflow", "__main__.py")
"""How a recorded command of the command line begins."""

NOT_AGAIN = ("--overwrite", "--dry-run", "--print-config")
"""Flags that say nothing about how a run is trained."""


@dataclass(frozen=True)
class Resumed:
    """A run that goes on: the words that say all of it, and the settings that they rest on."""

    words: list[str]
    algorithm: Algorithm[Any]
    plan: Plan
    task: str


def asks(arguments: Sequence[str]) -> bool:
    """Whether arguments resume a run without saying what it is."""
    return arguments[:1] == ["train"] and _has(arguments, "--resume") and not _has(arguments, "--task")


def resumed(arguments: Sequence[str], own: type[Algorithm[Any]] | None = None) -> Resumed:
    """The run that the arguments name by `--out`, and its recorded words before those that were typed.

    `own` is the class that was named, `MODULE:CLASS`. Raises `InputError` where the run was not trained from the
    command line, by another algorithm, or with code that has to be named again.
    """
    out = _value(arguments, "--out")
    if out is None:
        raise InputError("train --resume needs the folder of a run; give --out RUN.")
    run = Run.open(Path(out).expanduser())
    recorded = run.config.get("command")
    if not isinstance(recorded, list) or len(recorded) < 3 or Path(str(recorded[0])).name not in PROGRAMS:
        raise InputError(
            f"{run.path} was trained from Python ({recorded[0] if recorded else 'unknown'}), so its data are not "
            "known by name: call train(..., resume=True) there, or give the algorithm, --task and --dataset here."
        )
    if recorded[1] == "finetune":
        raise InputError(f"{run.path} was fine-tuned; go on by: guidedflow {' '.join(map(str, recorded[1:]))} --resume")
    typed = list(arguments[1:])
    named = typed.pop(0) if typed and not typed[0].startswith("-") else None
    was = next((str(word) for word in recorded[2:] if word in ALGORITHMS or is_name(str(word))), None)
    if was is not None and is_name(was) and own is None:
        raise InputError(f"{run.path} was trained by {was}; name it again: guidedflow train {was} --resume --out {out}")
    given = own or ALGORITHMS.get(named or "")
    if given is not None and class_name(given) != (trained := run.config["algorithm"]["name"]):
        raise InputError(f"{run.path} was trained by {trained}, not by {named}; choose another --out.")
    words = _without([str(word) for word in recorded[2:]], was)
    if _has(words, "--env"):
        if not _has(typed, "--env"):
            raise InputError(
                f"{run.path} was evaluated in {_value(words, '--env')}; name it again by --env, since code is never "
                "imported because a file names it."
            )
        at = words.index("--env") if "--env" in words else None
        words = words if at is None else words[:at] + words[at + 2 :]
    try:
        algorithm = algorithm_of(run.config, own)
        plan = from_plain(Plan, {f.name: run.config[f.name] for f in fields(Plan) if f.name in run.config})
    except InputError as error:
        raise InputError(f"{run.path} cannot be resumed: {error}") from None
    name = named or was or class_name(type(algorithm))
    return Resumed(["train", name, *words, *typed], algorithm, plan, str(run.config["task"]))


def _without(words: Sequence[str], algorithm: str | None) -> list[str]:
    """The flags that are typed again; the name of the algorithm is none."""
    kept = list(words)
    if algorithm in kept:
        kept.remove(str(algorithm))
    return [word for word in kept if word not in NOT_AGAIN]


def _has(words: Sequence[str], flag: str) -> bool:
    return any(word == flag or word.startswith(f"{flag}=") for word in words)


def _value(words: Sequence[str], flag: str) -> str | None:
    """What follows a flag, the last time that it is typed."""
    for at in range(len(words) - 1, -1, -1):
        if words[at].startswith(f"{flag}="):
            return words[at].partition("=")[2]
        if words[at] == flag and at + 1 < len(words):
            return words[at + 1]
    return None
