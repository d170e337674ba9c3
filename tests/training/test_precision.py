"""Numbers are of single precision, whatever JAX is told: the same checkpoints, which load either way."""

from pathlib import Path

import jax
import numpy as np
from tiny_data import line

from guidedflow.algorithms import BC
from guidedflow.runs.trained import load_policy
from guidedflow.training.loop import train
from guidedflow.training.plan import Plan


def test_checkpoints_are_the_same_with_and_without_64_bits(tmp_path: Path) -> None:
    algorithm, plan = BC(hidden=(4,), flow_steps=2), Plan(steps=4, batch_size=4, log_interval=2)
    train(algorithm, line(), plan, out=tmp_path / "single")
    with jax.enable_x64(True):
        train(algorithm, line(), plan, out=tmp_path / "double")
    files = [tmp_path / name / "checkpoints" / "4" / "state.safetensors" for name in ("single", "double")]
    assert files[0].read_bytes() == files[1].read_bytes()
    observation = np.array([0.5, 0.0, 0.0])
    action = load_policy(tmp_path / "double")(observation, jax.random.key(0))
    with jax.enable_x64(True):
        same = load_policy(tmp_path / "single")(observation, jax.random.key(0))
        train(algorithm, line(), Plan(steps=4, batch_size=4, log_interval=2), out=tmp_path / "single", resume=True)
    assert same.dtype == action.dtype == np.float32
    np.testing.assert_array_equal(same, action)
