"""The installed package alone, without a suite: train on arrays, save, load, act; the command line answers."""

import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np

import guidedflow
from guidedflow import BC, Dataset, Plan, load_policy, train

if __name__ == "__main__":
    rows = 40
    numbers = np.random.default_rng(0).uniform(-0.9, 0.9, (rows, 3)).astype(np.float32)
    last = np.arange(rows) % 10 == 9
    ones = np.ones(rows, np.float32)
    dataset = Dataset("smoke", numbers, numbers[:, :2], ones, ones, last)
    with tempfile.TemporaryDirectory() as folder:
        train(BC(hidden=(8,), flow_steps=2), dataset, Plan(2, batch_size=4), out=Path(folder) / "run")
        action = load_policy(Path(folder) / "run")(numbers[0], jax.random.key(0))
    assert action.shape == (2,)
    assert Path(guidedflow.__file__).is_relative_to(sys.prefix), guidedflow.__file__
    assert all(getattr(guidedflow, name) is not None for name in guidedflow.__all__)
    command = [str(Path(sys.executable).with_name("guidedflow")), "tasks", "cube-single-noisy-singletask-task1-v0"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "published" in told
    print(f"guidedflow {guidedflow.__version__} works")
