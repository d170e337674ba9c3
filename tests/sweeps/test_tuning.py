"""Tuning: stages, halving, seeds and episodes that no reported number sees, and the budget."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from guidedflow import environments
from guidedflow.errors import InputError
from guidedflow.evaluation.off_policy import Judge
from guidedflow.evaluation.rollout import SOURCES
from guidedflow.keys import Stream
from guidedflow.recipes.protocols import PROTOCOLS, Protocol, protocol
from guidedflow.results import rows
from guidedflow.sweeps import grid, offline
from guidedflow.sweeps.driver import Ended
from guidedflow.sweeps.grid import Planned
from guidedflow.sweeps.left import Judging
from guidedflow.sweeps.tuning import Halving, Study, check_seeds, tune, winners
from guidedflow.training.plan import Plan

TASK = "cube-single-noisy-singletask-task1-v0"
PLAN = Plan(steps=400, log_interval=100, seeds=3)


def study(out: Path, name: str = "gfp", **changes: Any) -> Study:
    run = grid.expand([TASK], (name,), {}, PLAN, out)[0]
    return Study(replace(run, out=out, plan=PLAN), changes.pop("protocol", PROTOCOLS[name]))


def outcome(run: Planned) -> float:
    """Best at alpha 0.3, then at temperature 1e-2; early on a large alpha seems better."""
    settings = vars(run.algorithm)
    near = {0.3: 0.8, 0.1: 0.5, 1.0: 0.6, 3.0: 0.65 if run.plan.steps < 400 else 0.1}.get(settings["alpha"], 0.0)
    return near + (0.15 if settings["temperature"] == 1e-2 else 0.0)


def pretend(asked: list[tuple[str, int, int]]) -> Any:
    """A sweep that writes the rows of what it would have found."""

    def sweep(runs: Sequence[Planned], judging: Judging) -> Ended:
        for run in runs:
            asked.append((str(run.out), run.plan.seed, run.plan.steps))
            run.out.mkdir(parents=True, exist_ok=True)
            shared: dict[str, Any] = {
                "task": run.task,
                "policy": "actor",
                "step": run.plan.steps,
                "seed": run.plan.seed,
                "length": 1,
            }
            shared |= {"success": outcome(run), "return": 0.0, "source": SOURCES[judging.stream]}
            found = [rows.episode(**shared, episode=i, episode_seed=i) for i in range(judging.episodes)]
            rows.append(run.out / "evaluations.jsonl", found)
        return Ended(len(runs), len(runs), 0, {})

    return sweep


def test_the_best_value_of_each_stage_is_kept_and_bad_ones_stop_early(tmp_path: Path) -> None:
    asked: list[tuple[str, int, int]] = []
    found = study(tmp_path)
    tune([found], Halving(), pretend(asked))
    assert found.chosen == {"temperature": 1e-2, "alpha": 0.3}
    steps = [step for _, _, step in asked]
    # 7 alphas, then the better 4, then 2; 5 temperatures, then 3, then 2; two seeds each.
    assert [steps.count(each) for each in (100, 200, 400)] == [2 * (7 + 5), 2 * (4 + 3), 2 * (2 + 2)]
    assert {seed for _, seed, _ in asked} == {100, 101}
    budget = found.plain()
    assert budget["tried"] == 7 + 5 - 1  # the temperature of the first stage is one of the second's
    assert budget["updates"] == 2 * ((7 + 5) * 100 + (4 + 3) * 100 + (2 + 2) * 200)
    assert budget["episodes"] == 20 * len(asked)
    assert [run.plan.seed for run in winners([found])] == [0, 1, 2]
    assert {vars(run.algorithm)["alpha"] for run in winners([found])} == {0.3}


def test_a_value_whose_run_fails_is_never_chosen(tmp_path: Path) -> None:
    found = study(tmp_path, protocol=Protocol((("alpha", (0.3, 1.0)),)))
    good = pretend([])

    def sweep(runs: Sequence[Planned], judging: Judging) -> Ended:
        return good([run for run in runs if vars(run.algorithm)["alpha"] != 0.3], judging)  # type: ignore[no-any-return]

    tune([found], Halving(), sweep)
    assert found.chosen == {"alpha": 1.0}
    assert None in [each["score"] for each in found.plain()["curve"]]


def test_studies_of_more_and_fewer_stages_run_side_by_side(tmp_path: Path) -> None:
    calls: list[int] = []
    inner = pretend([])

    def sweep(runs: Sequence[Planned], judging: Judging) -> Ended:
        calls.append(len({run.name for run in runs}))
        assert judging.stream is Stream.SELECTION_EPISODES
        return inner(runs, judging)  # type: ignore[no-any-return]

    both = [study(tmp_path / "gfp"), study(tmp_path / "bc", "bc", protocol=Protocol(()))]
    tune(both, Halving(rungs=2), sweep)
    assert calls == [1] * 4
    assert both[1].chosen == {}
    assert both[1].plain()["tried"] == 1


def test_each_task_is_tuned_over_its_own_number_of_updates(tmp_path: Path) -> None:
    asked: list[tuple[str, int, int]] = []
    short, long = study(tmp_path / "short"), study(tmp_path / "long")
    long.base = replace(long.base, plan=replace(long.base.plan, steps=4 * short.base.plan.steps))
    tune([short, long], Halving(seeds=1), pretend(asked))
    assert {step for _, _, step in asked} == {100, 200, 400, 800, 1600}
    assert long.updates == 4 * short.updates
    assert short.chosen == long.chosen


def test_steps_are_halves_and_multiples_of_the_log_interval() -> None:
    assert Halving(rungs=3).steps(Plan(steps=20_000)) == [5_000, 10_000, 20_000]
    assert Halving(rungs=4).steps(Plan(steps=50, log_interval=20)) == [20, 50]
    assert Halving(rungs=1).steps(Plan(steps=300)) == [300]


def test_what_cannot_be_tuned_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no tuning protocol is known for 'lps'; name its settings by --grid"):
        protocol("lps")
    with pytest.raises(InputError, match="seed 101 is both tuned on and reported"):
        check_seeds(Plan(seed=101), Halving())
    mine = study(tmp_path)
    mine.base = replace(mine.base, task="my-arm")
    assert not environments.known("my-arm")
    with pytest.raises(InputError, match="has no simulator here"):
        tune([mine], Halving(), pretend([]))


def test_without_a_simulator_a_criterion_ranks_and_no_episode_is_played(tmp_path: Path) -> None:
    mine = study(tmp_path, protocol=Protocol((("alpha", (0.3, 1.0, 3.0)),)))
    mine.base = replace(mine.base, task="my-arm")
    mine.criterion = {"name": "made up"}
    judged: list[int] = []

    def carry_out(runs: Sequence[Planned], judging: Judging) -> Ended:
        judged.append(judging.episodes)
        return Ended(len(runs), len(runs), 0, {})

    tune([mine], Halving(), carry_out, lambda runs, judging: -abs(vars(runs[0].algorithm)["alpha"] - 1.0))
    assert mine.chosen == {"alpha": 1.0}
    assert set(judged) == {0}
    budget = mine.plain()
    assert (budget["episodes"], budget["tried"], budget["criterion"]["name"]) == (0, 3, "made up")


def test_settings_far_from_the_data_come_last_and_unfinished_runs_after_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The criterion of fitted Q evaluation, with the judge's answers in its place."""
    run = grid.expand([TASK], ("gfp",), {}, PLAN, tmp_path)[0]
    answers = {"near": (-80.0, 0.8), "good": (-60.0, 0.9), "far": (-10.0, 1.1), "farther": (-5.0, 1.3)}

    class Answer:
        def __init__(self, name: str) -> None:
            self.judgement = SimpleNamespace(value=answers[name][0], distance=answers[name][1])
            self.name = name

        def plain(self) -> dict[str, Any]:
            return {"run": self.name, "value": self.judgement.value, "other": 0}

    monkeypatch.setattr(offline.checkpoint, "latest", lambda path: None if "unfinished" in str(path) else PLAN.steps)
    fake = SimpleNamespace(policies=lambda: {"actor": 0}, steered=lambda name: 0)
    monkeypatch.setattr(offline.Trained, "open", lambda out, step: SimpleNamespace(out=out, **vars(fake)))
    monkeypatch.setattr(offline.Panel, "__call__", lambda self, trained, name, policies: [Answer(trained.out.name)])
    criterion = offline.Offline(Judge())
    names = ["near", "unfinished", "farther", "good", "far"]
    scores = {name: criterion([replace(run, out=tmp_path / name)], Judging(0)) for name in names}
    assert sorted(names, key=lambda name: scores[name], reverse=True) == [
        "good",
        "near",
        "far",
        "farther",
        "unfinished",
    ]
    assert scores["good"] == -60
    assert criterion.measured[0] == {"run": "near", "value": -80.0}
    assert "not success" in criterion.plain()["limits"]
