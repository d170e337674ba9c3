"""Tables of a report: published and best known scores beside runs, and what is averaged over which tasks."""

from collections.abc import Sequence

import pytest
from made_runs import outcomes

from guidedflow.results import report
from guidedflow.results.records import RunRecord
from guidedflow.results.report import Report
from guidedflow.results.sections import Best, Known, Published
from guidedflow.results.tables import MISSING, Sheet

TASKS = ("cube-1", "cube-2", "cube-3")
KNOWN = Known(
    {task: [Published("GFP", 90.0, 1.5, 8, "the paper")] for task in TASKS},
    dict.fromkeys(TASKS, "cubes"),
    [Best("cube", frozenset(TASKS), (95.0, "a; b"), (99.0, "c; d"), {"GFP": 90.0})],
)


def run(
    algorithm: str, task: str, rate: float = 0.5, seeds: Sequence[int] = (0, 1, 2), alpha: float = 1.0
) -> RunRecord:
    rows = outcomes(task, seeds, rate, 10, policy="actor", source="evaluate", step=5)
    settings = {"alpha": alpha}
    return RunRecord(f"{algorithm}/{task}/{alpha}", task, algorithm, settings, task, tuple(seeds), rows)


def sheet(made: Report, title: str) -> Sheet:
    return next(sheet for sheet in made.sheets if sheet.title == title)


def row(found: Sheet, first: str) -> list[str]:
    return next([str(cell) for cell in cells] for cells in found.rows if cells[0].text == first)


def test_an_environment_is_averaged_only_where_a_method_has_all_of_its_tasks() -> None:
    made = report.make([*(run("gfp", task) for task in TASKS), *(run("fql", task) for task in TASKS[:2])], KNOWN)
    best = sheet(made, "Beside the best known")
    assert list(best.headers)[1:] == [
        "gfp actor", "GFP, published", "best known, standard setting", "best known, any setting",
    ]  # fmt: skip
    _, ours, *known = row(best, "cube")
    assert known == ["90.0", "95.0 a; b", "99.0 c; d"]
    assert "3 × 10 a task" in ours
    suite = sheet(made, "Tasks of cubes")
    assert row(suite, "cube-3")[2] == MISSING
    assert row(suite, "cube-3")[3] == "90.0 ± 1.5 8 seeds"


def test_a_method_tuned_on_each_task_has_one_column_with_a_star() -> None:
    made = report.make([run("gfp", task, alpha=float(i)) for i, task in enumerate(TASKS)], KNOWN)
    suite = sheet(made, "Tasks of cubes")
    assert suite.headers[1] == "gfp actor*"
    assert "other training settings on each task" in suite.note
    assert row(sheet(made, "cube-1"), "gfp actor")[5] == "1"
    (settings,) = next(section for section in made.background if section.title == "Settings that differ").sheets
    assert [str(cells[1]) for cells in settings.rows] == ["0", "1", "2"]


def test_methods_are_averaged_over_the_tasks_that_all_of_them_have() -> None:
    runs = [*(run("gfp", task, 0.9) for task in TASKS), *(run("fql", task, 0.3) for task in TASKS[1:])]
    made = report.make(runs)
    aggregates = sheet(made, "Aggregates")
    assert [row(aggregates, name)[4] for name in ("gfp actor", "fql actor")] == ["2", "2"]
    improvement = sheet(made, "Probability of improvement")
    assert float(row(improvement, "gfp actor")[2].split()[0]) == pytest.approx(1.0)
    alone = report.make([run("gfp", "cube-1"), run("gfp", "cube-2"), run("fql", "cube-3"), run("fql", "cube-4")])
    over = next(section for section in alone.scores if section.title == "Over tasks")
    assert "not comparable" in over.sentences[0]
    assert over.pictures == []


def test_fewer_than_three_seeds_are_printed_one_by_one_without_an_interval() -> None:
    made = report.make([run("gfp", "cube-1", seeds=[0, 1]), run("fql", "cube-1")])
    name, mean, interval, seeds, *_, each, _ = row(sheet(made, "cube-1"), "gfp actor")
    assert (name, interval, seeds, len(each.split())) == ("gfp actor", MISSING, "2", 2)
    assert mean.endswith("†")
    assert "too few seeds" in made.scores[0].sentences[0]


def test_the_best_of_several_settings_is_said_to_be_too_high() -> None:
    one = report.make([run("gfp", "cube-1")])
    two = report.make([run("gfp", "cube-1"), run("gfp", "cube-1", alpha=3.0)])
    assert "too high" not in sheet(one, "cube-1").note
    assert "too high" in sheet(two, "cube-1").note
    assert {str(cells[5]) for cells in sheet(two, "cube-1").rows} == {"2"}
