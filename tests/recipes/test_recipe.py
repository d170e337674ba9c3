"""Recipes say what was published, what contradicts it, and what they take where nothing was."""

import dataclasses
import json

import pytest

from guidedflow import recipes
from guidedflow.algorithms import ALGORITHMS, GFP
from guidedflow.errors import InputError
from guidedflow.recipes import Recipe
from guidedflow.settings import from_plain, to_plain
from guidedflow.training.plan import Plan

KNOWN = [name for name in recipes.methods() if name in ALGORITHMS]


def all_recipes(algorithm: str) -> list[Recipe]:
    found = [recipes.named(name, algorithm, task) for task in recipes.tasks() for name in ("published", "quick")]
    if algorithm == "gfp":
        found += [recipes.awr("gfp", score.task) for score in recipes.scores(method="gfp-awr")]
    return found


@pytest.mark.parametrize("algorithm", KNOWN)
def test_every_recipe_of_an_algorithm_constructs_it_and_a_plan(algorithm: str) -> None:
    distinct = {
        json.dumps([dict(each.settings), dict(each.plan)], default=str): each for each in all_recipes(algorithm)
    }
    for recipe in distinct.values():
        made = to_plain(from_plain(ALGORITHMS[algorithm], recipe.settings))
        assert {name: made[name] for name in recipe.settings} == dict(recipe.settings)
        Plan(**recipe.plan)


@pytest.mark.parametrize("algorithm", ["bc", "fql", "gfp"])
def test_flows_are_published_for_all_tasks_with_every_setting(algorithm: str) -> None:
    later = {
        "ensemble",
        "effective_share",
        "distance",
        "low_momentum",
        "squared_error",
        "penalty",
    }  # settings of this library, at their defaults
    names = {field.name for field in dataclasses.fields(ALGORITHMS[algorithm])} - later
    for task in recipes.tasks():
        recipe = recipes.published(algorithm, task)
        assert recipe.source is not None
        assert recipe.notice is None
        assert set(recipe.settings) == names


def test_gfp_on_cube_double_noisy_is_the_row_of_the_release() -> None:
    recipe = recipes.published("gfp", "cube-double-noisy-singletask-task2-v0")
    assert from_plain(GFP, recipe.settings) == from_plain(
        GFP, {"alpha": 0.1, "temperature": 1e-4, "aggregate": "mean", "target": "published_mean", "reference": "actor"}
    )
    assert recipe.plan == {"steps": 1_000_000, "batch_size": 256, "discount": 0.99}
    assert recipe.source == "Simple-Robotics/guided-flow-policy 49f6b17, hyperparams"


def test_the_published_form_of_the_averaged_target_is_used_where_the_release_averages() -> None:
    """Cubes and humanoidmaze-medium, pixels included (Table 6 and the released table)."""
    averaged = {t.environment for t in recipes.tasks() if is_averaged(recipes.published("gfp", t))}
    cubes = {task.environment for task in recipes.tasks("ogbench", "cube")}
    assert averaged == cubes | {"humanoidmaze-medium-navigate", "humanoidmaze-medium-stitch"}


def is_averaged(recipe: Recipe) -> bool:
    target = recipe.settings["target"]
    told = [found.other for found in recipe.contradictions if found.setting == "target"]
    assert (target, told) in [("published_mean", ["mean"]), ("actor", [])]
    return target == "published_mean"


@pytest.mark.parametrize(
    ("algorithm", "environment", "setting", "used", "other"),
    [
        ("gfp", "antmaze-large-stitch", "alpha", 0.3, 0.03),
        ("gfp", "antsoccer-arena-navigate", "discount", 0.995, 0.99),
        ("gfp", "antmaze-large-navigate", "reference", "min", "actor"),
        ("fql", "antmaze-giant-navigate", "batch_size", 1024, 256),
        ("fql", "antmaze-large-navigate", "discount", 0.995, 0.99),
        ("fql", "humanoidmaze-large-navigate", "flow_steps", 30, 10),
        ("rebrac", "cube-double-play", "alpha_actor", 0.3, 0.1),
        ("rebrac", "cube-double-play", "alpha_critic", 0.1, 0.3),
        ("rebrac", "scene-noisy", "alpha_actor", 0.03, 0.003),
        ("rebrac", "humanoidmaze-medium-navigate", "aggregate", "mean", "min"),
        ("iql", "antmaze-large-stitch", "discount", 0.99, 0.995),
    ],
)
def test_a_contradiction_has_both_values_and_a_reason(
    algorithm: str, environment: str, setting: str, used: object, other: object
) -> None:
    recipe = recipes.published(algorithm, f"{environment}-singletask-task1-v0")
    assert {**recipe.settings, **recipe.plan}[setting] == used
    found = [(each.used, each.other) for each in recipe.contradictions if each.setting == setting]
    assert (used, other) in found
    assert all(each.source and each.why for each in recipe.contradictions)


def test_no_contradiction_agrees_with_itself() -> None:
    for algorithm in recipes.methods():
        for task in recipes.tasks():
            for found in recipes.published(algorithm, task).contradictions:
                assert found.used != found.other, (algorithm, task.name, found)


