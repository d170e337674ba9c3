"""What a resumed run is asked to do in another way than before, and which of it may change.

This module does not know where settings are kept, nor what they mean.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from guidedflow.errors import InputError
from guidedflow.runs.mark import MARK

MAY_CHANGE = frozenset(
    {"steps", "log_interval", "eval_interval", "eval_episodes", "checkpoint_interval", "keep_checkpoints"}
    | {"workers", "wandb", "versions", "commit"}
)
"""Entries of the configuration that a resumed run may change, because they leave the mathematics alone."""

NOT_COMPARED = frozenset({MARK, "command", "recipe", "resume", "overwrite", "out"})
"""Entries that say where settings came from; the settings themselves are compared."""


def between(path: Path, old: Mapping[str, Any], new: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """The settings that have changed, in words; raises InputError if one of them must stay."""
    asked = dict(_flat(new))
    saved = {name: value for name, value in _flat(defaults) if name in asked} | dict(_flat(old))
    changed = [name for name in {**saved, **asked} if saved.get(name, _UNSET) != asked.get(name, _UNSET)]
    changed = [name for name in changed if name.split(".")[0] not in NOT_COMPARED]
    told = {name: f"{name} {_told(saved, name)} -> {_told(asked, name)}" for name in changed}
    if why := _why_not(changed, told, saved, asked):
        raise InputError(f"{path} {why}, or choose another --out.")
    return list(told.values())


def _why_not(
    changed: list[str], told: Mapping[str, str], saved: Mapping[str, Any], asked: Mapping[str, Any]
) -> str | None:
    """Why a run cannot be resumed with these changes, and what to give instead; None if it can be."""
    if any(name.startswith("action_scale") for name in changed):
        return "was trained on actions of another scale; give --rescale-actions and the dataset as before"
    for name in (name for name in changed if name.split(".")[-1] == "fingerprint"):
        found = f"fingerprint {saved.get(name)}, now {asked.get(name)}"
        return f"was trained on another dataset ({found}); give the same dataset"
    if any(name.startswith("observation_scale") for name in changed):
        return (
            "was trained on observations of another scale; give --normalize-observations or "
            "--no-normalize-observations, and the dataset, as before"
        )
    fixed = [told[name] for name in changed if name.split(".")[0] not in MAY_CHANGE]
    return f"cannot be resumed with other settings ({'; '.join(fixed)}); give the saved ones" if fixed else None


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
