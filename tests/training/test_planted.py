"""Planted failures against the rules that fire, and healthy runs against none."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted import plane, shuffled

from guidedflow.algorithms import FQL, GFP
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
RECORDED = Path(__file__).with_name("planted.json")
"""Figures of the runs below, as they were measured: case -> figure -> a number for each row."""

EXPECTED = {
    "GFP, alpha / 100": "actor-leaves-flow",
    "FQL, alpha / 100": "actor-leaves-flow",
    "FQL, alpha x 100": "actor-copies-flow",
    "GFP, eta 1e-9": "weights-sharp",
    "GFP, eta 1e3": "weights-flat",
    "FQL, no target": "target-follows",
    "GFP, no target": "target-follows",
}
"""The rule that each planted failure must break."""


def plant(case: str) -> Any:
    """The algorithm of a case."""
    cases = {
        "GFP, alpha / 100": replace(GUIDED, alpha=GUIDED.alpha / 100),
        "FQL, alpha / 100": replace(LEARNED, alpha=LEARNED.alpha / 100),
        "FQL, alpha x 100": replace(LEARNED, alpha=LEARNED.alpha * 100),
        "GFP, eta 1e-9": replace(GUIDED, temperature=1e-9),
        "GFP, eta 1e3": replace(GUIDED, temperature=1e3),
        "FQL, no target": replace(LEARNED, tau=1.0),
        "GFP, no target": replace(GUIDED, tau=1.0),
    }
    return cases[case]


def recorded() -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = json.loads(RECORDED.read_text())
    return found


def fired(figures: dict[str, list[float]]) -> set[str]:
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
def test_planted_failures_break_their_rules_and_healthy_runs_none(tmp_path: Path) -> None:
    data = plane()
    for case, rule in EXPECTED.items():
        found = warned(plant(case), data, tmp_path / "run")
        assert rule in found, (case, found)
    for algorithm in (GUIDED, replace(GUIDED, temperature=1e-2), LEARNED):
        for seed in range(4):
            assert warned(algorithm, data, tmp_path / "run", seed) == set(), (algorithm, seed)


def warned(algorithm: Any, data: Any, out: Path, seed: int = 0) -> set[str]:
    """The rules that a training run breaks."""
    shutil.rmtree(out, ignore_errors=True)
    run = train(algorithm, data, replace(PLAN, seed=seed), out=out).run
    return {each.rule.name for each in diagnostics.warnings(intervals.read(run.metrics), [seed])}
