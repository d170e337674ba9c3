"""Run folders without training: a configuration, and rows as the library writes them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from guidedflow.results import intervals, rows
from guidedflow.results.intervals import Interval
from guidedflow.results.rows import Episode, episode
from guidedflow.runs.mark import MARK

TASK = "cube-single-noisy-singletask-task{}-v0"


def made(
    path: Path,
    algorithm: str = "gfp",
    task: str = TASK.format(1),
    seeds: Sequence[int] = (0, 1, 2),
    rate: float = 0.8,
    episodes: int = 20,
    policy: str = "actor",
    curve: Sequence[int] = (),
    source: str = "evaluate",
    step: int = 1000,
    acting: Sequence[dict[str, Any]] = ({},),
    config: dict[str, Any] | None = None,
    **settings: Any,
) -> Path:
    """A run of these consecutive seeds whose episodes succeed with about this rate, harder ones less often."""
    path.mkdir(parents=True)
    plain = {
        MARK: 1, "command": ["guidedflow", "train", algorithm, "--task", task], "task": task,
        "algorithm": {"name": algorithm, **settings}, "steps": 1000, "seed": seeds[0], "seeds": len(seeds),
        "batch_size": 256, "discount": 0.99, "dataset": {"name": task, "fingerprint": task * 2},
        "versions": {"guidedflow": "0.2", "jax": "0.10", "device": "cpu", "cores": 2}, "commit": "0123456789ab",
        **(config or {}),
    }  # fmt: skip
    (path / "config.json").write_text(json.dumps(plain))
    written: list[Episode] = []
    for at in curve:
        trained = {"source": "training", "step": at, "policy": policy}
        written += outcomes(task, seeds, rate * at / max(curve), episodes, **trained)
    for how in acting:
        written += outcomes(task, seeds, rate, episodes, source=source, step=step, policy=policy, **how)
    rows.append(path / "evaluations.jsonl", written)
    for at in (500, 1000):
        metrics = {"loss": np.ones(len(seeds), np.float32)}
        intervals.append(path / "metrics.jsonl", Interval.of(at, at / 10, 10.0, seeds, metrics))
    return path


def outcomes(task: str, seeds: Sequence[int], rate: float, episodes: int, **columns: Any) -> list[Episode]:
    """Rows in which an episode succeeds for a seed where its difficulty leaves it to."""
    found = []
    for seed in seeds:
        random = np.random.default_rng([seed, round(1000 * rate)])
        for number in range(episodes):
            success = float(random.random() < rate)
            told = {"episode": number, "episode_seed": 7 * number, "return": success - 1, "length": 5}
            found.append(episode(task=task, seed=seed, success=success, **told, **columns))
    return found
