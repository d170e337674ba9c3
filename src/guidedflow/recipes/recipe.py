"""Recipes: settings of an algorithm and of the plan of a run, as published for a task, with their source.

    published   the row behind the GFP paper's column; where nothing is published, what is usual, and it says so
    quick       the same at a laptop's size: three layers of 256, 20,000 updates
    awr         GFP's ablation, which weighs by the exponential of the advantage
    online      the settings of a run that is to be fine-tuned online, as FQL published them

`laptop.py` has two more, at sizes that were measured here, and `choice.py` finds a recipe by its name. Values are
plain, as `guidedflow.settings.from_plain` reads them. This module does not know the algorithms, only what their
settings are called.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from guidedflow.errors import InputError, did_you_mean
from guidedflow.recipes.facts import Row, citation, document, rows
from guidedflow.recipes.tasks import Task
from guidedflow.recipes.tasks import task as task_named

PLAN = ("steps", "batch_size", "discount", "horizon", "chunk")
"""The columns of a table of settings that are settings of a run's plan; the others are the algorithm's."""

QUICK_SETTINGS: Mapping[str, Any] = {"hidden": [256, 256, 256], "learning_rate": 3e-4}
QUICK_PLAN: Mapping[str, Any] = {"steps": 20_000}

_NOT_SETTINGS = frozenset({"environment", "source", "used", "why", "beyond"})
_WHOLE = frozenset({"steps", "batch_size", "horizon", "flow_steps", "candidates"})


@dataclass(frozen=True)
class Contradiction:
    """Two sources, two values of one setting."""

    setting: str
    used: Any
    other: Any
    source: str
    """Where the other value stands."""
    why: str
    """Why it is not the one that is used."""


@dataclass(frozen=True)
class Recipe:
    """What to run, and who says so."""

    name: str
    algorithm: str
    task: str
    settings: Mapping[str, Any]
    """Settings of the algorithm; what is missing is the algorithm's own default."""
    plan: Mapping[str, Any]
    """Updates, batch size, discount, frames and crops of images; what is missing is the plan's own default."""
    source: str | None = None
    """None if nothing is published for the task."""
    contradictions: tuple[Contradiction, ...] = ()
    remarks: tuple[str, ...] = ()
    """What the published runs also did, that no setting here says, and what this recipe does otherwise."""

    @property
    def notice(self) -> str | None:
        """One line for a recipe that nothing published stands behind, or None."""
        if self.source is not None:
            return None
        values = {**self.settings, **self.plan}
        told = ", ".join(f"{name.replace('_', '-')} {in_words(value)}" for name, value in values.items())
        return (
            f"no setting of {self.algorithm} is published for {self.task}; the recipe takes "
            f"{f'{told}, and otherwise ' if told else ''}the defaults of {self.algorithm}."
        )

    def record(self, beside: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What the configuration of a run says about its recipe; `beside` are settings that were given with it."""
        return {"name": self.name, "source": self.source, "beside": dict(beside or {})}


def published(algorithm: str, task: str | Task) -> Recipe:
    """The published settings; without any, what is usual for the task's family; an unknown name is an `InputError`."""
    return _published(algorithm, algorithm, _resolved(task))


def quick(algorithm: str, task: str | Task) -> Recipe:
    """The published settings at a laptop's size. Raises `InputError` for unknown names."""
    full = published(algorithm, task)
    environment = _resolved(task).environment
    changes = [row for row in rows("quick") if (row["method"], row["environment"]) == (algorithm, environment)]
    changed = {row["setting"]: _value({row["setting"]: row["value"]}, row["setting"]) for row in changes}
    told = (f"{row['setting']} {row['value']}: {row['why']}" for row in changes)
    return replace(
        full,
        name="quick",
        settings={**full.settings, **changed, **QUICK_SETTINGS},
        plan={**full.plan, **QUICK_PLAN},
        remarks=(*full.remarks, *told),
    )


def awr(algorithm: str, task: str | Task) -> Recipe:
    """The published settings of GFP's advantage-weighted ablation; `InputError` where there are none."""
    recipe = _published("gfp-awr", algorithm, _resolved(task))
    if recipe.source is None:
        environments = ", ".join(row["environment"] for row in rows("settings/gfp-awr"))
        raise InputError(f"there is no recipe 'awr' for {recipe.task}; it is published for {environments}.")
    return replace(recipe, name="awr")


def online(algorithm: str, task: str | Task) -> Recipe:
    """The settings of a run before it is fine-tuned online; its remark names the online steps.

    Raises `InputError` where none are published: GFP, for example, was published offline only.
    """
    recipe = published(algorithm, task)
    environment = _resolved(task).environment
    found = [row for row in rows("online") if (row["method"], row["environment"]) == (algorithm, environment)]
    if not found:
        known = ", ".join(row["environment"] for row in rows("online") if row["method"] == algorithm)
        raise InputError(
            f"there is no recipe 'online' of {algorithm} for {recipe.task}; it is published for {known}."
            if known
            else f"{algorithm} was published offline only; take 'published'."
        )
    (row,) = found
    return replace(
        recipe,
        name="online",
        settings={**recipe.settings, "alpha": _value(row, "alpha")},
        plan={**recipe.plan, **({"discount": _value(row, "discount")} if row["discount"] else {})},
        source=citation(row["source"]),
        contradictions=(),
        remarks=(f"then guidedflow finetune for {int(row['steps']):,} steps, the dataset in the buffer",),
    )


def methods() -> dict[str, Mapping[str, str]]:
    """Algorithms that have recipes, and for each of its policies the method in whose column its score stands."""
    return {name: method["scores"] for name, method in document("methods").items() if "algorithm" not in method}


def in_words(value: Any) -> str:
    """A plain value, as it is typed after its flag."""
    if isinstance(value, list):
        return " ".join(map(in_words, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _check(algorithm: str) -> None:
    """Raise `InputError` for an algorithm that nothing is published of."""
    if algorithm not in methods():
        known = ", ".join(methods())
        raise InputError(f"there is no recipe of {algorithm!r}{did_you_mean(algorithm, methods())}; known: {known}.")


def _resolved(task: str | Task) -> Task:
    return task if isinstance(task, Task) else task_named(task)


def _published(method: str, algorithm: str, task: Task) -> Recipe:
    """The row of a method that is used for a task, together with what all its rows share."""
    _check(algorithm)
    described = document("methods")[method]
    candidates = _rows(described["rows"], task.environment)
    row = _used(candidates)
    if row is None:
        return _usual(algorithm, task)
    values = _values(row, described.get("only"))
    settings = {**{name: value for name, value in values.items() if name not in PLAN}, **described["shared"]}
    plan = _in_chunks({name: values[name] for name in PLAN if name in values} | described.get("plan", {})) | _pixels(
        task
    )
    others = [other for other in candidates if other is not row]
    return Recipe(
        name="published",
        algorithm=algorithm,
        task=task.name,
        settings=settings,
        plan=plan,
        source=citation(row["source"]),
        contradictions=(*_replaced(values, others), *_contradictions(method, task.environment, values)),
        remarks=(f"the published runs also had {row['beyond']}",) if row.get("beyond") else (),
    )


def _usual(algorithm: str, task: Task) -> Recipe:
    """What the published rows of neighbours suggest, with the discount and batch size of FQL's row for the task."""
    described = document("methods")[algorithm]
    usual: Mapping[str, Any] = next((v for k, v in described.get("usual", {}).items() if task.family in k.split()), {})
    gfp, fql = (_values(_used(_rows(method, task.environment)) or {}) for method in ("gfp", "fql"))
    borrowed = {name: gfp[name] for name in described.get("usual_from_gfp", ())}
    plan = {"steps": task.protocol.steps, **{name: fql[name] for name in PLAN if name in fql and name != "steps"}}
    settings = {**usual, **borrowed, **described["shared"]}
    return Recipe(
        "published", algorithm, task.name, settings, _in_chunks(plan | described.get("plan", {})) | _pixels(task)
    )


def _rows(method: str, environment: str) -> list[Row]:
    """All rows of a method's table for an environment."""
    return [row for row in rows(f"settings/{method}") if row["environment"] == environment]


def _used(candidates: list[Row]) -> Row | None:
    """The row of several that is used, if one is."""
    return next((row for row in candidates if row.get("used", "yes") == "yes"), None)


def _in_chunks(plan: dict[str, Any]) -> dict[str, Any]:
    """A plan of chunks where transitions have several steps; one step is no chunk."""
    return {name: value for name, value in plan.items() if name != "chunk" or plan.get("horizon", 1) > 1}


def _pixels(task: Task) -> dict[str, Any]:
    """What all published runs on images share: frames that are seen as one, and the probability of crops."""
    return dict(document("suites")[task.suite]["pixels"]) if task.pixels else {}


def _replaced(used: Mapping[str, Any], others: list[Row]) -> list[Contradiction]:
    """What a row that is not used says otherwise."""
    return [
        Contradiction(name, used[name], value, citation(row["source"]), row["why"])
        for row in others
        for name, value in _values(row).items()
        if name in used and value != used[name]
    ]


def _contradictions(method: str, environment: str, used: Mapping[str, Any]) -> list[Contradiction]:
    """What another source prints for a single setting."""
    found = [
        row
        for row in rows("contradictions")
        if row["method"] == method and row["environment"] in ("*", environment) and row["setting"] in used
    ]
    return [
        Contradiction(
            row["setting"],
            used[row["setting"]],
            _value({row["setting"]: row["other"]}, row["setting"]),
            citation(row["source"]),
            row["why"],
        )
        for row in found
        if not row["when"] or used[row["setting"]] == row["when"]
    ]


def _values(row: Row, only: list[str] | None = None) -> dict[str, Any]:
    """The settings of a row."""
    return {name: _value(row, name) for name in only or row if name not in _NOT_SETTINGS}


def _value(row: Row, name: str) -> Any:
    text = row[name]
    if name == "hidden":
        return [int(size) for size in text.split()]
    if name in _WHOLE:
        return int(text)
    if name == "value_range":
        return [float(limit) for limit in text.split()]
    try:
        return float(text)
    except ValueError:
        return text
