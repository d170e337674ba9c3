"""Which runs are one method, what a cell counts, and what is left out."""

from collections.abc import Sequence
from typing import Any

import pytest
from made_runs import outcomes

from guidedflow.errors import InputError
from guidedflow.results.comparison import Comparison, check_reported, columns, compare, fewer
from guidedflow.results.methods import frozen, grid, labels, varying
from guidedflow.results.records import RunRecord, Tuning
from guidedflow.results.rows import Episode


def record(
    path: str = "a",
    algorithm: str = "gfp",
    task: str = "line",
    seeds: Sequence[int] = (0, 1, 2),
    rows: Sequence[Episode] | None = None,
    fingerprint: str = "f",
    tuning: Tuning | None = None,
    episodes: int = 10,
    **settings: Any,
) -> RunRecord:
    found = reported(task, seeds, episodes) if rows is None else rows
    return RunRecord(path, task, algorithm, settings, fingerprint, tuple(seeds), found, tuning=tuning)


def reported(task: str, seeds: Sequence[int], episodes: int = 10, rate: float = 0.5, **columns: Any) -> list[Episode]:
    return outcomes(task, seeds, rate, episodes, **{"policy": "actor", "source": "evaluate", "step": 5} | columns)


def seeds_of(comparison: Comparison) -> list[list[int]]:
    return [sorted(entry.cell.by_seed) for entry in comparison.entries]


def test_runs_that_differ_in_seeds_alone_are_one_method_whatever_they_are_called() -> None:
    found = compare([record("x", seeds=[0, 1], alpha=1.0), record("fql-best", seeds=[2], alpha=1.0)])
    assert seeds_of(found) == [[0, 1, 2]]
    assert found.entries[0].runs == ("x", "fql-best")
    assert found.left_out == ()


def test_settings_policy_acting_and_checkpoint_tell_methods_apart() -> None:
    weighted = [row for w in (0.1, 1.0) for row in reported("line", [0], guidance="denoised", weight=w)]
    flow = reported("line", [0], policy="flow")
    later = reported("line", [0], step=9)
    runs = [
        record(seeds=[0], alpha=1.0),
        record("b", seeds=[0], alpha=2.0),
        record("c", seeds=[0], rows=[*weighted, *flow], alpha=1.0),
        record("d", seeds=[0], rows=later, alpha=1.0),
    ]
    names = labels(entry.method for entry in compare(runs).entries)
    assert sorted(names.values()) == [
        "gfp actor, alpha 1, updates 5, one step",
        "gfp actor, alpha 1, updates 5, one step, denoised guidance 0.1",
        "gfp actor, alpha 1, updates 5, one step, denoised guidance 1",
        "gfp actor, alpha 1, updates 9, one step",
        "gfp actor, alpha 2, updates 5, one step",
        "gfp flow",
    ]


def test_only_reported_episodes_of_the_newest_checkpoint_count() -> None:
    rows = [
        *reported("line", [0], rate=0.0, step=5),
        *reported("line", [0], rate=1.0, step=7),
        *reported("line", [0], rate=0.0, step=9, source="training"),
        *reported("line", [0], rate=0.0, step=9, source="selection"),
    ]
    (entry,) = compare([record(seeds=[0], rows=rows)]).entries
    assert (entry.cell.mean, entry.cell.episodes) == (1.0, 10)


def test_an_episode_that_was_rolled_out_twice_counts_once() -> None:
    (entry,) = compare([record(rows=[*reported("line", [0]), *reported("line", [0], episodes=15)], seeds=[0])]).entries
    assert entry.cell.episodes == 15


def test_a_seed_that_two_runs_have_counts_once_and_the_report_says_so() -> None:
    found = compare([record("a"), record("b", seeds=[2, 3])])
    assert seeds_of(found) == [[0, 1, 2, 3]]
    assert found.left_out == ("b: seed 2 of gfp actor on line is left out, because a has the same seed and settings.",)


def test_seeds_are_compared_on_the_episodes_that_all_of_them_have() -> None:
    found = compare([record("a", seeds=[0]), record("b", seeds=[1], episodes=14)])
    assert found.entries[0].cell.episodes == 10
    assert "4 episodes left out that only some of the seeds have" in found.left_out[0]


