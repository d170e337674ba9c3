"""Rows of episodes: typed columns, one writer, one reader, one summary, one measure."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from tiny_data import line

from guidedflow import CFGRL, DenoisedGradient, GradientAscent, JacobianGradient, Sampler, files
from guidedflow.results import rows
from guidedflow.results.rows import COLUMNS, Episode, episode


def row(seed: int = 0, number: int = 0, **columns: Any) -> Episode:
    base = {"task": "line", "policy": "actor", "step": 10, "seed": seed, "episode": number, "episode_seed": 7 + number}
    return episode(**{**base, "return": -1.0, "length": 3, "success": 1.0, "source": "evaluate", **columns})


def test_a_row_has_every_column_in_its_own_type_and_null_where_none_applies(tmp_path: Path) -> None:
    rows.append(tmp_path / "rows.jsonl", [row(weight=1, success=True, replan=np.int64(2))])
    (stored,) = files.read_rows(tmp_path / "rows.jsonl")
    assert list(stored) == list(COLUMNS)
    assert (stored["weight"], stored["success"], stored["replan"]) == (1.0, 1.0, 2)
    assert [type(stored[name]) for name in ("weight", "success", "replan")] == [float, float, int]
    assert stored["critic_run"] is stored["score"] is stored["task_id"] is None
    assert rows.read(tmp_path / "rows.jsonl") == [stored]


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"sampler": "x"}, "no column sampler"),
        ({"step": "10"}, "its step must be int or NoneType, but is '10'"),
        ({"step": 1.5}, "its step must be int"),
        ({"seed": None}, "its seed must be int, but is None"),
        ({"normalize": 1}, "its normalize must be bool"),
        ({"length": True}, "its length must be int"),
    ],
)
def test_a_value_of_another_type_is_refused(columns: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TypeError, match=sentence):
        row(**columns)


def test_a_broken_row_is_left_out_with_a_warning_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    files.append_rows(path, [{**row(0), "seed": "zero"}, row(1)])
    with pytest.warns(UserWarning, match=r"rows.jsonl: row 1 is left out: its seed must be int, but is 'zero'"):
        assert rows.read(path) == [row(1)]


OLD = {"task": "line", "step": 10, "policy": "flow", "seed": 0, "episode": 0, "episode_seed": 5, "return": 1.0}
OLD |= {"length": 3, "success": None}
SAMPLER = "Sampler(steps=10, guidance={}, refinement={}, candidates={})"


@pytest.mark.parametrize(
    ("sampler", "source", "columns"),
    [
        (SAMPLER.format("Unguided()", None, 1), "training", {"guidance": "none", "flow_steps": 10, "candidates": 1}),
        (
            SAMPLER.format("DenoisedGradient(weight=0.1, normalize=True)", None, 4) + ", replan=2",
            "evaluate in my_arm.make",
            {"guidance": "denoised", "weight": 0.1, "normalize": True, "candidates": 4, "replan": 2}
            | {"source": "evaluate", "environment": "my_arm.make"},
        ),
        (
            SAMPLER.format(
                "RolloutGradient(weight=1.0, normalize=False, steps=10)",
                "GradientAscent(size=0.01, steps=3, sign=True)",
                1,
            )
            + ", critic from runs/a, b",
            "selection",
            {"guidance": "rollout", "weight": 1.0, "normalize": False, "critic_run": "runs/a, b"}
            | {"refine_size": 0.01, "refine_steps": 3, "refine_sign": True},
        ),
        (
            SAMPLER.format("Unguided()", None, 1) + ", condition 3",
            "evaluate",
            {"guidance": "conditional", "weight": 3.0, "condition": 3.0},
        ),
        (SAMPLER.format("doubled", None, 1), "evaluate", {"guidance": "doubled", "weight": None}),
    ],
)
def test_rows_of_version_0_1_are_read(tmp_path: Path, sampler: str, source: str, columns: dict[str, Any]) -> None:
    path = tmp_path / "evaluations.jsonl"
    path.write_text(json.dumps({**OLD, "sampler": sampler, "source": source}) + "\n")
    (found,) = rows.read(path)
    expected = episode(**{**OLD, "source": source.split(" in ")[0], "flow_steps": 10, "candidates": 1, **columns})
    assert found == expected


def test_a_text_that_no_version_wrote_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({**OLD, "sampler": "ten steps", "source": "training"}) + "\n")
    with pytest.warns(UserWarning, match="its sampler is 'ten steps', which no version wrote"):
        assert rows.read(tmp_path / "rows.jsonl") == []


def test_the_measure_is_one_for_a_whole_set_of_rows() -> None:
    """A run with success followed by one without does not put success and return on one axis."""
    assert rows.measure([row(), row(1)]) == "success"
    assert rows.measure([row(), row(1, success=None)]) == "return"
    assert rows.measure([row(success=None, score=50.0), row(1, score=10.0)]) == "score"
    assert rows.measure([row(success=None, score=50.0), row(1, success=None)]) == "return"


def test_a_summary_has_every_seed_and_a_population_deviation() -> None:
    found = [row(4, i, success=float(i < 3), **{"return": -float(i)}) for i in range(4)]
    found += [row(2, i, success=0.0, **{"return": -2.0}) for i in range(4)]
    told = rows.summarise(found)
    assert (told["seeds"], told["episodes"]) == ([4, 2], 4)
    assert (told["success"], told["success_mean"], told["success_std"]) == ([0.75, 0.0], 0.375, 0.375)
    assert (told["return"], told["return_mean"], told["return_std"]) == ([-1.5, -2.0], -1.75, 0.25)
    assert "task_ids" not in told
    assert "score" not in told


def test_a_summary_of_several_tasks_has_each() -> None:
    told = rows.summarise([row(0, 0, task_id=1), row(0, 0, task_id=3, success=0.0)])
    assert (told["task_ids"], told["success_by_task"]) == ([1, 3], [1.0, 0.0])


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (Sampler().columns(), "10 steps"),
        (Sampler().columns() | {"flow_steps": None, "guidance": None}, "one step"),
        (Sampler(guidance=DenoisedGradient(0.1)).columns(), "10 steps, denoised guidance 0.1"),
        (
            Sampler(5, JacobianGradient(1.0, normalize=True), GradientAscent(0.02, 2, sign=True), 4).columns(),
            "5 steps, jacobian guidance 1, normalised, 2 sign steps of 0.02, best of 4",
        ),
        ({"flow_steps": 2, "condition": 3.0, "guidance": "conditional", "replan": 1}, "2 steps, condition 3"),
    ],
)
def test_how_a_policy_acted_is_said_in_words(columns: dict[str, Any], words: str) -> None:
    assert rows.in_words(columns).startswith(words)


def test_what_training_wrote_is_dropped_and_what_was_asked_for_stays(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows.append(path, [row(step=step, source=source) for step in (10, 20) for source in ("training", "evaluate")])
    rows.rewind(path, 10)
    left = [(found["step"], found["source"]) for found in rows.read(path)]
    assert left == [(10, "training"), (10, "evaluate"), (20, "evaluate")]


def test_the_weight_of_a_condition_stands_in_its_own_column() -> None:
    algorithm = CFGRL(hidden=(4,), flow_steps=2, weight=7.0)
    state = algorithm.init(line().cut(0.9).example(), jax.random.key(0))
    policy = algorithm.policies(state)["conditional"]
    told = policy.columns()
    assert (told["guidance"], told["weight"], told["condition"]) == ("conditional", 7.0, 7.0)
    told = policy.with_sampler(Sampler(2, DenoisedGradient(0.5))).columns()
    assert (told["guidance"], told["weight"], told["condition"]) == ("denoised", 0.5, 7.0)
