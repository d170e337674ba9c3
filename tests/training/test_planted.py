"""Planted failures against the rules that fire, and healthy runs against none."""

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted import plane, shuffled

from guidedflow.algorithms import FQL, GFP, IQL, ReBRAC
from guidedflow.data.dataset import Dataset
from guidedflow.data.sampling.cutting import Cutting
from guidedflow.data.sampling.probe import Probe
from guidedflow.results import diagnostics, intervals
from guidedflow.results.diagnostics import FIGURE, RULES
from guidedflow.results.intervals import Interval
from guidedflow.training.loop import train
from guidedflow.training.plan import Plan

SMALL: dict[str, Any] = {"hidden": (32, 32), "learning_rate": 1e-3, "flow_steps": 5}
GUIDED, LEARNED = GFP(**SMALL), FQL(**SMALL)
PLAN = Plan(steps=600, batch_size=128, log_interval=60)
LONGER = 3000
"""Updates of the cases that are called longer, in which critics settle."""
RECORDED = Path(__file__).with_name("planted.json")
"""Figures of the runs below, as they were measured: case -> figure -> a number for each row."""

EXPECTED = {
    "GFP, alpha / 100": "actor-leaves-flow",
    "GFP, alpha / 100, longer": "overestimation",
    "FQL, alpha / 100": "actor-leaves-flow",
    "FQL, alpha x 100, longer": "actor-copies-flow",
    "GFP, eta 1e-9": "weights-sharp",
    "GFP, eta 1e3": "weights-flat",
    "GFP, rewards x 1000": "values-out-of-reach",
    "FQL, rewards x 1000": "values-out-of-reach",
    "GFP, shuffled actions": "actions-unrelated",
    "FQL, no target": "target-follows",
    "GFP, no target": "target-follows",
}
"""The rule that each planted failure must break."""

CASES: dict[str, Any] = {
    "GFP, alpha / 100": replace(GUIDED, alpha=GUIDED.alpha / 100),
    "GFP, alpha / 100, longer": replace(GUIDED, alpha=GUIDED.alpha / 100),
    "GFP, alpha x 100": replace(GUIDED, alpha=GUIDED.alpha * 100),
    "FQL, alpha / 100": replace(LEARNED, alpha=LEARNED.alpha / 100),
    "FQL, alpha x 100": replace(LEARNED, alpha=LEARNED.alpha * 100),
    "FQL, alpha x 100, longer": replace(LEARNED, alpha=LEARNED.alpha * 100),
    "GFP, eta 1e-9": replace(GUIDED, temperature=1e-9),
    "GFP, eta 1e3": replace(GUIDED, temperature=1e3),
    "GFP, rewards x 1000": GUIDED,
    "FQL, rewards x 1000": LEARNED,
    "GFP, shuffled actions": GUIDED,
    "FQL, no target": replace(LEARNED, tau=1.0),
    "GFP, no target": replace(GUIDED, tau=1.0),
}
"""The algorithm of each planted failure."""

HEALTHY: dict[str, tuple[Any, int]] = {
    "healthy IQL 0": (IQL(hidden=(32, 32), learning_rate=1e-3), 0),
    "healthy REBRAC 0": (ReBRAC(hidden=(32, 32), learning_rate=1e-3), 0),
    **{f"healthy GFP {seed}": (GUIDED, seed) for seed in range(4)},
    **{f"healthy GFP eta 1e-2 {seed}": (replace(GUIDED, temperature=1e-2), seed) for seed in range(4)},
    **{f"healthy FQL {seed}": (LEARNED, seed) for seed in range(4)},
    "healthy GFP 0, longer": (GUIDED, 0),
    "healthy FQL 0, longer": (LEARNED, 0),
}
"""Runs that must break no rule, with their seeds."""


def data_of(case: str) -> Dataset:
    """The dataset of a case."""
    data = plane()
    if "rewards" in case:
        return replace(data, rewards=data.rewards * 1000)
    return shuffled(data) if "shuffled" in case else data


def recorded() -> dict[str, dict[str, list[float | None]]]:
    found: dict[str, dict[str, list[float | None]]] = json.loads(RECORDED.read_text())
    return found


def fired(figures: dict[str, list[float | None]]) -> set[str]:
    """The rules that these figures break."""
    count = max(map(len, figures.values()))
    rows = [
        Interval(60 * (i + 1), 1.0, 1.0, (0,), {FIGURE + n: (v[i],) for n, v in figures.items()}) for i in range(count)
    ]
    return {each.rule.name for each in diagnostics.warnings(rows, [0])}


@pytest.mark.parametrize("case", EXPECTED)
def test_recorded_failures_are_found(case: str) -> None:
    assert EXPECTED[case] in fired(recorded()[case])


def test_recorded_healthy_runs_are_silent() -> None:
    healthy = {case: figures for case, figures in recorded().items() if case.startswith("healthy")}
    assert healthy
    assert {case: fired(figures) for case, figures in healthy.items() if fired(figures)} == {}


@pytest.mark.parametrize(
    ("case", "rules"),
    [
        ("healthy", set()),
        ("rewards", {"rewards-large"}),
        ("shuffled", {"actions-unrelated"}),
        ("rare", {"few-good-episodes"}),
        ("small", {"actions-small"}),
        ("clipped", {"actions-clipped"}),
    ],
)
def test_faults_of_a_dataset_are_found_without_training(case: str, rules: set[str]) -> None:
    data = plane()
    broken = {
        "healthy": data,
        "rewards": replace(data, rewards=data.rewards * 1000),
        "shuffled": shuffled(data),
        "rare": plane(good=0.01),
        "small": replace(data, actions=data.actions * np.float32(0.02)),
        "clipped": replace(data, actions=np.clip(data.actions * 50, -1, 1)),
    }[case]
    figures = Probe.of(Cutting().of(broken, None)).dataset
    assert {
        rule.name for rule in RULES if rule.figure in figures and rule.broken_by(float(figures[rule.figure]))
    } == rules


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_planted_failures_break_their_rules_and_healthy_runs_none(tmp_path: Path) -> None:
    for case, rule in EXPECTED.items():
        found = fired(figures(case, tmp_path / "run"))
        assert rule in found, (case, found)
    for case in HEALTHY:
        assert fired(figures(case, tmp_path / "run")) == set(), case


def figures(case: str, out: Path) -> dict[str, list[float | None]]:
    """Train a case, and return its figures: a number for each row."""
    shutil.rmtree(out, ignore_errors=True)
    algorithm, seed = HEALTHY[case] if case in HEALTHY else (CASES[case], 0)
    plan = replace(PLAN, seed=seed, steps=LONGER if "longer" in case else PLAN.steps)
    run = train(algorithm, data_of(case), plan, out=out).run
    rows = intervals.read(run.metrics)
    named = {name.removeprefix(FIGURE) for row in rows for name in row.metrics if name.startswith(FIGURE)}
    found = {name: [row.metrics[FIGURE + name][0] for row in rows] for name in sorted(named)}
    used = {rule.figure for rule in RULES}
    return {
        name: [None if value is None else float(f"{value:.4g}") for value in values]
        for name, values in found.items()
        if name in used
    }


if __name__ == "__main__":  # measure them again
    with tempfile.TemporaryDirectory() as folder:
        RECORDED.write_text(json.dumps({case: figures(case, Path(folder) / "run") for case in [*CASES, *HEALTHY]}))
