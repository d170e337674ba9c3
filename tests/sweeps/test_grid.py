"""Grids become runs with folders and commands of their own."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from guidedflow import cli, recipes
from guidedflow.errors import InputError
from guidedflow.sweeps import grid
from guidedflow.sweeps.grid import Source
from guidedflow.training.plan import Plan

TASK = "cube-single-noisy-singletask-task1-v0"
OUT = Path("runs/sweep")


def expand(words: list[str], algorithms: tuple[str, ...] = ("gfp", "fql"), **more: Any) -> list[grid.Planned]:
    plan = more.pop("plan", Plan(steps=100, seeds=2, log_interval=10))
    return grid.expand([TASK], algorithms, grid.parse(words), plan, OUT, **more)


def test_a_setting_of_all_algorithms_and_one_of_a_single_algorithm() -> None:
    runs = expand(["alpha=0.3,1", "gfp.temperature=1e-4,1e-3,1e-2", "fql.alpha=10"])
    cells = {(run.name, run.algorithm.alpha, getattr(run.algorithm, "temperature", None)) for run in runs}  # type: ignore[attr-defined]
    assert len(runs) == 2 * (2 * 3 + 1)
    assert cells == {("gfp", a, t) for a in (0.3, 1.0) for t in (1e-4, 1e-3, 1e-2)} | {("fql", 10.0, None)}
    assert len({run.out for run in runs}) == len(runs)
    assert runs[0].out == OUT / TASK / "gfp-alpha=0.3-temperature=0.0001" / "seed-0"
    assert [run.plan.seed for run in runs[:2]] == [0, 1]
    assert all(run.plan.seeds == 1 for run in runs)


def test_the_command_of_a_run_is_read_as_that_run() -> None:
    more: dict[str, Any] = {"source": Source(rescale_actions=True, normalize_observations=False)}
    for run in expand(["alpha=0.3", "gfp.target=mean", "gfp.flow_steps=5"], fixed={"hidden": [8, 8]}, **more)[::2]:
        read = cli.parsed(shlex.split(shlex.join(run.command()))[1:])
        assert (read.algorithm, read.plan, read.out, read.task) == (run.algorithm, run.plan, run.out, run.task)
        assert (read.resume, read.rescale_actions, read.normalize_observations) == (True, True, False)
        assert "normalize_observations" in read.typed


def test_a_grid_compares_what_finds_itself_with_numbers() -> None:
    runs = expand(["gfp.temperature=auto,1e-3", "alpha=auto"], ("gfp",))[::2]
    assert [run.algorithm.temperature for run in runs] == ["auto", 1e-3]  # type: ignore[attr-defined]
    assert runs[0].out.parent.name == "gfp-temperature=auto-alpha=auto"
    read = cli.parsed(shlex.split(shlex.join(runs[0].command()))[1:])
    assert (read.algorithm.alpha, read.algorithm.temperature) == ("auto", "auto")


def test_a_recipe_gives_way_to_the_grid_and_to_what_was_typed() -> None:
    plan = Plan(steps=50, log_interval=10)
    published = recipes.published("gfp", recipes.task(TASK)).settings["temperature"]
    (run,) = expand(["alpha=7"], ("gfp",), recipe="published", typed=("steps", "log_interval"), plan=plan)
    found = run.algorithm.alpha, run.algorithm.temperature, run.plan.steps  # type: ignore[attr-defined]
    assert found == (7.0, published, 50)


def test_the_discount_may_be_varied_as_a_setting_of_every_algorithm_or_of_one() -> None:
    runs = expand(["discount=0.9,1", "fql.discount=0.5"], plan=Plan(steps=100, log_interval=10))
    assert [(run.name, run.plan.discount) for run in runs] == [("gfp", 0.9), ("gfp", 1.0), ("fql", 0.5)]
    assert runs[0].out.parent.name == "gfp-discount=0.9"
    assert cli.parsed(shlex.split(shlex.join(runs[0].command()))[1:]).plan == runs[0].plan


def test_tuning_does_not_choose_the_discount(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"tune --tasks {TASK} --algorithms gfp --grid gfp.discount=0.9,0.99 --out {tmp_path}/tuned"
    with pytest.raises(SystemExit) as ended:
        cli.main(words.split())
    assert ended.value.code == 2
    assert "gfp.discount is the plan's; use sweep --grid for it." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["alpha"], "--grid takes NAME=VALUE,VALUE,..., such as alpha=0.3,1,3, but got 'alpha'"),
        (["alpha=1,,2"], "but got 'alpha=1,,2'"),
        (["alfa=1"], r"no algorithm here has a setting 'alfa' \(did you mean 'alpha'\?\)"),
        (["gfp.expectile=1"], "no algorithm here has a setting 'expectile'"),
        (["iql.expectile=0.9"], "the grid names iql.expectile, but 'iql' is none of gfp, fql"),
        (["alpha=big"], "alpha must be a number or auto, but is 'big'"),
        (["tau=auto"], "tau must be a number, but is 'auto'"),
        (["alpha=-1"], "alpha must be at least 0"),
        (["target=actr"], "expected one of actor, mean"),
        (["discount=2"], "discount must be"),
        (["discount=far"], "discount must be"),
    ],
)
def test_a_grid_that_cannot_be_is_one_sentence(words: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        expand(words)


def test_a_grid_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "grid.toml"
    path.write_text("alpha = [0.3, 1]\nhidden = [[8, 8], [16]]\n[fql]\nalpha = [10, 30]\n")
    assert grid.read(path) == {"alpha": (0.3, 1), "hidden": ((8, 8), (16,)), "fql.alpha": (10, 30)}
    path.write_text("alpha = 3\n")
    with pytest.raises(InputError, match="alpha must be a list of values to try, but is 3"):
        grid.read(path)
    path.write_text("alpha = [")
    with pytest.raises(InputError, match="cannot be read as TOML"):
        grid.read(path)
