"""The examples run as they are printed, on little data."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from untaught import untaught

EXAMPLES = Path(__file__).parents[1] / "examples"


def python(*arguments: str | Path, folder: Path, timeout: float = 240) -> str:
    """What a script prints, run from `folder` with every warning an error."""
    command = [sys.executable, "-W", "error", *map(str, arguments)]
    environment = {**os.environ, "MPLBACKEND": "agg", "COLUMNS": "120"}
    finished = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.slow
def test_steering_two_modes_leads_to_the_better_one(tmp_path: Path) -> None:
    printed = python(EXAMPLES / "steer_two_modes.py", "--out", "modes.png", folder=tmp_path)
    right = {line.split("  ")[0]: float(re.search(r"right +([\d.]+)%", line)[1]) for line in printed.splitlines()}
    assert list(right) == [
        "unguided",
        "best of 4",
        "NoisyGradient",
        "DenoisedGradient",
        "JacobianGradient",
        "RolloutGradient",
    ]
    assert right.pop("unguided") == pytest.approx(50, abs=5)
    assert min(right.values()) > 55
    assert right["DenoisedGradient"] > 80
    assert (tmp_path / "modes.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def episode(tmp_path: Path, shared_data: Path) -> Path:
    """A file with one episode of real data."""
    pytest.importorskip("ogbench")
    source = shared_data / "cube-single-noisy-v0-val.npz"
    if not source.is_file():
        pytest.skip(f"{source.name} is not in ../shared/data")
    dataset = tmp_path / "cube-single-noisy-v0.npz"
    with np.load(source, allow_pickle=False) as columns:
        end = int(np.flatnonzero(columns["terminals"])[0]) + 1
        np.savez(dataset, **{name: columns[name][:end] for name in columns.files})
    return dataset


@pytest.mark.slow
def test_training_and_acting_from_a_file(tmp_path: Path, episode: Path) -> None:
    """Two updates and one episode in the simulator, by the example's own function."""
    script = tmp_path / "tiny.py"
    script.write_text(
        "from train_and_act import main\n\n"
        "if __name__ == '__main__':\n"
        f"    main({str(episode)!r}, out='run', steps=2, episodes=1)\n"
    )
    (tmp_path / "train_and_act.py").write_text((EXAMPLES / "train_and_act.py").read_text())

    check_acted(python(script, folder=tmp_path), tmp_path)


def test_acting_from_a_file(
    tmp_path: Path, episode: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same in this process, without what an update computes."""
    monkeypatch.chdir(tmp_path)
    with untaught():
        runpy.run_path(str(EXAMPLES / "train_and_act.py"))["main"](str(episode), out="run", steps=2, episodes=1)
    check_acted(capsys.readouterr().out, tmp_path)


def check_acted(printed: str, tmp_path: Path) -> None:
    """The episode is reported, and the policy's action is in the box."""
    assert "'success_mean': " in printed
    action = [float(number) for number in re.search(r"\[([-\d.e\s]+)\]\s*$", printed)[1].split()]
    assert len(action) == 5
    assert max(map(abs, action)) <= 1
    assert (tmp_path / "run" / "evaluations.jsonl").read_text().count("\n") == 1
    assert (tmp_path / "run" / "checkpoints" / "2" / "state.safetensors").is_file()


@pytest.mark.slow
def test_the_strip_of_the_readme(tmp_path: Path) -> None:
    """Steering moves most of the samples into the better mode, and the picture is drawn."""
    printed = python(EXAMPLES / "steering_strip.py", "--samples", "200", "--out", "strip.png", folder=tmp_path)
    alone, steered = (int(found) for found in re.findall(r"(\d+)% of the actions succeed", printed))
    assert alone == pytest.approx(50, abs=10)
    assert steered > 80
    assert (tmp_path / "strip.png").read_bytes().startswith(b"\x89PNG")


def test_an_own_guidance_pulls_and_fences(tmp_path: Path) -> None:
    printed = python(EXAMPLES / "own_guidance.py", folder=tmp_path)
    unguided, fenced = ([float(n) for n in re.findall(r"([\d.]+)%", line)] for line in printed.splitlines())
    assert fenced[0] > 80 > unguided[0]
    assert fenced[1] < unguided[1] / 2
    assert printed.strip() in (EXAMPLES.parent / "docs" / "own-guidance.md").read_text()


def test_an_own_algorithm_is_trained_and_opened(tmp_path: Path) -> None:
    printed = python(EXAMPLES / "own_algorithm.py", "--steps", "2", "--out", "run", folder=tmp_path)
    assert "2 numbers an action" in printed
    assert '"name": "RewardWeighted"' in (tmp_path / "run" / "config.json").read_text().replace("own_algorithm.", "")


def test_an_own_environment_is_evaluated_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is promised is that every policy of every seed is rolled out and compared, so nothing is learned."""
    script = EXAMPLES / "own_environment.py"
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr(
        sys, "argv", [str(script), *["--steps", "2", "--seeds", "3", "--episodes", "2", "--out", "run"]]
    )
    with untaught():
        runpy.run_path(str(script), run_name="__main__")
    sys.modules.pop("reach")
    printed = capsys.readouterr().out
    assert re.findall(r"^(actor|flow) \d\.\d+ .*3 seeds x 2 episodes", printed, re.MULTILINE) == ["actor", "flow"]
    rows = (tmp_path / "run" / "evaluations.jsonl").read_text().splitlines()
    assert len(rows) == 2 * 3 * 2
    assert all('"environment": "reach.make"' in row for row in rows)


@pytest.mark.parametrize("script", ["gfp_against_fql.py", "test_time_methods.py", "robot_loop.py"])
def test_a_long_example_finds_what_it_imports(
    script: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(EXAMPLES / script), run_name="__main__")
    assert left.value.code == 0
    assert "--" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_gfp_against_fql_collects_trains_evaluates_and_draws(tmp_path: Path) -> None:
    pytest.importorskip("ogbench")
    options = ("--tasks", "1", "--steps", "2", "--episodes", "1", "--eval-episodes", "1", "--out", "cubes")
    printed = python(EXAMPLES / "gfp_against_fql.py", *options, folder=tmp_path, timeout=1400)
    assert re.findall(r"^1 (gfp|fql) (actor|flow) \[\d", printed, re.MULTILINE) == [
        ("gfp", "actor"),
        ("gfp", "flow"),
        ("fql", "actor"),
        ("fql", "flow"),
    ]
    assert (tmp_path / "cubes" / "task1.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_every_test_time_method_is_in_the_table(tmp_path: Path) -> None:
    pytest.importorskip("ogbench")
    options = (
        "--tasks",
        "1",
        "--steps",
        "2",
        "--seeds",
        "1",
        "--episodes",
        "1",
        "--eval-episodes",
        "1",
        "--out",
        "runs",
    )
    printed = python(EXAMPLES / "test_time_methods.py", *options, folder=tmp_path, timeout=1400)
    assert printed.splitlines()[0].startswith("| method | task 1 | mean |")
    for method in ("best of 4", "denoised (QGF)", "GradStep", "RobustQ", "CFGRL"):
        assert method in printed
