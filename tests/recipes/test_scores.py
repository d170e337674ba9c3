"""Published scores: one a task and method, with a source, and with the averages that the paper prints."""

from collections import Counter

import pytest

from guidedflow import recipes

COUNTS = {"ogbench": 105, "d4rl": 18, "minari": 21}


@pytest.mark.parametrize(
    ("method", "suite", "printed"),
    [
        ("iql", "ogbench", 20.4), ("rebrac", "ogbench", 43.9), ("fql", "ogbench", 46.7), ("gfp", "ogbench", 53.2),
        ("iql", "d4rl", 54.0), ("rebrac", "d4rl", 64.8), ("gfp", "d4rl", 63.0), ("gfp-vabc", "d4rl", 56.5),
        ("fql", "minari", 65.9), ("gfp", "minari", 74.1), ("gfp-vabc", "minari", 71.6),
    ],
)  # fmt: skip
def test_averages_over_a_suite_are_those_of_table_2(method: str, suite: str, printed: float) -> None:
    found = recipes.average(method, suite)
    assert found is not None
    assert found == (pytest.approx(printed, abs=0.1), COUNTS[suite])


def test_the_average_that_the_paper_rounds_otherwise() -> None:
    """FQL on D4RL is quoted in whole numbers, whose mean is 62.2; Table 2 prints 62.1."""
    assert recipes.average("fql", "d4rl") == (pytest.approx(62.22, abs=0.005), 18)


def test_the_flow_of_gfp_has_no_score_from_pixels() -> None:
    assert recipes.average("gfp-vabc", "ogbench") == (pytest.approx(33.1, abs=0.05), 100)


def test_the_50_tasks_of_fql_have_the_averages_of_table_10() -> None:
    """Recomputed from the rows of Table 10; the table itself prints values that differ by up to 0.6."""
    assert recipes.average("ifql", "ogbench") == (pytest.approx(30.3, abs=0.05), 50)
    assert recipes.average("gaussian-bc", "ogbench") == (pytest.approx(2.8, abs=0.05), 50)


def test_the_ablation_has_65_tasks() -> None:
    assert recipes.average("gfp-awr") == (pytest.approx(35.8, abs=0.05), 65)
    subset = [recipes.score("gfp", score.task) for score in recipes.scores(method="gfp-awr")]
    assert sum(score.mean for score in subset if score) / len(subset) == pytest.approx(38.6, abs=0.05)


def test_every_task_has_a_score_of_gfp_and_no_method_two_in_use() -> None:
    assert {score.task for score in recipes.scores(method="gfp")} == {task.name for task in recipes.tasks()}
    twice = Counter((score.task, score.method) for score in recipes.scores())
    assert max(twice.values()) == 1
    for score in recipes.scores(used=False):
        assert recipes.find(score.task) is not None
        assert score.source
        assert score.std is None or score.std >= 0


def test_a_replaced_score_stays_to_be_seen() -> None:
    """ReBRAC on antsoccer was run again with the mean of its critics."""
    name = "antsoccer-arena-navigate-singletask-task2-v0"
    used, earlier = recipes.scores(name, "rebrac", used=False)
    assert (str(used), str(earlier)) == ("78.5 ± 2.8", "0.0 ± 1.0")
    assert recipes.scores(name, "rebrac") == [used]


def test_policies_name_the_columns_that_their_scores_stand_in() -> None:
    assert recipes.methods()["gfp"] == {"actor": "gfp", "flow": "gfp-vabc"}
    known = {score.method for score in recipes.scores()}
    assert {column for policies in recipes.methods().values() for column in policies.values()} <= known


def test_the_best_known_scores_have_a_source_and_an_environment_of_five_tasks() -> None:
    environments = dict.fromkeys(task.environment for task in recipes.tasks("ogbench") if not task.pixels)
    found = {name: recipes.best_known(name) for name in environments}
    assert len(found) == 20
    for name, (standard, anyhow) in found.items():
        assert (standard.setting, anyhow.setting) == ("standard", "any")
        assert standard.mean <= anyhow.mean <= 100
        assert "2026" in anyhow.source or "arXiv" in anyhow.source
        scores = [
            score.mean
            for task in recipes.tasks()
            if task.environment == name
            for score in recipes.scores(task.name, "gfp")
        ]
        assert len(scores) == 5
        assert sum(scores) / 5 <= standard.mean + 0.05  # the best is at least GFP
    assert recipes.best_known("hopper-medium-v2") == []
