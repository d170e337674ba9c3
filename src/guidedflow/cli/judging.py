"""`guidedflow evaluate --off-policy`: which runs and policies are judged, and how the ranking is printed."""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from guidedflow.errors import InputError
from guidedflow.policies.policy import Policy
from guidedflow.results import tables
from guidedflow.results.counts import plural
from guidedflow.results.ranking import Agreement
from guidedflow.runs.gather import folders
from guidedflow.runs.judged import Judged, Panel, agree
from guidedflow.runs.trained import Trained

ALL = "all"
"""Name under which every policy of a run is judged."""

SIMULATED = (
    *("env", "task", "select_weight", "select_offline", "video", "plot", "replan", "delay", "realtime"),
    *("episodes", "episode_steps", "workers", "success"),
)
"""Settings of `evaluate` that are for the simulator alone."""

LIMITS = (
    "Limits: the value is a discounted return at the episodes' own first states, not success at the simulator's. Where "
    "no data covers a policy's actions, it is too high: policies beyond distance 1 (far) therefore come last. "
    "Short recordings and long horizons blur it."
)
"""What is said below each table."""

Policies = Callable[[Trained, str | None], tuple[str, Mapping[float | None, Policy]]]
"""A run and a policy's name -> that name, by default the main one's, and the policy under each weight."""


def judge(
    panel: Panel,
    paths: Sequence[Path],
    policy: str | None,
    policies: Policies,
    opened: Callable[[Path], Trained],
) -> list[Judged]:
    """Judge the runs at or below these paths, the best first."""
    found: list[Judged] = []
    for path in dict.fromkeys(folder for each in paths for folder in _runs(each)):
        trained = opened(path)
        names = list(trained.policies()) if policy == ALL else [policy]
        for each in names:
            found += panel(trained, *policies(trained, each))
    if any(each.seen for each in found):
        warnings.warn(
            "runs are judged on episodes that they were trained on; hold some out by `guidedflow data split`, and name "
            "them by --dataset",
            stacklevel=2,
        )
    return sorted(found, key=lambda each: each.judgement.order, reverse=True)


def _runs(path: Path) -> list[Path]:
    path = path.expanduser()
    return list(folders(path)) if path.is_dir() and path.parent.name != "checkpoints" else [path]


def tell(found: Sequence[Judged], panel: Panel, as_json: bool) -> None:
    """Print the ranking, what is known of the recorded actions, and the agreement with the simulator."""
    recorded, agreed = panel.recorded(), agree(found, panel.judge.seed)
    if as_json:
        told: dict[str, Any] = {"judged": [each.plain() for each in found], "recorded": recorded, "limits": LIMITS}
        told["agreement"] = {name: None if each is None else each.plain() for name, each in agreed.items()}
        told["judge"] = {name: list(v) if isinstance(v, tuple) else v for name, v in vars(panel.judge).items()}
        print(json.dumps(told))
        return
    console = Console()
    console.print(_table(found))
    for line in [*_losses(found), *_notes(recorded, agreed)]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _losses(found: Sequence[Judged]) -> list[str]:
    """A line for each run, below the table, which is wide enough without them."""
    runs = {each.run: each.losses for each in found if each.losses}
    return [
        f"validation losses of {run}: "
        + ", ".join(f"{name.removesuffix('_loss')} {loss:.3g}" for name, loss in losses.items())
        for run, losses in runs.items()
    ]


def _notes(recorded: Mapping[str, Any], agreed: Mapping[str, Agreement | None]) -> list[str]:
    low, high = recorded["interval"]
    told = [
        f"recorded actions: value {recorded['value']:.3f} [{low:.3f}, {high:.3f}], recorded return "
        f"{recorded['return']:.3f} ({plural(recorded['episodes'], 'episode')}, "
        f"{plural(recorded['transitions'], 'transition')})"
    ]
    told += [f"agreement with the simulator, {name}: {each}" for name, each in agreed.items() if each is not None]
    return [*told, LIMITS]


def _table(found: Sequence[Judged]) -> Any:
    weights = any(each.weight is not None for each in found)
    weighted = any(each.importance is not None for each in found)
    headers = ["run", "policy", *(["weight"] if weights else []), "value", "interval", "everywhere", "distance"]
    headers += ["drift", *(["importance", "effective"] if weighted else []), "simulator"]
    return tables.table(headers, [_row(each, weights, weighted) for each in found], "ranked without a simulator")


def _row(each: Judged, weights: bool, weighted: bool) -> list[str]:
    judgement, importance, measured = each.judgement, each.importance, each.simulated
    cells = [each.run, each.policy]
    if weights:
        cells.append("-" if each.weight is None else f"{each.weight:g}")
    cells += [f"{judgement.value:.3f}", str(judgement.interval), f"{judgement.everywhere:.3f}"]
    cells += [f"{judgement.distance:.2f}{'' if judgement.near else ' far'}", f"{judgement.drift:.3f}"]
    if weighted:
        assert importance is not None
        cells += [f"{importance.value:.3f} {importance.interval}", f"{importance.effective:.1f}"]
    cells.append("-" if measured is None else f"{measured.measure} {measured.mean:.3f} (n={measured.episodes})")
    return cells


def refuse(flags: Mapping[str, Any]) -> None:
    """Raise InputError for the first of these flags that was given: judging has no use for it."""
    for flag, given in flags.items():
        if given:
            raise InputError(f"{flag} is for the simulator, so it changes nothing with --off-policy; leave it out.")
