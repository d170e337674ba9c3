"""The examples run as they are printed, on little data."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def python(*arguments: str | Path, folder: Path) -> str:
    """What a script prints, run from `folder` with every warning an error."""
    command = [sys.executable, "-W", "error", *map(str, arguments)]
    environment = {**os.environ, "MPLBACKEND": "agg", "COLUMNS": "120"}
    finished = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


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


def test_training_and_acting_from_a_file(tmp_path: Path, shared_data: Path) -> None:
    """One episode of real data, two updates and one episode in the simulator, by the example's own function."""
    pytest.importorskip("ogbench")
    source = shared_data / "cube-single-noisy-v0-val.npz"
    if not source.is_file():
        pytest.skip(f"{source.name} is not in ../shared/data")
    dataset = tmp_path / "cube-single-noisy-v0.npz"
    with np.load(source, allow_pickle=False) as columns:
        end = int(np.flatnonzero(columns["terminals"])[0]) + 1
        np.savez(dataset, **{name: columns[name][:end] for name in columns.files})
    script = tmp_path / "tiny.py"
    script.write_text(
        "from train_and_act import main\n\n"
        "if __name__ == '__main__':\n"
        f"    main({str(dataset)!r}, out='run', steps=2, episodes=1)\n"
    )
    (tmp_path / "train_and_act.py").write_text((EXAMPLES / "train_and_act.py").read_text())

    printed = python(script, folder=tmp_path)

    assert "'success_mean': " in printed
    action = [float(number) for number in re.search(r"\[([-\d.e\s]+)\]\s*$", printed)[1].split()]
    assert len(action) == 5
    assert max(map(abs, action)) <= 1
    assert (tmp_path / "run" / "evaluations.jsonl").read_text().count("\n") == 1
    assert (tmp_path / "run" / "checkpoints" / "2" / "state.safetensors").is_file()
