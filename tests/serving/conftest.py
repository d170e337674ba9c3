"""A tiny run to export and to serve."""

from pathlib import Path

import pytest
from tiny_data import line
from untaught import begun

from guidedflow.algorithms import QGF
from guidedflow.training.plan import Plan


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of QGF on a line, which learned nothing, with checkpoints of steps 2 and 4."""
    out = tmp_path_factory.mktemp("serving") / "run"
    plan = Plan(4, batch_size=16, log_interval=2, checkpoint_interval=2)
    begun(QGF(hidden=(8, 8), flow_steps=3), line(), plan, out=out)
    return out
