"""`guidedflow tasks`, and recipes beside flags: what is typed wins, and the run says where its settings came from."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_data import line
from untaught import untaught

from guidedflow import cli, recipes
from guidedflow.algorithms import ALGORITHMS
from guidedflow.cli import Train, catalogue, main
from guidedflow.data.dataset import Dataset
from guidedflow.errors import InputError
from guidedflow.settings import from_plain, to_plain

TASK = "cube-double-noisy-singletask-task2-v0"
SMALL = ["--hidden", "4", "--flow-steps", "2", "--batch-size", "4", "--steps", "4", "--log-interval", "2"]


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A dataset on a line in place of every task's, from which nothing is learned."""
    monkeypatch.setattr("guidedflow.cli.train.open_dataset", lambda origin, **options: line())
    with untaught():
        yield


def told(arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    main(arguments.split())
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def typed(arguments: list[str]) -> Train:
    command = cli.parsed(arguments)
    assert isinstance(command, Train)
    return command


def test_the_list_has_a_line_a_task_and_one_of_means(capsys: pytest.CaptureFixture[str]) -> None:
    lines = told("tasks --suite ogbench", capsys).splitlines()
    assert len(lines) == 105 + 2
    assert [found.split()[0] for found in lines[1:-1]] == [task.name for task in recipes.tasks("ogbench")]
    assert lines[-1].split() == ["mean", "of", "105", "20.4", "43.9", "46.6", "53.2"]  # the paper prints 46.7 for FQL


def test_json_has_one_object_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    everything = json.loads(told("tasks --json", capsys))
    assert [task["name"] for task in everything["tasks"]] == [task.name for task in recipes.tasks()]
    filtered = json.loads(told("tasks --family scene --suite OGBench --json", capsys))
    assert {task["family"] for task in filtered["tasks"]} == {"scene"}
    (one,) = json.loads(told(f"tasks {TASK} --json", capsys))["tasks"]
    assert {score["method"]: score["mean"] for score in one["scores"]}["gfp"] == pytest.approx(75.7083)
    assert [recipe["name"] for recipe in one["recipes"] if recipe["algorithm"] == "gfp"] == ["published", "awr"]


@pytest.mark.parametrize("name", [TASK, "pen-human-v1", "D4RL/pen/human-v2", "visual-scene-play-singletask-task1-v0"])
def test_a_page_tells_data_scores_settings_and_sources(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = told(f"tasks {name}", capsys)
    task = recipes.task(name)
    for fact in (task.dataset, task.simulator, task.rule, *(str(score) for score in recipes.scores(name, "gfp"))):
        assert fact in page
    for algorithm in recipes.methods():
        recipe = recipes.published(algorithm, task)
        assert (recipe.source or "nothing is published") in page
        assert all(found.why in page for found in recipe.contradictions)
    assert ("frame-stack 3, augment 0.5" in page) == task.pixels


def test_a_page_of_a_replaced_score_tells_both(capsys: pytest.CaptureFixture[str]) -> None:
    page = told("tasks antsoccer-arena-navigate-singletask-task2-v0", capsys)
    assert "score        actor 78.5 ± 2.8 (8 seeds; GFP" in page
    assert "earlier      actor 0.0 ± 1.0 (8 seeds; FQL" in page


@pytest.mark.parametrize("algorithm", [name for name in recipes.methods() if name in ALGORITHMS])
@pytest.mark.parametrize(
    "name", [TASK, "visual-scene-play-singletask-task1-v0", "antmaze-umaze-v2", "mujoco/hopper/expert-v0"]
)
def test_the_command_of_a_page_is_the_recipe_by_the_published_protocol(name: str, algorithm: str) -> None:
    task, recipe = recipes.task(name), recipes.published(algorithm, name)
    command = typed(shlex.split(catalogue.command(task, recipe) or "")[1:])
    assert command.algorithm == from_plain(ALGORITHMS[algorithm], recipe.settings)
    assert command.clip_actions == (task.suite != "ogbench")
    command.refuse_idle()
    made = to_plain(command.plan)
    assert {setting: made[setting] for setting in recipe.plan} == recipe.plan
    evaluated = range(0, command.plan.steps + 1, command.plan.eval_interval)
    assert set(task.protocol.evaluations) <= {*evaluated} or command.plan.steps in evaluated
    assert (command.plan.seeds, command.plan.eval_episodes) == (task.protocol.seeds, task.protocol.episodes)


def test_what_is_typed_wins_wherever_it_stands() -> None:
    before = ["--alpha=3", "--batch_size", "64", "--recipe", "published", "--task", TASK, "--out", "x"]
    after = ["--task", TASK, "--out", "x", "--recipe=published", "--batch-size", "64", "--alpha", "3"]
    first, second = (typed(["train", "gfp", *words]) for words in (before, after))
    assert first == second
    plain = to_plain(first.algorithm)
    assert (plain["alpha"], plain["temperature"], plain["target"]) == (3.0, 1e-4, "published_mean")
    assert (first.plan.batch_size, first.plan.steps) == (64, 1_000_000)
    assert first.beside == ("alpha", "batch_size")
    assert typed(["train", "--recipe", "quick", "fql", "--no-normalize-q", "--task", TASK, "--out", "fql"]).beside == (
        "normalize_q",
    )


def test_without_a_recipe_nothing_changes() -> None:
    command = typed(["train", "gfp", "--task", TASK, "--out", "x"])
    assert command.algorithm == ALGORITHMS["gfp"]()
    assert command.beside == ()


def config_of(path: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((path / "config.json").read_text())
    return config


@pytest.mark.filterwarnings("default")  # the command line shows warnings itself
@pytest.mark.usefixtures("data")
def test_a_run_says_where_its_settings_came_from_and_can_be_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "bc", "--task", TASK, "--recipe", "published", *SMALL, "--out", str(tmp_path / "bc")]
    main(words)
    config = config_of(tmp_path / "bc")
    assert config["recipe"] == {
        "name": "published",
        "source": "Simple-Robotics/guided-flow-policy 49f6b17, hyperparams",
        "beside": {"hidden": [4], "flow_steps": 2, "steps": 4, "batch_size": 4, "log_interval": 2},
    }
    told = {"name": "bc", "learning_rate": 3e-4, "flow_steps": 2, "hidden": [4]}
    assert told.items() <= config["algorithm"].items()
    capsys.readouterr()
    main([*words, "--resume", "--steps", "6"])
    assert "is resumed with changes: steps 4 -> 6." in capsys.readouterr().err
    assert config_of(tmp_path / "bc")["recipe"]["beside"]["steps"] == 6
    with pytest.raises(SystemExit):
        main([*words, "--resume", "--hidden", "5"])
    assert "algorithm.hidden" in capsys.readouterr().err


@pytest.mark.usefixtures("data")
def test_a_run_without_a_published_setting_says_what_it_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = "cube-quadruple-play-singletask-task1-v0"
    main(["train", "bc", "--task", task, "--recipe", "published", *SMALL, "--out", str(tmp_path / "bc")])
    (notice,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("no setting")]
    assert notice == f"no setting of bc is published for {task}; the recipe takes the defaults of bc."
    assert config_of(tmp_path / "bc")["recipe"]["source"] is None


@pytest.mark.parametrize(
    ("shape", "kind", "words", "sentence"),
    [
        ((4, 4), np.uint8, "", r"'mine' has observations of shape \(4, 4\) and type uint8; expected float32 states"),
        ((4, 4, 3), np.float32, "", r"of shape \(4, 4, 3\) and type float32; expected .* or uint8 images"),
        ((3,), np.float32, "--augment 0.5", "'mine' has states, which cannot be cropped; leave --augment out"),
    ],
)
def test_observations_that_no_network_takes_are_refused_before_anything_is_written(
    shape: tuple[int, ...], kind: type, words: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = line()
    observations = np.zeros((len(rows.last), *shape), kind)
    strange = Dataset("mine", observations, rows.actions, rows.rewards, rows.masks, rows.last)
    monkeypatch.setattr("guidedflow.cli.train.open_dataset", lambda origin, **options: strange)
    with pytest.raises(InputError, match=sentence):
        typed(["train", "bc", "--task", TASK, "--out", str(tmp_path / "bc"), *words.split()]).run()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (f"train gfp --task {TASK} --out x --recipe quik", "gfp has no recipe 'quik' (did you mean 'quick'?)"),
        (f"train fql --task {TASK} --out x --recipe awr", "fql has no recipe 'awr'"),
        (f"train gfp --task {TASK} --out x --recipe published --alpha -1", "alpha must be at least 0, but is -1.0"),
        ("train gfp --recipe published --out x", "missing argument --task"),
        ("tasks cube-sngle-noisy-singletask-task1-v0", "did you mean 'cube-single-noisy-singletask-"),
        ("tasks --suite ogbnch", "unknown suite 'ogbnch' (did you mean 'ogbench'?)"),
        ("tasks --family humanoid", "unknown family 'humanoid' (did you mean 'humanoidmaze'?)"),
        ("tasks --family adroit --suite ogbench", "suite 'ogbench' has no family 'adroit'"),
        (f"tasks {TASK} --suite ogbench", "tasks takes a NAME or filters, not both"),
        ("tasks --jsn", "unknown argument '--jsn' (did you mean '--json'?)"),
    ],
)
def test_a_mistake_gets_one_sentence_and_leaves_nothing(
    arguments: str, sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(arguments.split())
    captured = capsys.readouterr()
    assert left.value.code == 2
    assert captured.out == ""
    assert captured.err.startswith("guidedflow: ")
    assert captured.err.count("\n") == 1
    assert sentence in captured.err
    assert list(tmp_path.iterdir()) == []
