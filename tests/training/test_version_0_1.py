"""A run that version 0.1 made goes on, is opened and read.

`tests/runs/version-0.1` was written by version 0.1.0 (commit 051d1a2): QGF(hidden=(4,), flow_steps=2) on the line of
`tiny_data`, 40 updates of two seeds, and two evaluations of three episodes.
"""

import shutil
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny_data import line
from tiny_environment import Peaceful

from guidedflow import QGF, Plan, Simulators, Trained, train
from guidedflow.results import intervals, rows

PLAN = Plan(steps=80, seeds=2, batch_size=8, log_interval=10)
ALGORITHM = QGF(hidden=(4,), flow_steps=2)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(Path(__file__).parents[1] / "runs" / "version-0.1", tmp_path / "old"))


@pytest.mark.filterwarnings("ignore:.*is resumed with changes")
def test_it_is_resumed_as_if_it_had_gone_on(old: Path, tmp_path: Path) -> None:
    resumed = train(ALGORITHM, line(), PLAN, out=old, resume=True)
    whole = train(ALGORITHM, line(), PLAN, out=tmp_path / "whole", normalize_observations=False)
    for mine, other in zip(jax.tree.leaves(resumed.state), jax.tree.leaves(whole.state), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-5)
    assert [interval.step for interval in intervals.read(old / "metrics.jsonl")] == list(range(10, 90, 10))


def test_its_rows_are_read_and_it_is_evaluated(old: Path) -> None:
    found = rows.read(old / "evaluations.jsonl")
    assert len(found) == 2 * 2 * 3
    assert {(row["source"], row["environment"]) for row in found} == {("evaluate", "tiny_environment.Peaceful")}
    steered = found[-1]
    assert (steered["guidance"], steered["weight"], steered["normalize"]) == ("denoised", 0.3, True)
    assert (steered["candidates"], steered["refine_steps"], steered["critic_run"]) == (2, 2, "runs/x")
    trained = Trained.open(old)
    assert (trained.step, trained.seeds, trained.configuration.observation_scale) == (40, [0, 1], None)
    with Simulators(partial(Peaceful, 6), 2, 1) as simulators:
        again = trained.evaluate("flow", episodes=3, simulators=simulators)
    assert [row["return"] for row in again.rows] == pytest.approx([row["return"] for row in found[:6]], rel=1e-4)