def test_tasks_are_never_mixed_even_under_one_name() -> None:
    mine = reported("line", [0], environment="mine.make")
    other = reported("square", [0])
    found = compare([record(seeds=[0], rows=[*reported("line", [0]), *mine, *other])])
    assert found.tasks == ["line", "line in mine.make", "square"]
    assert ("trained-on", "line") in found.of("square")[0].method.settings


def test_two_datasets_of_one_task_are_two_methods() -> None:
    found = compare([record("a", seeds=[0]), record("b", seeds=[1], fingerprint="0123456789abcdef")])
    assert seeds_of(found) == [[0], [1]]
    assert sorted(labels(entry.method for entry in found.entries).values()) == [
        "gfp actor, dataset 0123456789ab",
        "gfp actor, dataset f",
    ]


def test_the_number_of_settings_tried_counts_runs_without_reported_episodes_and_what_tuning_recorded() -> None:
    tuned = [record(f"t{i}", seeds=[9], alpha=float(i), rows=reported("line", [9], source="selection")) for i in (1, 2)]
    runs = [record(alpha=1.0), *tuned, record("other", "fql", seeds=[0, 1, 2], alpha=7.0)]
    assert {e.method.algorithm: e.tried for e in compare(runs).entries} == {"gfp": 2, "fql": 1}
    (entry,) = compare([record(tuning=Tuning(12, 240_000, 960))]).entries
    assert (entry.tried, entry.tuning) == (12, Tuning(12, 240_000, 960))


def test_a_critic_of_another_run_is_known_by_what_it_is() -> None:
    runs = [
        record(f"critics/{seed}", "iql", seeds=[seed], expectile=0.9) for seed in (0, 1)
    ] + [
        record(f"bc{s}", "bc", seeds=[s], rows=reported("line", [s], critic_run=f"critics/{s}")) for s in (0, 1)
    ]  # fmt: skip
    assert seeds_of(compare(runs)) == [[0, 1], [0, 1]]


def test_a_cell_with_less_evidence_than_its_neighbours_is_marked() -> None:
    found = compare([record("a"), record("b", "fql", seeds=[0, 1], episodes=5)])
    marks = {entry.method.algorithm: fewer(entry, found.entries) for entry in found.entries}
    assert marks == {"gfp": "", "fql": "2 seeds where another has 3, 5 episodes a seed where another has 10"}


def test_columns_join_what_never_meets_on_a_task_and_part_what_does() -> None:
    alone = compare([record("a", alpha=1.0), record("b", task="square", alpha=2.0)])
    (column,) = columns(alone.entries)
    assert column.varies
    assert list(column.by_task) == ["line", "square"]
    met = compare([record("a", alpha=1.0), record("b", task="square", alpha=2.0), record("c", alpha=2.0)])
    assert sorted(len(column.by_task) for column in columns(met.entries)) == [1, 2]


def test_runs_without_reported_episodes_are_named_and_alone_are_refused() -> None:
    found = compare(
        [record("a", rows=[]), record("b", rows=[]), record("t", rows=reported("line", [0], source="selection"))]
    )
    assert found.left_out == (
        "t: episodes of tuning alone, which no table of scores counts.",
        "a and 1 other run: no reported episodes; run guidedflow evaluate a.",
    )
    with pytest.raises(InputError, match="None of these runs has reported episodes"):
        check_reported(found)


def test_a_task_is_compared_by_success_or_by_score_or_by_return() -> None:
    def lacking(rows: Sequence[Episode], **columns: Any) -> list[Episode]:
        return [{**row, **columns} for row in rows]  # type: ignore[typeddict-item]

    rows = reported("line", [0])
    for given, measure in (
        (rows, "success"),
        (lacking(rows, success=None, score=30.0), "score"),
        (lacking(rows, success=None), "return"),
    ):
        (entry,) = compare([record(seeds=[0], rows=given)]).entries
        assert entry.measure == measure
    assert compare([record(seeds=[0], rows=lacking(rows, success=None, score=30.0))]).entries[0].by_seed == [0.3]


def test_settings_that_vary_and_grids_of_numbers() -> None:
    settings = [frozen({"a": 1.0, "b": 2, "hidden": [64, 64]}), frozen({"a": 1.0, "b": 3, "hidden": [64, 64], "c": 0})]
    assert varying(settings) == ["b", "c"]
    two = compare([record(str(i), alpha=float(i), temperature=float(j)) for i in (1, 2) for j in (1, 2)])
    assert grid([entry.method for entry in two.entries]) == ("alpha", "temperature")
    assert grid([entry.method for entry in two.entries][:2]) is None