def test_what_is_not_published_says_what_it_takes() -> None:
    recipe = recipes.published("iql", "cube-double-play-singletask-task2-v0")
    assert recipe.source is None
    assert recipe.notice is not None
    assert recipe.notice.startswith("no setting of iql is published for cube-double-play-singletask-task2-v0; ")
    assert "alpha 1, expectile 0.9" in recipe.notice
    assert "\n" not in recipe.notice
    giant = recipes.published("iql", "antmaze-giant-navigate-singletask-task1-v0")
    assert (giant.settings["alpha"], giant.plan["discount"]) == (10.0, 0.995)


def test_quick_is_the_published_row_at_a_laptops_size() -> None:
    task = "cube-double-noisy-singletask-task1-v0"
    full, small = recipes.published("gfp", task), recipes.quick("gfp", task)
    assert small.settings == {**full.settings, "hidden": [256, 256, 256], "learning_rate": 3e-4}
    assert small.plan == {**full.plan, "steps": 20_000}
    assert small.source == full.source


def test_quick_takes_another_alpha_where_that_is_known_to_be_needed_and_says_so() -> None:
    recipe = recipes.quick("gfp", "cube-single-noisy-singletask-task1-v0")
    assert recipe.settings["alpha"] == 1.0
    assert recipes.published("gfp", recipe.task).settings["alpha"] == 10.0
    assert any(remark.startswith("alpha 1: the published 10") for remark in recipe.remarks)


def test_the_ablation_is_gfp_with_another_weight_and_its_own_row() -> None:
    recipe = recipes.awr("gfp", "cube-triple-play-singletask-task1-v0")
    assert (recipe.name, recipe.algorithm, recipe.settings["weight"]) == ("awr", "gfp", "advantage")
    assert (recipe.settings["alpha"], recipe.settings["temperature"]) == (1.0, 3.0)


def test_what_the_published_runs_also_had_is_told() -> None:
    """ReBRAC's antmaze rewards were scaled, which no setting of the algorithm says."""
    (remark,) = recipes.published("rebrac", "antmaze-large-play-v2").remarks
    assert "rewards times 100" in remark


@pytest.mark.parametrize(
    ("name", "algorithm", "task", "sentence"),
    [
        ("publishd", "gfp", "pen-human-v1", r"gfp has no recipe 'publishd' \(did you mean 'published'\?\); it has"),
        ("awr", "fql", "pen-human-v1", "fql has no recipe 'awr'; it has published, quick"),
        ("awr", "gfp", "pen-human-v1", "there is no recipe 'awr' for pen-human-v1; it is published for antmaze-giant"),
        ("quick", "gpf", "pen-human-v1", r"no recipe of 'gpf' \(did you mean 'gfp'\?\); known: a2po, bc, "),
        ("quick", "gfp", "pen-humn-v1", "did you mean 'pen-human-v1'"),
        ("auto", "iql", "pen-human-v1", r"iql has no recipe 'auto' \(did you mean 'laptop'\?\); it has published"),
        ("quick", "qgf", "pen-human-v1", "qgf has no recipe 'quick'; it has laptop"),
    ],
)
def test_a_recipe_that_does_not_exist_is_one_sentence(name: str, algorithm: str, task: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        recipes.named(name, algorithm, task)


def test_a_task_outside_the_registry_takes_the_settings_of_its_environment() -> None:
    task = "visual-cube-single-play-singletask-task2-v0"
    first = recipes.published("gfp", "visual-cube-single-play-singletask-task1-v0")
    recipe = recipes.unlisted("published", "gfp", task)
    assert (recipe.settings, recipe.plan) == (first.settings, first.plan)
    assert recipe.plan["frame_stack"] == 3
    assert recipe.notice is not None
    assert task in recipe.notice


def test_baselines_without_a_row_take_the_batch_of_fqls() -> None:
    """GFP's is four times as large there."""
    assert recipes.published("ifql", "humanoidmaze-large-navigate-singletask-task1-v0").plan["batch_size"] == 256


def test_a_task_outside_the_registry_takes_defaults() -> None:
    task = "cube-quadruple-play-singletask-task1-v0"
    recipe = recipes.unlisted("published", "gfp", task)
    assert recipe.notice == f"no setting of gfp is published for {task}; the recipe takes the defaults of gfp."
    assert recipes.unlisted("quick", "gfp", task).plan == {"steps": 20_000}
    with pytest.raises(InputError, match="which is none of the 144 tasks"):
        recipes.unlisted("awr", "gfp", task)


def test_recipes_of_a_laptop_are_for_every_algorithm_and_task() -> None:
    """And they know which algorithms have a flow whose steps are a setting."""
    listed = recipes.suite("laptop")
    assert {name for name in ALGORITHMS if "laptop" in recipes.names(name)} == set(ALGORITHMS)
    for name, kind in ALGORITHMS.items():
        for task in (listed[0], "my-arm", *(task for task in listed if task.startswith("pointmaze"))):
            recipe = recipes.unlisted("laptop", name, task)
            algorithm = from_plain(kind, recipe.settings)
            assert ("flow_steps" in recipe.settings) == hasattr(algorithm, "flow_steps")
            assert Plan(**recipe.plan).steps in (12_000, 60_000)
            assert recipe.notice is None


def test_the_automatic_recipe_finds_what_a_paper_tuned() -> None:
    task = "cube-single-noisy-singletask-task1-v0"
    recipe, small = recipes.named("auto", "gfp", task), recipes.named("laptop", "gfp", task)
    assert {**small.settings, "alpha": "auto", "temperature": "auto"} == recipe.settings
    assert recipe.plan == small.plan
    assert recipes.named("auto", "fql", task).settings["alpha"] == "auto"
