"""Observations in degrees: a clone of normalised observations reaches its goals, one of raw observations does not.

Measured on two cores, 3,000 updates of 3x64, seeds 0 to 2, 30 episodes each: 0.33, 0.50, 0.53 raw; 1.00 normalised.
"""

from pathlib import Path

import pytest
from arm import Arm, log

from guidedflow import BC, Plan, Simulators, train


@pytest.mark.slow
def test_normalised_observations_make_the_difference(tmp_path: Path) -> None:
    data, plan = log(), Plan(steps=3000, seeds=3, log_interval=1000)
    algorithm = BC(hidden=(64, 64, 64), flow_steps=5, learning_rate=1e-3)
    success = {}
    with Simulators(Arm, 10, 2) as simulators:
        for normalize in (False, None):  # None is the default: data that no suite has are normalised
            trained = train(algorithm, data, plan, out=tmp_path / str(normalize), normalize_observations=normalize)
            success[normalize] = trained.evaluate(episodes=30, simulators=simulators).summary()["success"]
    assert max(success[False]) < 0.75
    assert min(success[None]) > 0.9
