"""Rows of episodes: what was rolled out and how it went, one row an episode, each column of one type.

A value that does not apply is null. Every evaluation is written by `append` and read by `read`, which also reads the
rows of version 0.1. Which measure a comparison is about is decided by `measure`, once for all of its rows.
"""

import functools
import re
import types
import typing
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np

from guidedflow import files
from guidedflow.results.counts import plural

Measure = Literal["success", "score", "return"]

Episode = TypedDict(
    "Episode",
    {
        "task": str,
        "task_id": int | None,
        "policy": str | None,
        "guidance": str | None,
        "weight": float | None,
        "normalize": bool | None,
        "schedule": str | None,
        "match": bool | None,
        "value": str | None,
        "condition": float | None,
        "candidates": int | None,
        "refine_steps": int | None,
        "refine_size": float | None,
        "refine_sign": bool | None,
        "improvement": str | None,
        "flow_steps": int | None,
        "critic_run": str | None,
        "replan": int | None,
        "delay": int | None,
        "realtime": bool | None,
        "step": int | None,
        "seed": int,
        "episode": int,
        "episode_seed": int,
        "return": float,
        "length": int,
        "success": float | None,
        "success_at": str | None,
        "score": float | None,
        "seam": float | None,
        "source": str,
        "environment": str | None,
    },
)
"""One episode.

`guidance` to `flow_steps` say how the policy acted: `guidance` is null for a policy that is no flow, `condition` is the
weight of a flow's own condition, `improvement` names what the action went through in closed form. `critic_run` is the
run whose critic was asked in place of the policy's. `schedule` and `match` say how the weight follows the flow, null
where it is constant. `value` is negated or random for a control, null for the critic's own value. `delay` counts the
steps from a request to its chunk. `seam` is the mean jump from the last action of a chunk to the first of the next, a
root mean square over dimensions, null without a delay. `return` is the sum of rewards and `score` its place between two
reference returns, in points. `source` is training, selection or evaluate; reported numbers are of evaluate alone.
`success_at` is last where success is that of an episode's last step, as in rows without the column, and any where one
step sufficed. `environment` names what made an environment that no suite has.
"""

COLUMNS: Mapping[str, Any] = types.MappingProxyType(typing.get_type_hints(Episode))
"""The columns of a row, each with its type."""

ACTING = (
    *("guidance", "weight", "normalize", "schedule", "match", "value", "condition"),
    *("candidates", "refine_steps", "refine_size", "refine_sign", "improvement", "flow_steps"),
    *("critic_run", "replan", "delay", "realtime"),
)
"""The columns about how a policy acted."""


def episode(**columns: Any) -> Episode:
    """A row of these columns, null in the others.

    Raises TypeError for an unknown column and for a value of another type.
    """
    unknown = columns.keys() - COLUMNS.keys()
    if unknown:
        raise TypeError(f"a row of an episode has no column {', '.join(sorted(unknown))}")
    row = {name: _typed(name, columns.get(name)) for name in COLUMNS}
    return typing.cast(Episode, row)


def append(path: Path, rows: Iterable[Episode]) -> None:
    """Add rows to the file at `path`, all in one write. Raises `InputError` where the disk refuses."""
    files.append_rows(path, [episode(**row) for row in rows])


def read(path: Path) -> list[Episode]:
    """The rows of the file at `path`, of version 0.1 too; none where there is no file.

    What is not a row of an episode is left out, and a warning tells its number.
    """
    found = []
    for number, row in enumerate(files.read_rows(path), start=1):
        try:
            found.append(episode(**(_of_0_1(row) if "sampler" in row else row)))
        except (TypeError, OverflowError) as error:
            warnings.warn(f"{path}: row {number} is left out: {error}.", stacklevel=2)
    return found


def rewind(path: Path, step: int) -> None:
    """Drop what training wrote beyond `step` from the file at `path`; evaluations that were asked for stay."""
    if path.exists():
        rows = files.read_rows(path)
        files.replace_rows(path, [r for r in rows if r.get("source", "training") != "training" or r["step"] <= step])


def measure(rows: Iterable[Mapping[str, Any]]) -> Measure:
    """What these rows are compared by: success where all have it, else score where all have it, else return."""
    rows = list(rows)
    names: tuple[Measure, ...] = ("success", "score")
    for name in names:
        if all(row.get(name) is not None for row in rows):
            return name
    return "return"


def summarise(rows: Sequence[Episode]) -> dict[str, Any]:
    """What the rows of one evaluation say: means and, for each training seed and each task, rates and returns.

    `success_std` and `return_std` are population deviations over training seeds. A measure that a row lacks is null.
    """
    first = rows[0]
    seeds, tasks = _grouped(rows, "seed"), _grouped(rows, "task_id")
    shared: Mapping[str, Any] = first
    told = {"task": shared["task"], "policy": shared["policy"], "sampler": in_words(shared)}
    told |= {name: shared[name] for name in ("step", *ACTING)}
    told |= {"episodes": len(next(iter(seeds.values()))), "seeds": list(seeds)}
    for name in ("success", "return"):
        each = [mean(group, name) for group in seeds.values()]
        told |= {name: each, f"{name}_std": None if None in each else float(np.std(each))}  # type: ignore[arg-type]
    if shared["success_at"] == "any":
        told |= {"success_at": "any"}
    if None not in tasks:
        told |= {"task_ids": list(tasks), "success_by_task": [mean(group, "success") for group in tasks.values()]}
    told |= {f"{name}_mean": mean(rows, name) for name in ("success", "return", "length")}
    if seams := [seam for row in rows if (seam := row.get("seam")) is not None]:
        told["seam_mean"] = float(np.mean(seams))
    return told | ({"score": score} if (score := mean(rows, "score")) is not None else {})


