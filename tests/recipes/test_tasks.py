"""The 144 tasks: all there, each with all that a published number about it means, and named as the suites name them."""

import subprocess
import sys

import pytest

from guidedflow import environments, recipes
from guidedflow.data.obtain.collect import collectable
from guidedflow.data.obtain.oracles import RECIPES
from guidedflow.errors import InputError

OGBENCH = recipes.tasks("ogbench")


def test_there_are_144_tasks_of_three_suites() -> None:
    assert len({task.name for task in recipes.tasks()}) == 144
    assert [len(recipes.tasks(suite)) for suite in ("ogbench", "d4rl", "minari")] == [105, 18, 21]
    assert sum(task.pixels for task in recipes.tasks()) == 5
    families = {task.family: len(recipes.tasks(family=task.family)) for task in recipes.tasks()}
    assert families == {
        "antmaze": 26, "humanoidmaze": 15, "antsoccer": 10, "cube": 32, "puzzle": 17, "scene": 11, "adroit": 24,
        "gym-mujoco": 9,
    }  # fmt: skip


@pytest.mark.parametrize("task", recipes.tasks(), ids=lambda task: task.name)
def test_every_task_says_where_its_data_come_from_and_how_it_is_scored(task: recipes.Task) -> None:
    assert recipes.task(task.name) is task
    assert task.dataset in task.download
    assert task.simulator
    assert (task.reference is None) == (task.suite == "ogbench")
    protocol = task.protocol
    assert protocol.evaluations[-1] == protocol.steps == (500_000 if task.pixels or task.suite == "d4rl" else 1_000_000)
    assert len(protocol.evaluations) == (3 if task.suite == "ogbench" else 1)
    assert (protocol.seeds, protocol.episodes) == ((4, 50) if task.pixels else (8, 100))


@pytest.mark.parametrize("task", OGBENCH, ids=lambda task: task.name)
def test_ogbench_names_agree_with_the_environments(task: recipes.Task) -> None:
    parsed = environments.parse(task.name)
    assert (task.simulator, task.dataset) == (parsed.environment, parsed.dataset)
    assert (task.number, task.pixels, task.suite) == (parsed.number, parsed.pixels, parsed.suite)


def test_the_short_name_of_a_default_task_is_ogbenchs() -> None:
    for task in OGBENCH:
        short = f"{task.environment}-singletask-v0"
        number = environments.parse(short).number
        if task.number == number:
            assert recipes.find(short) is task
        elif task.pixels:  # whose default task is not among the 144
            assert recipes.find(short) is None


def test_sizes_agree_with_what_is_collected() -> None:
    checked = [task for task in OGBENCH if task.dataset in collectable()]
    assert len(checked) == 60
    for task in checked:
        assert (task.episodes, task.length) == (RECIPES[task.dataset].episodes, RECIPES[task.dataset].rows - 1)


def test_a_score_by_return_is_0_and_100_at_the_reference_returns() -> None:
    for task in recipes.tasks():
        if task.reference is None:
            assert task.score(0.25) == 25
        else:
            assert task.score(task.reference.minimum) == 0
            assert task.score(task.reference.maximum) == pytest.approx(100)
    assert recipes.task("pen-human-v1").score(1586.5479) == pytest.approx(50, abs=1e-4)
    assert recipes.task("mujoco/hopper/expert-v0").score(3234.3) == pytest.approx(100)


def test_a_wrong_name_has_a_neighbour() -> None:
    with pytest.raises(InputError, match=r"none of the 144 tasks \(did you mean 'D4RL/pen/human-v2'\?\)"):
        recipes.task("D4RL/pen/human-v1")
    with pytest.raises(
        InputError, match=r"unknown suite 'd4r' \(did you mean 'd4rl'\?\); known: ogbench, d4rl, minari"
    ):
        recipes.tasks("d4r")
    with pytest.raises(InputError, match=r"unknown family 'cubes' \(did you mean 'cube'\?\)"):
        recipes.tasks(family="cubes")


def test_filters_do_not_mind_capitals() -> None:
    assert recipes.tasks("OGBench", "Scene") == recipes.tasks("ogbench", "scene")


def test_reading_all_of_it_takes_neither_jax_nor_a_suite() -> None:
    script = (
        "import sys\nfrom guidedflow import recipes\n"
        "[recipes.published(name, task) for task in recipes.tasks() for name in recipes.methods()]\n"
        "print(*sorted({'jax', 'numpy', 'gymnasium', 'ogbench', 'minari', 'h5py'} & set(sys.modules)))"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == ""
