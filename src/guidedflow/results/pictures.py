"""Pictures of a task: learning curves, success against guidance weight, grids of settings, tuning budgets.

Grids and budgets are drawn from reported episodes where several settings have them, else from those of tuning.
"""

from collections.abc import Mapping, Sequence
from functools import partial

from guidedflow.results import plots
from guidedflow.results.comparison import grouped
from guidedflow.results.methods import Method, Settings, grid, labels, shown
from guidedflow.results.records import RunRecord
from guidedflow.results.rows import Episode, in_words, measure
from guidedflow.results.sections import Picture

MOST_LINES = 14
"""Lines of one picture; beyond it, the methods whose last evaluation is best."""

EPISODES = {"evaluate": "reported episodes", "selection": "tuning episodes"}
"""Sources of rows about settings, the preferred one first, and what their episodes are called."""

OF_A_WEIGHT = ("weight", "condition")


Drawn = Mapping[str, Mapping[Method, Sequence[Episode]]]
"""Source -> method -> rows of one task, of all seeds."""


def by_task(records: Sequence[RunRecord]) -> dict[str, Drawn]:
    """The rows of each task: of training at every step, of other sources at the newest checkpoint."""
    found: dict[str, dict[str, dict[Method, Sequence[Episode]]]] = {}
    for source in ("training", *EPISODES):
        for (task, method), seeds in grouped(records, source, [], every_step=source == "training").items():
            rows = [row for _, each in seeds.values() for row in each]
            found.setdefault(task, {"training": {}, **{name: {} for name in EPISODES}})[source][method] = rows
    return dict(found)


def of_task(drawn: Drawn, task: str) -> list[Picture]:
    """Every picture that the rows of this task allow."""
    found = [curves(drawn, task), *weights(drawn, task), *heat_maps(drawn, task), budget(drawn, task)]
    return [picture for picture in found if picture is not None]


def curves(drawn: Drawn, task: str, smoothing: int = 1, title: str | None = None) -> Picture | None:
    """Learning curves by method; None where no run of the task was evaluated while it trained."""
    groups = drawn["training"]
    if not groups:
        return None
    names = labels(groups)
    kept = sorted(groups, key=lambda method: -_last(groups[method]))[:MOST_LINES]
    draw = partial(plots.learning_curves, {names[m]: groups[m] for m in groups if m in kept}, title or task, smoothing)
    left = f" The {MOST_LINES} best of {len(groups)} methods." if len(groups) > MOST_LINES else ""
    told = "not smoothed" if smoothing == 1 else f"each point is the mean of {smoothing} consecutive evaluations"
    caption = (
        f"Learning curves: mean over seeds of the evaluations during training, {told}, whose episodes are never "
        f"reported. Bands: 95 % intervals; below 3 seeds each seed is a thin line.{left}"
    )
    return Picture(draw, caption)


def weights(drawn: Drawn, task: str) -> list[Picture]:
    """Success against the weight of guidance, where a policy acted with at least two."""
    for source, called in EPISODES.items():
        lines: dict[Method, list[Episode]] = {}
        for method, rows in drawn[source].items():
            if dict(method.acting)["weight"] is not None:
                acting = tuple((name, None if name in OF_A_WEIGHT else value) for name, value in method.acting)
                lines.setdefault(Method(method.algorithm, method.policy, method.settings, acting), []).extend(rows)
        lines = {method: rows for method, rows in lines.items() if len({row["weight"] for row in rows}) > 1}
        if lines:
            names = labels(lines)
            told = {f"{names[m]}, {dict(m.acting)['guidance']}": rows for m, rows in list(lines.items())[:MOST_LINES]}
            caption = f"Success against the weight of guidance, on {called}. Bands: 95 % intervals."
            return [Picture(partial(plots.weight_curves, told, task), caption)]
    return []


def methods(drawn: Drawn, task: str) -> Picture | None:
    """Methods side by side on reported episodes; None where there are none."""
    found = drawn["evaluate"]
    if not found:
        return None
    names = labels(found)
    caption = "Mean (bar), 95 % interval over seeds and episodes (band), each seed (dot), on reported episodes."
    return Picture(partial(plots.methods, {names[method]: rows for method, rows in found.items()}, task), caption)


def heat_maps(drawn: Drawn, task: str) -> list[Picture]:
    """A picture for each policy whose runs differ in exactly two numbers, each with two values or more."""
    found: dict[tuple[str, str, Settings], Picture] = {}
    for source, families in _tuned(drawn):
        for family, methods in families.items():
            names = grid(list(methods))
            if names is None or family in found:
                continue
            cells = {
                (float(dict(m.settings)[names[0]]), float(dict(m.settings)[names[1]])): r for m, r in methods.items()
            }
            method = next(iter(methods))
            title = f"{method.algorithm} {method.policy}: {measure(row for r in cells.values() for row in r)}, {task}"
            caption = (
                f"{method.algorithm} {method.policy} ({in_words(dict(method.acting))}) over {shown(names[0])} and "
                f"{shown(names[1])}: mean, seeds × episodes, and updates where they differ, on {EPISODES[source]}."
            )
            found[family] = Picture(partial(plots.heat_map, cells, (shown(names[0]), shown(names[1])), title), caption)
    return list(found.values())


def budget(drawn: Drawn, task: str) -> Picture | None:
    """Tuning-budget curves of the policies that have several settings; None where there are none."""
    tuned = _tuned(drawn)
    if not tuned:
        return None
    source, families = max(tuned, key=lambda found: len(found[1]))
    methods: dict[str, Mapping[str, Sequence[Episode]]] = {}
    for (algorithm, policy, acting), members in families.items():
        several = len({family[2] for family in families if family[:2] == (algorithm, policy)}) > 1
        name = f"{algorithm} {policy}" + (f", {in_words(dict(acting))}" if several else "")
        methods[name] = {
            f"{index} {seed}": [row for row in rows if row["seed"] == seed]
            for index, rows in enumerate(members.values())
            for seed in {row["seed"] for row in rows}
        }
    caption = (
        f"Tuning budget: what the best policy so far reaches after so many {EPISODES[source]} were spent on "
        "choosing among trained policies (settings × seeds). Bands are over draws from these policies alone."
    )
    return Picture(partial(plots.tuning_budget, methods, task), caption)


Families = dict[tuple[str, str, Settings], dict[Method, Sequence[Episode]]]
"""Algorithm, policy and way of acting -> methods that differ in training settings -> rows."""


def _tuned(drawn: Drawn) -> list[tuple[str, Families]]:
    """Each source with policies of several training settings: by family, the rows of each method."""
    found = []
    for source in EPISODES:
        families: Families = {}
        for method, rows in drawn[source].items():
            families.setdefault(method.family, {})[method] = rows
        families = {family: methods for family, methods in families.items() if len(methods) > 1}
        if families:
            found.append((source, families))
    return found


def _last(rows: Sequence[Episode]) -> float:
    """The mean of the newest evaluation."""
    newest, name = max(row["step"] or 0 for row in rows), measure(rows)
    found = [float(row[name]) for row in rows if (row["step"] or 0) == newest]  # type: ignore[arg-type]
    return sum(found) / len(found)
