"""Runs are judged on held-out episodes, as they see them, beside what a simulator measured."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_data import episodes, line

from guidedflow.algorithms import BC, QGF
from guidedflow.cli import main
from guidedflow.data.dataset import Dataset
from guidedflow.errors import InputError
from guidedflow.evaluation.off_policy import Judge, Judgement
from guidedflow.flows.guidance import DenoisedGradient
from guidedflow.flows.sampling import Sampler
from guidedflow.results import rows
from guidedflow.results.confidence import Interval
from guidedflow.results.ranking import agreement
from guidedflow.runs.held_out import HeldOut, recorded
from guidedflow.runs.judged import Judged, Panel, Simulated, agree, simulated
from guidedflow.runs.trained import Trained
from guidedflow.training.loop import train
from guidedflow.training.plan import Plan

PLAN = Plan(steps=2, batch_size=4, log_interval=2)
QUICK = Judge(2, 3, 30, (4,), batch_size=4, draws=1)
HELD_OUT = line(seed=1)


@pytest.fixture(scope="module")
def qgf(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    out = tmp_path_factory.mktemp("runs") / "qgf"
    return train(QGF(hidden=(4,), flow_steps=2), line(), replace(PLAN, seeds=2), out=out)


def opened(monkeypatch: pytest.MonkeyPatch, dataset: Dataset) -> list[int]:
    """Let runs open this dataset; the list grows each time one does."""
    times: list[int] = []
    monkeypatch.setattr("guidedflow.runs.source.open_dataset", lambda *_, **__: times.append(0) or dataset)
    return times


def outcomes(trained: Trained, weight: float, success: float) -> None:
    """Rows of a guided flow that was rolled out."""
    columns = trained.steered("flow", Sampler(2, DenoisedGradient(weight))).columns()
    shared: dict[str, Any] = {"task": "line", "policy": "flow", "step": 2, "seed": 0, "return": 0.0, "length": 1}
    row = rows.episode(**shared, **columns, episode=0, episode_seed=0, success=success, source="evaluate")
    rows.append(trained.run.evaluations, [row])


def test_transitions_are_drawn_once_and_every_episode_keeps_its_beginning() -> None:
    data = episodes([4, 3, 5])
    found = recorded(data.cut(0.5), replace(QUICK, transitions=6))
    assert found.first_observations.tolist() == [[0, 0], [1, 0], [2, 0]]
    assert found.actions.shape == (6, 1)
    assert (found.observations[:, 0] == found.episodes).all()
    again = recorded(data.cut(0.5), replace(QUICK, transitions=6))
    assert (found.actions == again.actions).all()
    assert len(np.unique(found.actions)) == 6
    # Rewards are -row, masks 0 in every third row, where a return ends: -0, -1 - 2 / 2 - 0 and so on.
    whole = recorded(data.cut(0.5), QUICK)
    assert len(whole.rewards) == 12
    assert whole.returns.tolist() == [-0.0, -5 - 0.5 * 6, -9.0]
    chunks = recorded(data.cut(0.5, horizon=2, chunk=True), QUICK)
    assert chunks.actions.shape == (3 + 2 + 4, 2)


@pytest.mark.slow
def test_a_run_is_judged_under_each_weight_beside_the_simulator(qgf: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    times = opened(monkeypatch, HELD_OUT)
    panel = Panel(QUICK)
    policies: Mapping[float | None, Any] = {w: qgf.steered("flow", Sampler(2, DenoisedGradient(w))) for w in (0.0, 1.0)}
    outcomes(qgf, 1.0, 1.0)
    found = panel(qgf, "flow", policies)
    again = panel(qgf, "flow", policies)
    assert [each.plain() for each in found] == [each.plain() for each in again]
    assert len(times) == 1
    assert [each.weight for each in found] == [0.0, 1.0]
    assert [each.simulated and each.simulated.mean for each in found] == [None, 1.0]
    assert found[0].seeds == 2
    assert not found[0].seen
    assert {"critic_loss", "flow_loss"} <= found[0].losses.keys()
    assert all(np.isfinite(loss) for loss in found[0].losses.values())
    assert simulated(qgf, "guided", policies[1.0]) is None
    assert set(agree(found).values()) == {None}  # of one policy that was measured
    told = panel.recorded()
    assert told["episodes"] == 6
    assert told["transitions"] == 30
    assert json.dumps([each.plain() for each in found], allow_nan=False)


def test_episodes_that_were_trained_on_are_named(qgf: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(monkeypatch, line())
    assert HeldOut.open(qgf, QUICK).seen_by(qgf)


def test_what_cannot_be_judged_is_one_sentence(qgf: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(monkeypatch, line().with_goals(True))
    with pytest.raises(InputError, match="is goal-conditioned, so its rewards depend on goals"):
        HeldOut.open(qgf, QUICK)
    opened(monkeypatch, episodes([4, 4]).with_actions(np.zeros((10, 1), np.float32), None))
    with pytest.raises(
        InputError, match=r"observations of shape \(2,\), but .* trained on observations of shape \(3,\)"
    ):
        HeldOut.open(qgf, QUICK)
    opened(monkeypatch, HELD_OUT)
    other = train(BC(hidden=(4,), flow_steps=2), line(), replace(PLAN, discount=0.9), out=tmp_path / "bc")
    panel = Panel(QUICK, importance=True)
    with pytest.raises(InputError, match="Policy 'flow' has no density to weigh recorded actions by"):
        panel(qgf, "flow", {None: qgf.steered("flow")})
    with pytest.raises(InputError, match=r"discount 0.99, .* has 0.9, so their values cannot be ranked"):
        panel(other, "flow", {None: other.steered("flow")})


@pytest.mark.slow
def test_the_command_ranks_runs_and_says_its_limits(
    qgf: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened(monkeypatch, HELD_OUT)
    train(BC(hidden=(4,), components=1), line(), PLAN, out=tmp_path / "bc")
    capsys.readouterr()
    quick = ["--judge-steps", "3", "--judge-members", "2", "--judge-transitions", "30", "--judge-hidden", "4", "--json"]
    main(["evaluate", str(tmp_path), "--off-policy", "--compare", str(qgf.run.path), "--policy", "all", *quick])
    told = json.loads(capsys.readouterr().out)
    near = [each["value"] for each in told["judged"] if each["near"]]
    assert near == sorted(near, reverse=True)
    assert {each["policy"] for each in told["judged"]} >= {"actor", "sampled", "flow"}
    assert told["judge"]["steps"] == 3
    assert "too high" in told["limits"]
    main(["evaluate", f"{tmp_path}/bc", "--off-policy", "--policy", "sampled", "--importance", *quick])
    weighted = json.loads(capsys.readouterr().out)["judged"][0]["importance"]
    assert 1 <= weighted["effective"] <= 6
    main(["evaluate", f"{qgf.run.path}", "--off-policy", "--guidance", "denoised", "--weight", "0", "1", *quick[:-1]])
    table = capsys.readouterr().out
    assert "ranked without a simulator" in table
    assert "recorded actions: value" in table
    for flags, sentence in (
        ("--compare x", "--compare changes nothing without --off-policy"),
        ("--off-policy --video 1", "--video is for the simulator, so it changes nothing with --off-policy"),
        ("--off-policy --importance --policy actor", "Policy 'actor' has no density"),
    ):
        with pytest.raises(SystemExit) as left:
            main(["evaluate", f"{tmp_path}/bc", *flags.split()])
        assert left.value.code == 2
        assert sentence in capsys.readouterr().err


def test_agreement_is_of_values_of_near_ones_and_of_the_ranking_with_far_ones_last(qgf: Trained) -> None:
    interval = Interval(0, 1, 0.95, "made up")

    def made(value: float, distance: float, success: float) -> Judged:
        found = Judgement(value, interval, value, distance, 0.0, ())
        return Judged("run", "flow", None, "", 1, 1, found, False, {}, None, Simulated("success", success, 25))

    near = [made(-10.0 * i, 0.5, 1 - 0.1 * i) for i in range(5)]
    agreed = agree([*near, made(100.0, 1.2, 0.1), made(200.0, 1.3, 0.0)])
    assert agreed["values of near policies"] == agreement([0, -10, -20, -30, -40], [1, 0.9, 0.8, 0.7, 0.6])
    every, ranking = agreed["all values"], agreed["ranking"]
    assert every is not None
    assert ranking is not None
    assert (every.regret, ranking.regret) == (1.0, 0.0)
    assert ranking.spearman == pytest.approx(1)
    assert every.spearman is not None
    assert every.spearman < 0.5
