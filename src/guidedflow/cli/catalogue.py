"""What `guidedflow tasks` tells: the tasks, what was published about each, and the commands that run it again.

This module does not know where the facts come from, nor how a run is made.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from guidedflow import recipes
from guidedflow.algorithms import ALGORITHMS
from guidedflow.data.obtain.collect import collectable
from guidedflow.recipes import Recipe, Score, Task
from guidedflow.results.counts import plural

COLUMNS = {"IQL": "iql", "ReBRAC": "rebrac", "FQL": "fql", "GFP": "gfp"}
"""The columns of the list, and the methods whose scores stand there."""


def listing(tasks: Sequence[Task]) -> str:
    """A line for each task, with published scores, and a line of their means."""
    rows = [("task", "suite", "family", "observations", *COLUMNS)]
    for task in tasks:
        found = [recipes.score(method, task.name) for method in COLUMNS.values()]
        told = ["-" if score is None else str(score) for score in found]
        rows.append((task.name, task.suite, task.family, _observations(task), *told))
    means = [_mean(tasks, method) for method in COLUMNS.values()]
    rows.append((f"mean of {len(tasks)}", "", "", "", *means))
    return "\n".join(_columns(rows, numbers=len(COLUMNS)))


def page(task: Task) -> str:
    """All that is known about one task."""
    return "\n".join((*_facts(task), *(line for name in recipes.methods() for line in _method(task, name))))


def plain(task: Task, with_recipes: bool = False) -> dict[str, Any]:
    """A task as JSON's own types: facts and scores, and with recipes the settings and the command of each algorithm."""
    told = asdict(task) | {"scores": [asdict(score) for score in recipes.scores(task.name, used=False)]}
    if with_recipes:
        told["recipes"] = [
            asdict(recipe) | {"notice": recipe.notice, "command": command(task, recipe)}
            for name in recipes.methods()
            for recipe in _recipes(task, name)
        ]
    return told


def command(task: Task, recipe: Recipe) -> str | None:
    """What to type to run a recipe by the published protocol; None if this version cannot."""
    if recipe.algorithm not in ALGORITHMS:
        return None
    ends = task.protocol.evaluations
    interval = ends[1] - ends[0] if len(ends) > 1 else recipe.plan["steps"]
    out = f"runs/{recipe.algorithm}-{recipe.name}-{task.name.replace('/', '-')}"
    words = ["guidedflow", "train", recipe.algorithm, "--task", task.name, "--recipe", recipe.name]
    if task.suite != "ogbench":  # the published runs clipped them; OGBench's loader always does
        words.append("--clip-actions")
    words += ["--seeds", str(task.protocol.seeds), "--eval-interval", str(interval)]
    return shlex.join([*words, "--eval-episodes", str(task.protocol.episodes), "--out", out])


def _recipes(task: Task, algorithm: str) -> Iterator[Recipe]:
    yield recipes.published(algorithm, task)
    if algorithm == "gfp" and recipes.score("gfp-awr", task.name):
        yield recipes.awr(algorithm, task)


def _facts(task: Task) -> Iterator[str]:
    protocol = task.protocol
    yield task.name
    yield _line("suite", f"{task.suite}, family {task.family}, observations: {_observations(task)}")
    size = (
        f", {plural(task.episodes, 'episode')} of {plural(task.length, 'step')}"
        if task.episodes and task.length
        else ""
    )
    yield _line("dataset", f"{task.dataset}{size}")
    if task.dataset in collectable():
        yield _line("get it", f"guidedflow data collect {task.dataset}")
        yield _line("or", task.download)
    else:
        yield _line("get it", task.download)
    limit = f", {plural(task.time_limit, 'step')} an episode" if task.time_limit else ""
    yield _line("environment", f"{task.simulator}{limit}")
    yield _line("score", task.rule)
    if task.reference is not None:
        told = f"0 points at {task.reference.minimum:g}, 100 at {task.reference.maximum:g}"
        yield _line("", f"{told} ({task.reference.source})")
    ends = ", ".join(f"{step:,}" for step in protocol.evaluations)
    told = f"{plural(protocol.steps, 'update')}, {plural(protocol.seeds, 'seed')}"
    yield _line("protocol", f"{told}, {plural(protocol.episodes, 'episode')} after each of {ends} updates")
    shown = {method for policies in recipes.methods().values() for method in policies.values()} | {"gfp-awr"}
    rest = [score for score in recipes.scores(task.name) if score.method not in shown | {"gfp-awr-vabc"}]
    if rest:
        yield _line("others", ", ".join(f"{score.method} {score}" for score in rest))


def _method(task: Task, algorithm: str) -> Iterator[str]:
    """Score, settings, contradictions and command of an algorithm."""
    for recipe in _recipes(task, algorithm):
        yield ""
        yield algorithm if recipe.name == "published" else f"{algorithm}, recipe {recipe.name}"
        for policy, method in recipes.methods()[algorithm].items():
            column = method.replace("gfp", "gfp-awr") if recipe.name == "awr" else method
            yield from _scores(policy, recipes.scores(task.name, column, used=False))
        yield _line("recipe", _flags(recipe))
        yield _line("source", recipe.source or "nothing is published; this is what neighbours suggest")
        for remark in recipe.remarks:
            yield _line("remark", remark)
        for found in recipe.contradictions:
            other, used = (recipes.in_words(value) for value in (found.other, found.used))
            name = found.setting.replace("_", "-")
            yield _line("contradicts", f"{name} {other} in {found.source}; {used} is used: {found.why}")
        yield _line("run", command(task, recipe) or "not in this version")


def _scores(policy: str, scores: Iterable[Score]) -> Iterator[str]:
    for score in scores:
        seeds = f"{plural(score.seeds, 'seed')}; " if score.seeds else ""
        told = f"{policy} {score} ({seeds}{score.source})" + (f"; {score.note}" if score.note else "")
        yield _line("score" if score.used else "earlier", told)


def _flags(recipe: Recipe) -> str:
    values: Mapping[str, Any] = {**recipe.plan, **recipe.settings}
    return ", ".join(f"{name.replace('_', '-')} {recipes.in_words(value)}" for name, value in values.items())


def _mean(tasks: Sequence[Task], method: str) -> str:
    found = [score.mean for task in tasks if (score := recipes.score(method, task.name))]
    if not found:
        return "-"
    return f"{sum(found) / len(found):.1f}" + ("" if len(found) == len(tasks) else f" of {len(found)}")


def _observations(task: Task) -> str:
    return "pixels" if task.pixels else "state"


def _line(label: str, text: str) -> str:
    return f"  {label:<12} {text}"


def _columns(rows: Sequence[Sequence[str]], numbers: int) -> Iterator[str]:
    """Aligned columns, the last `numbers` of them to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    texts = len(widths) - numbers
    for row in rows:
        cells = [
            cell.ljust(width) if i < texts else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
