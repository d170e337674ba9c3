"""The studies of a run, end to end: a tiny run, a game in the simulator's place, and costs that can be counted."""

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from tiny_data import line
from tiny_environment import Peaceful
from untaught import begun

from guidedflow import files
from guidedflow.algorithms import BC, CFGRL, FQL, QGF
from guidedflow.cli import main
from guidedflow.environments.vector import Simulators
from guidedflow.errors import InputError
from guidedflow.evaluation.rollout import episode_seeds
from guidedflow.keys import Stream
from guidedflow.studies import OF_RUNS
from guidedflow.studies.clock import operations
from guidedflow.studies.exploitation import Exploitation, nearest
from guidedflow.studies.methods import Methods
from guidedflow.studies.realtime import Realtime
from guidedflow.studies.subject import Subject, first_seed
from guidedflow.studies.width import Width
from guidedflow.training.plan import Plan

PLAN = Plan(steps=2, seeds=2, batch_size=4, log_interval=2)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    out = tmp_path_factory.mktemp("runs") / "qgf"
    return Subject.of(begun(QGF(hidden=(8, 8), flow_steps=2, robust=True), line(), PLAN, out=out), line())


@pytest.fixture
def study(
    subject: Subject, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """A study of the run from the command line; what it prints."""

    def simulators(task: str, workers: int | None, frame_stack: int) -> Simulators:
        return Simulators(partial(Peaceful, 6), 2, 1)

    monkeypatch.setattr("guidedflow.runs.source.open_dataset", lambda *_, **__: line())
    monkeypatch.setattr("guidedflow.studies.weight.open_simulators", simulators)
    monkeypatch.setattr("guidedflow.studies.compute.open_simulators", simulators)
    monkeypatch.setattr("guidedflow.studies.methods.open_simulators", simulators)
    monkeypatch.setattr("guidedflow.studies.critics.open_simulators", simulators)
    monkeypatch.setattr("guidedflow.studies.width.open_simulators", simulators)
    monkeypatch.setattr("guidedflow.environments.describe", lambda task: {})

    def run(name: str, arguments: str) -> dict[str, Any]:
        capsys.readouterr()
        main(["study", name, str(subject.trained.run.path), *arguments.split(), "--json"])
        told: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert told["study"] == name
        assert Path(told["picture"]) == subject.trained.run.path / f"study-{name}.png"
        assert Path(told["picture"]).read_bytes()[:4] == b"\x89PNG"
        return told

    return run


@pytest.mark.slow
def test_sensitivity(study: Callable[..., dict[str, Any]]) -> None:
    rows = study("sensitivity", "--states 16 --sizes 0 1.0")["rows"]
    assert len(rows) == 4 * 2 * 2  # estimators, times, sizes
    assert {row["t"] for row in rows} == {0.0, 0.5}
    for row in rows:
        assert 0 <= row["defined"] <= 1
        if row["estimator"] in ("noisy", "denoised"):
            assert row["defined"] == 1
        if row["cosine"] is not None:
            assert -1.001 <= row["cosine"] <= 1.001
            if row["size"] == 0:
                assert row["cosine"] == pytest.approx(1, abs=1e-3)
    turned = [row["cosine"] for row in rows if row["size"] == 1 and row["estimator"] == "noisy"]
    assert max(turned) < 0.9999


@pytest.mark.slow
def test_exploitation(study: Callable[..., dict[str, Any]]) -> None:
    told = study("exploitation", "--states 32 --weights 0 3 --candidates 8 --neighbours 500")
    rows = {(row["method"], row["weight"]): row for row in told["rows"]}
    assert len(rows) == 3 + 4 * 2
    flow = rows["none", 0]
    for method in ("noisy", "denoised", "jacobian", "rollout"):
        assert rows[method, 0]["value"] == pytest.approx(flow["value"], abs=1e-5)
        assert rows[method, 0]["distance"] == pytest.approx(flow["distance"], abs=1e-5)
    assert rows["denoised", 3]["value"] > flow["value"]
    assert rows["best of N", 0]["value"] > flow["value"]
    assert 0 < rows["data", 0]["distance"] < 0.5
    assert all(row["distance"] >= 0 for row in told["rows"])


def test_the_nearest_observations_are_found_in_units_of_their_spread() -> None:
    points = np.array([[0, 0], [0, 100], [3, 0], [9, 1000]], np.float32)  # 100 is a small step along the second axis
    assert set(nearest(points, points[:1], 2)[0].tolist()) == {0, 1}
    assert set(nearest(points, points[:1], 3)[0].tolist()) == {0, 1, 2}
    assert nearest(points, np.array([[8, 900]], np.float32), 1).tolist() == [[3]]
    assert nearest(points, points[:1], 9).shape == (1, 4)


def test_a_dimension_that_is_constant_does_not_hide_who_is_near() -> None:
    """Neither exactly, nor up to the rounding of a number in single precision."""
    points = np.random.default_rng(0).normal(size=(20_000, 4)).astype(np.float32)
    exact = nearest(points, points[:8], 16)
    for flat in (np.full(len(points), 0.3), 0.3 + 3e-8 * (np.arange(len(points)) % 2)):
        found = nearest(np.column_stack([points, flat.astype(np.float32)]), np.column_stack([points, flat])[:8], 16)
        assert [set(row) for row in found.tolist()] == [set(row) for row in exact.tolist()]


@pytest.mark.slow
def test_exploitation_compares_observations_as_the_policy_sees_them(tmp_path: Path) -> None:
    plan = dataclasses.replace(PLAN, frame_stack=2)
    stacked = Subject.of(begun(QGF(hidden=(8,), flow_steps=2), line(), plan, out=tmp_path / "run"), line())
    rows = Exploitation(weights=(1.0,), candidates=1, states=4, neighbours=3).measure(stacked).rows
    assert all(np.isfinite(row["value"]) for row in rows)


@pytest.mark.slow
def test_weight(study: Callable[..., dict[str, Any]], subject: Subject) -> None:
    files.replace_rows(subject.trained.run.evaluations, [])
    told = study("weight", "--guidance denoised rollout --weights 0 1 30 --episodes 3 --states 8")
    rows = told["rows"]
    assert [(row["guidance"], row["weight"]) for row in rows] == [
        (name, weight) for name in ("denoised", "rollout") for weight in (0, 1, 30)
    ]
    for name in ("denoised", "rollout"):
        mine = [row for row in rows if row["guidance"] == name]
        assert [sum(row[choice] for row in mine) for choice in ("by_dataset", "by_episodes")] == [1, 1]
        best = max(mine, key=lambda row: (row["success"], -row["weight"]))
        assert best["by_episodes"]
    written = files.read_rows(subject.trained.run.evaluations)
    assert len(written) == 2 * 3 * 3 * 2
    assert {row["source"].split()[0] for row in written} == {"selection"}
    reported = set(episode_seeds(0, Stream.REPORTING_EPISODES, 50))
    assert not reported & {row["episode_seed"] for row in written}


@pytest.mark.slow
def test_compute(study: Callable[..., dict[str, Any]], subject: Subject) -> None:
    files.replace_rows(subject.trained.run.evaluations, [])
    told = study("compute", "--candidates 1 4 --episodes 2 --repeats 2 --states 8")
    assert told["weight_from"] == "dataset"
    rows = told["rows"]
    names = [("best of N", 1), ("best of N", 4), ("denoised", 1), ("denoised + best of N", 4)]
    assert [(row["method"], row["candidates"]) for row in rows] == names
    one, four, guided, both = (row["gflop"] for row in rows)
    assert four > 3.5 * one
    assert both > 3.5 * guided > 3.5 * one
    assert all(row["ms_batch_1"] > 0 and row["ms_batch_256"] > 0 for row in rows)
    written = files.read_rows(subject.trained.run.evaluations)
    assert {row["source"].split()[0] for row in written} == {"evaluate"}
    assert {row["episode_seed"] for row in written} == set(episode_seeds(0, Stream.REPORTING_EPISODES, 2))


@pytest.mark.slow
def test_methods(study: Callable[..., dict[str, Any]], subject: Subject) -> None:
    files.replace_rows(subject.trained.run.evaluations, [])
    sizes = "--weights 0 3 --refine-sizes 0.1 --candidates 2 --select-episodes 2 --episodes 2 --states 8"
    told = study("methods", sizes)
    rows = {row["method"]: row for row in told["rows"]}
    assert list(rows) == [
        "flow (BC)", "best of 2 (BFN)", "noisy (QFQL)", "rollout (BPTT)", "Jacobian", "denoised (QGF)",
        "denoised (QGF), weight from the data", "denoised, normalised", "denoised (QGF) + best of 2", "GradStep",
        "GradStep by sign", "RobustQ",
    ]  # fmt: skip
    assert rows["flow (BC)"]["weight"] is None
    assert rows["GradStep"]["weight"] == 0.1
    written = files.read_rows(subject.trained.run.evaluations)
    chosen, reported = (
        {row["episode_seed"] for row in written if row["source"].startswith(s)} for s in ("selection", "evaluate")
    )
    assert chosen == set(episode_seeds(0, Stream.SELECTION_EPISODES, 2))
    assert reported == set(episode_seeds(0, Stream.REPORTING_EPISODES, 2))
    assert len([row for row in written if row["source"].startswith("evaluate")]) == 2 * 2 * len(rows)
    assert {(row["policy"], row["source"].split()[0]) for row in written if row["policy"] == "robust"} == {
        ("robust", "selection"), ("robust", "evaluate")
    }  # fmt: skip
    for row in rows.values():
        assert row["success"] == pytest.approx(np.mean(row["seeds"]))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of another method, with networks of twice the width."""
    out = tmp_path_factory.mktemp("runs") / "fql"
    return begun(FQL(hidden=(16, 16), flow_steps=2), line(), PLAN, out=out).run.path


@pytest.mark.slow
def test_critics(study: Callable[..., dict[str, Any]], subject: Subject, other: Path) -> None:
    files.replace_rows(subject.trained.run.evaluations, [])
    told = study("critics", f"--critic-from {other} --weights 0 3 --rho 1 --select-episodes 2 --episodes 2")
    own, theirs = str(subject.trained.run.path), str(other)
    assert [(row["critic"], row["method"], row["aggregate"]) for row in told["rows"]] == [
        (None, None, None), (own, "QGF", "own"), (own, "QGF", "mean - 1 std"), (theirs, "FQL", "own"),
        (theirs, "FQL", "mean - 1 std"),
    ]  # fmt: skip
    assert all(row["weight"] in (0, 3) for row in told["rows"][1:])
    written = files.read_rows(subject.trained.run.evaluations)
    reported = [row for row in written if row["source"].startswith("evaluate")]
    assert len(reported) == 5 * 2 * 2
    assert {row["critic_run"] for row in reported} == {None, own, theirs}
    assert not {row["episode_seed"] for row in reported} & {
        row["episode_seed"] for row in written if row["source"].startswith("selection")
    }


@pytest.mark.slow
def test_width(study: Callable[..., dict[str, Any]], other: Path) -> None:
    rows = study("width", f"--beside {other} --episodes 2 --repeats 2")["rows"]
    assert [(row["method"], row["width"]) for row in rows] == [("QGF", 8), ("FQL", 16)]
    assert all(row["ms"] > 0 and row["parameters"] > 0 for row in rows)


@pytest.fixture(scope="module")
def planning(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A run whose actions are chunks of three steps."""
    plan, out = dataclasses.replace(PLAN, horizon=3, chunk=True), tmp_path_factory.mktemp("runs") / "chunks"
    return Subject.of(begun(QGF(hidden=(8,), flow_steps=4), line(), plan, out=out), line())


@pytest.mark.slow
def test_realtime(planning: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same episodes with and without the pull, which makes the jumps between chunks smaller."""

    def simulators(task: str, workers: int | None, frame_stack: int) -> Simulators:
        return Simulators(partial(Peaceful, 12), 2, 1)

    monkeypatch.setattr("guidedflow.studies.realtime.open_simulators", simulators)
    monkeypatch.setattr("guidedflow.environments.describe", lambda task: {})
    study = Realtime(delay=(0, 1), episodes=4)
    finding = study.measure(planning)
    assert finding.notes["replan"] == 2
    ways = [(row["delay"], row["chunking"]) for row in finding.rows]
    assert ways == [(0, "plain"), (0, "real-time"), (1, "plain"), (1, "real-time")]
    plain, pulled = finding.of(delay=1)
    assert pulled["jump"] < plain["jump"]
    assert study.draw(finding).axes[0].get_ylabel() == "jump between chunks"
    written = files.read_rows(planning.trained.run.evaluations)
    assert len({row["episode_seed"] for row in written}) == 4
    assert len(written) == 4 * 4 * 2


@pytest.mark.parametrize(
    ("study", "sentence"),
    [
        (Realtime(delay=(2,)), "--delay is 2, but a chunk of 3 steps that is requested anew after 3 leaves at most 0"),
        (Realtime(delay=(0,), replan=4), "can be asked anew after 1 to 3 of them, not 4"),
        (Realtime(delay=(-1,)), "delay must be at least 0"),
        (Realtime(guidance="wild"), "--guidance is 'wild'"),
    ],
)
def test_a_pace_that_chunks_cannot_keep_is_refused(
    study: Realtime, sentence: str, planning: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guidedflow.studies.realtime.open_simulators", lambda *_, **__: Simulators(Peaceful, 1, 1))
    with pytest.raises(InputError, match=sentence):
        study.measure(planning)


def test_a_run_that_plans_one_step_has_no_chunks_to_compare(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guidedflow.studies.realtime.open_simulators", lambda *_, **__: Simulators(Peaceful, 1, 1))
    with pytest.raises(InputError, match="plans one step at a time, so no chunk gives way"):
        Realtime().measure(subject)


def test_runs_of_other_lengths_are_not_compared_by_width(subject: Subject, tmp_path: Path) -> None:
    plan = dataclasses.replace(PLAN, steps=1, log_interval=1)
    shorter = begun(BC(hidden=(4,), flow_steps=1), line(), plan, out=tmp_path / "bc").run.path
    with pytest.raises(InputError, match=r"at step 1, but .* at step 2; compare runs of the same task and number of"):
        Width(beside=(str(shorter),)).measure(subject)


def test_methods_with_variants(subject: Subject) -> None:
    """What is listed; the controls have no weight of their own. A run of FQL has the distilled variants besides."""
    study = Methods(weights=(0.1,), variants=True)
    names = set(study._ways(subject))
    assert names - set(Methods()._ways(subject)) == {
        "chain", "Jacobian, smoothed", "Jacobian, orthogonalised", "Jacobian, regularised",
        "denoised, matched (QPILOTS)", "denoised (QGF), weight 1 - t", "denoised (QGF), weight (1 - t) / t",
        "Jacobian, weight 1 - t", "Jacobian, weight (1 - t) / t",
    }  # fmt: skip
    controls = study._controls(subject, 0.3)
    assert {name: weight for name, (weight, _) in controls.items()} == {
        "denoised, normalised, negated critic": 0.3, "denoised, normalised, random critic": 0.3
    }  # fmt: skip
    assert [policy.columns()["value"] for _, policy in controls.values()] == ["negated", "random"]


@pytest.mark.slow
def test_the_condition_of_a_flow_is_a_method_of_its_own(subject: Subject, tmp_path: Path) -> None:
    cfgrl = begun(CFGRL(hidden=(8,), flow_steps=2), line(), PLAN, out=tmp_path / "cfgrl")
    ways = Methods(conditions=(1.0, 3.0))._ways(Subject.of(cfgrl, line()))
    assert {name: list(policies) for name, policies in ways.items()} == {"condition (CFGRL)": [1.0, 3.0]}


def test_operations_are_those_of_every_step_of_the_flow(subject: Subject) -> None:
    """Their matrix products are counted by hand; the rest are activations and norms."""
    policy = first_seed(subject.base)
    found = operations(policy, jnp.zeros(3))
    assert found is not None
    inputs = 3 + 2 + policy.flow.embedding.size
    products = inputs * 8 + 8 * 8 + 8 * 2
    by_hand = 2 * policy.sampler.steps * products
    assert by_hand < found < 4 * by_hand


def test_a_run_without_a_flow_and_a_critic_is_refused(tmp_path: Path, subject: Subject) -> None:
    bc = begun(BC(hidden=(4,), flow_steps=1), line(), PLAN, out=tmp_path / "bc")
    with pytest.raises(InputError, match="no flow with a critic beside it"):
        Subject.of(bc, line())
    with pytest.raises(InputError, match="has no policy 'actor'"):
        Subject.of(subject.trained, line(), "actor")


def test_a_list_with_nothing_in_it_is_refused_before_anything_is_measured(subject: Subject) -> None:
    for cls in OF_RUNS.values():
        for field in dataclasses.fields(cls):
            if isinstance(field.default, tuple):
                given = {each.name: ("run",) for each in dataclasses.fields(cls) if each.default == ()}
                with pytest.raises(InputError, match=rf"^{field.name.replace('_', '-')} must have at least one value"):
                    cls(**{**given, field.name: ()}).measure(subject)