def mean(rows: Iterable[Mapping[str, Any]], name: str) -> float | None:
    """The mean of a column, or None where a row lacks it."""
    values = [row[name] for row in rows]
    return None if None in values else float(np.mean(values))


def by_seed(rows: Iterable[Episode], name: Measure) -> dict[int, list[float]]:
    """The mean of a measure of each training seed, in the order of seeds, by step."""
    steps: dict[int, dict[int, list[float]]] = {}
    for row in rows:
        steps.setdefault(row["step"] or 0, {}).setdefault(row["seed"], []).append(row[name])  # type: ignore[arg-type]
    return {step: [float(np.mean(found)) for found in seeds.values()] for step, seeds in sorted(steps.items())}


def in_words(columns: Mapping[str, Any]) -> str:
    """How a policy acted, as a person says it: `10 steps, denoised guidance 0.1, best of 4`."""
    acting = {name: columns.get(name) for name in ACTING}
    told = [plural(acting["flow_steps"], "step") if acting["flow_steps"] is not None else "one step"]
    if acting["guidance"] not in (None, "none", "conditional"):
        weight = "" if acting["weight"] is None else f" {acting['weight']:g}"
        told.append(f"{acting['guidance']} guidance{weight}{', normalised' if acting['normalize'] else ''}")
    if acting["schedule"] not in (None, "constant"):
        told.append(f"{acting['schedule']} weight")
    told += ["matched to the velocity"] if acting["match"] else []
    told += [f"{acting['value']} value"] if acting["value"] is not None else []
    if acting["condition"] is not None:
        told.append(f"condition {acting['condition']:g}")
    if acting["refine_steps"]:
        told.append(
            f"{acting['refine_steps']} {'sign ' if acting['refine_sign'] else ''}steps of {acting['refine_size']:g}"
        )
    if acting["improvement"]:
        told.append(f"improved by {acting['improvement']}")
    if (acting["candidates"] or 1) > 1:
        told.append(f"best of {acting['candidates']}")
    told += [f"critic of {acting['critic_run']}"] if acting["critic_run"] is not None else []
    told += [f"replanned every {acting['replan']}"] if acting["replan"] is not None else []
    told += (
        [f"delay {acting['delay']}{', real-time' if acting['realtime'] else ''}"] if acting["delay"] is not None else []
    )
    return ", ".join(told)


def _grouped(rows: Iterable[Episode], name: str) -> dict[Any, list[Episode]]:
    groups: dict[Any, list[Episode]] = {}
    for row in rows:
        groups.setdefault(row[name], []).append(row)  # type: ignore[literal-required]
    return groups


def _typed(name: str, value: Any) -> Any:
    """The value of a column in its own type; raises TypeError for another one."""
    kinds = _kinds(name)
    if value is None and type(None) in kinds:
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if float in kinds and isinstance(value, int | float):
        return float(value)
    if isinstance(value, kinds) and isinstance(value, bool) == (bool in kinds):
        return value
    raise TypeError(f"its {name} must be {' or '.join(kind.__name__ for kind in kinds)}, but is {value!r}")


@functools.cache
def _kinds(name: str) -> tuple[type, ...]:
    return typing.get_args(COLUMNS[name]) or (COLUMNS[name],)


# Rows of version 0.1 hold how a policy acted as one text, its settings as Python prints them and what was added to it.
_SAMPLER = re.compile(
    r"Sampler\(steps=(?P<flow_steps>\d+), guidance=(?P<guidance>.*?), "
    r"refinement=(?:None|GradientAscent\(size=(?P<refine_size>[^,]+), steps=(?P<refine_steps>\d+), "
    r"sign=(?P<refine_sign>\w+)\)), candidates=(?P<candidates>\d+)\)"
    r"(?:, condition (?P<condition>[^,]+))?(?:, critic from (?P<critic_run>.*?))?(?:, replan=(?P<replan>\d+))?$"
)
_GUIDANCE = {
    "Unguided": "none",
    "NoisyGradient": "noisy",
    "DenoisedGradient": "denoised",
    "JacobianGradient": "jacobian",
    "RolloutGradient": "rollout",
}
_PARSED: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(("flow_steps", "refine_steps", "candidates", "replan"), int),
    **dict.fromkeys(("refine_size", "condition"), float),
    "refine_sign": lambda text: text == "True",
    "critic_run": str,
}


def _of_0_1(row: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a row that version 0.1 wrote. Raises TypeError where its text is none of that version's."""
    told = dict(row)
    source, _, environment = str(told.pop("source", "training")).partition(" in ")
    told |= {"source": source, "environment": environment or None}
    sampler = told.pop("sampler")
    if not sampler:
        return told
    if (found := _SAMPLER.match(sampler)) is None:
        raise TypeError(f"its sampler is {sampler!r}, which no version wrote")
    told |= {name: parse(found[name]) for name, parse in _PARSED.items() if found[name] is not None}
    name, _, settings = found["guidance"].removesuffix(")").partition("(")
    told |= {"guidance": _GUIDANCE.get(name, name)}
    if weight := re.search(r"weight=([^,)]+)", settings):
        told |= {"weight": float(weight[1]), "normalize": "normalize=True" in settings}
    elif told["guidance"] == "none" and "condition" in told:
        told |= {"guidance": "conditional", "weight": told["condition"]}
    return told
