"""What a run has come to, in bits, without what a clock says."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from guidedflow import files
from guidedflow.runs.trained import Trained


def outcome(path: Path) -> tuple[list[bytes], list[dict[str, Any]], list[dict[str, Any]]]:
    """The newest checkpoint, which is parameters and optimisers, then the rows of metrics and of evaluations."""
    metrics, evaluations = (
        [{k: v for k, v in row.items() if "second" not in k} for row in files.read_rows(path / name)]
        for name in ("metrics.jsonl", "evaluations.jsonl")
    )
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(Trained.open(path).state)], metrics, evaluations
