"""Studies that train: tiny runs carried out here, a game for a simulator, and a table, JSON and picture of each."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_data import line
from tiny_environment import Peaceful

from guidedflow import studies
from guidedflow.algorithms import GFP
from guidedflow.algorithms.parts import distillation
from guidedflow.cli import main
from guidedflow.data.convert import convert
from guidedflow.environments.vector import Simulators
from guidedflow.environments.wrappers import Repeatable
from guidedflow.errors import InputError
from guidedflow.settings import RANGES
from guidedflow.studies import probes
from guidedflow.studies.alpha import Alpha
from guidedflow.studies.components import Components
from guidedflow.studies.critic import Critic
from guidedflow.studies.disturbed import disturbed
from guidedflow.studies.experiment import Cell, Setup
from guidedflow.studies.finding import Finding
from guidedflow.studies.quality import TUNED, Quality
from guidedflow.studies.returns import visited
from guidedflow.studies.shift import Shift
from guidedflow.studies.signature import possible_values, signature
from guidedflow.studies.sparse import Sparse, thinned
from guidedflow.studies.stability import Stability
from guidedflow.studies.temperature import Temperature
from guidedflow.sweeps import packs
from guidedflow.sweeps.driver import Ended, sweep
from guidedflow.sweeps.grid import Planned
from guidedflow.sweeps.left import Judging
from guidedflow.sweeps.packs import Outcome, Pack
from guidedflow.training.plan import Plan

TASK = "line"
Conducted = Callable[..., Finding]


class Here:
    """Carries packs out in this process."""

    workers = 1

    def __call__(self, found: Sequence[Pack], report: Callable[[Outcome], None], watch: Callable[[int], None]) -> None:
        for pack in found:
            for outcome in packs.carry_out(pack, together=False):
                report(outcome)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(line(), tmp_path_factory.mktemp("data") / "line.npz")


@pytest.fixture
def setup(tmp_path: Path, data: Path) -> Setup:
    plan = Plan(steps=2, seeds=1, batch_size=4, log_interval=1, eval_episodes=4)
    return Setup(TASK, plan, str(data), hidden=(8,), states=16, runs=tmp_path / "runs")


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    """The game in the place of the task's simulator."""

    def simulators(*arguments: Any, **more: Any) -> Simulators:
        return Simulators(partial(Peaceful, 6), 2, 1)

    for room in ("sweeps.packs", "studies"):
        monkeypatch.setattr(f"guidedflow.{room}.open_simulators", simulators)
    monkeypatch.setattr("guidedflow.environments.known", lambda task: True)
    monkeypatch.setattr("guidedflow.environments.task_ids", lambda task: ())
    monkeypatch.setattr("guidedflow.environments.describe", lambda task: {})
    monkeypatch.setattr("guidedflow.environments.make", lambda task, **how: Repeatable(Peaceful(6)))
    monkeypatch.setattr("guidedflow.sweeps.grid.open_dataset", lambda *_, **__: line())
    monkeypatch.setattr("guidedflow.training.member.at_home", lambda task: False)


def conduct(study: Any, setup: Setup) -> Finding:
    """What a study finds, whose JSON and picture are there."""

    def carry_out(runs: Sequence[Planned], judging: Judging) -> Ended:
        return sweep(runs, judging, Here())

    finding, picture = studies.conduct_experiment(study, setup, carry_out)
    assert picture.read_bytes()[:4] == b"\x89PNG"
    told = json.loads(picture.with_suffix(".json").read_text())
    assert told["study"] == studies.name_of(study)
    assert told["rows"] == json.loads(json.dumps(list(finding.rows)))
    assert finding.table().row_count == len(finding.rows)
    return finding


@pytest.mark.slow
def test_alpha_and_a_second_time_trains_nothing(setup: Setup) -> None:
    finding = conduct(Alpha(alphas=(0.1, 10.0)), setup)
    assert [row["alpha"] for row in finding.rows] == [0.1, 10.0]
    for row in finding.rows:
        assert row["distance"] > 0
        assert row["q"] != 0
        assert row["success"] is None  # no simulator, which this study does not need
    again, _ = studies.conduct_experiment(
        Alpha(alphas=(0.1, 10.0)), setup, lambda runs, judging: sweep(runs, judging, _never)
    )
    assert again.rows == finding.rows


def _never(*_: Any) -> None:
    raise AssertionError("a run was trained twice")


_never.workers = 1  # type: ignore[attr-defined]


@pytest.mark.slow
def test_temperature_zero_clones_everything_and_shares_fall_with_delta(setup: Setup) -> None:
    finding = conduct(Temperature(temperatures=(0.0, 0.1), deltas=(0.01, 0.5, 0.99)), setup)
    all_of_it, some = finding.rows
    assert [all_of_it[name] for name in ("g>0.01", "g>0.5", "g>0.99", "g")] == [1, 1, 1, 1]
    assert all_of_it["signature"] == "g is 1"
    assert 1 >= some["g>0.01"] >= some["g>0.5"] >= some["g>0.99"] >= 0


@pytest.mark.slow
def test_the_weights_are_those_that_an_update_clones_by() -> None:
    algorithm = GFP(hidden=(8,), flow_steps=2, temperature=0.1)
    transitions = line().cut()
    batch = transitions.sample(jax.random.key(0), 8)
    state = algorithm.init(transitions.example(), jax.random.key(1))
    key = jax.random.key(2)
    _, metrics = algorithm.step(state, batch, distillation.draw(batch, key))
    assert float(jnp.mean(probes.weights(algorithm, state, batch, key))) == pytest.approx(
        float(metrics["weight"]), abs=1e-5
    )


@pytest.mark.slow
def test_components_share_the_full_run_and_report_intervals(setup: Setup, played: None) -> None:
    finding = conduct(Components(), setup)
    rows = {row["form"]: row for row in finding.rows}
    assert len(rows) == 8
    for name in ("distance", "q", "g"):
        assert rows["GFP"][name] == rows["without distillation"][name]
    assert rows["g = 1"]["g"] == 1
    for row in finding.rows:
        assert 0 <= row["low"] <= row["success"] <= row["high"] <= 1
    assert len(list(setup.runs.glob("form=*"))) == 7


@pytest.mark.slow
def test_a_form_whose_loss_is_no_longer_finite_is_a_row_and_not_an_end(setup: Setup) -> None:
    study = Stability(alphas=(0.1, 1e38), temperatures=(1e-3,))
    plan = Plan(steps=4, batch_size=4, log_interval=1)
    finding = conduct(study, Setup(TASK, plan, setup.dataset, (8,), 16, setup.runs))
    good, bad = finding.rows
    assert good["failed"] is None
    assert (bad["signature"], bad["q"]) == ("diverged", None)


@pytest.mark.slow
def test_sparse_rewards_and_what_helps(setup: Setup) -> None:
    finding = conduct(Sparse(every=(3,), span=2), setup)
    assert [(row["rewards"], row["learns"]) for row in finding.rows] == [
        (rewards, learns)
        for rewards in ("as recorded", "every 3th", "at success")
        for learns in ("one step", "2-step returns", "chunks of 2")
    ]
    assert all(0 <= row["undecided"] <= 1 for row in finding.rows)


def test_thinned_rewards_are_those_of_every_third_step_of_an_episode() -> None:
    data = line(episodes=2, length=7)
    kept = thinned(data, 3).reshape(2, 8)
    wanted = data.rewards.reshape(2, 8)
    np.testing.assert_array_equal(kept[:, [2, 5]], wanted[:, [2, 5]])
    assert np.count_nonzero(kept) == 4


@pytest.mark.slow
def test_shift_has_a_row_for_each_checkpoint_and_part(setup: Setup, played: None) -> None:
    finding = conduct(Shift(points=2, neighbours=3), setup)
    assert [(row["step"], row["part"]) for row in finding.rows] == [(s, p) for s in (1, 2) for p in (1, 2, 3)]
    for row in finding.rows:
        assert row["overestimation"] == pytest.approx(row["claimed"] - row["earned"])
    for step in (1, 2):
        assert np.all(np.diff([row["to_data"] for row in finding.of(step=step)]) >= 0)


def steady(observation: Any, key: Any) -> Any:
    """Always the same action."""
    return jnp.full(2, 0.5) + 0 * observation[0]


def test_the_return_of_an_episode_that_is_cut_off_goes_on_with_its_last_reward(played: None) -> None:
    found = visited(steady, TASK, 6, discount=0.5)
    lengths = np.diff([*np.flatnonzero(found.observations[:, 1] == 0), len(found.returns)])
    assert (lengths > 0).all()
    end = 0
    for length in lengths:  # a reward of 1/4 each step; the game is cut off after an odd number of steps
        begin, end = end, end + length
        whole = 0.25 * (1 - 0.5**length) / 0.5 if length % 2 == 0 else 0.25 / 0.5
        assert found.returns[begin] == pytest.approx(whole, rel=1e-5)


@pytest.mark.slow
def test_critics_of_every_grade_and_what_is_gained(setup: Setup, played: None) -> None:
    study = Critic(early=(0.5,), small=(4,), few=(0.5,), noise=(2.0,))
    finding = conduct(study, setup)
    names = ["full", "early 0.5", "small 4", "few 0.5"]
    assert [(row["critic"], row["method"]) for row in finding.rows] == [
        *((name, method) for method in ("qgf", "gfp") for name in names),
        ("noise 2", "qgf"),
    ]
    assert finding.rows[0]["accuracy"] == pytest.approx(1)
    assert finding.rows[-1]["accuracy"] < 0.99
    for row in finding.rows:
        assert row["gain"] == pytest.approx(row["reached"] - row["clone"])


def test_noise_on_a_critic_has_the_size_that_it_says() -> None:
    algorithm = GFP(hidden=(8,), flow_steps=2)
    transitions = line(40).cut()
    batch = transitions.sample(jax.random.key(0), 512)
    state = algorithm.init(transitions.example(), jax.random.key(1))
    drawn = np.random.default_rng(0)  # a new critic's values are nearly constant
    other = jax.tree.map(
        lambda leaf: leaf + jnp.asarray(drawn.normal(size=leaf.shape), leaf.dtype), state.target_critic
    )
    policy = algorithm.policies(state._replace(target_critic=other))["flow"]
    clean, noisy = (
        np.asarray(probes.values(each, batch, batch.action)) for each in (policy, disturbed(policy, batch, 2.0))
    )
    assert np.std(noisy - clean) / np.std(clean) == pytest.approx(2.0, rel=0.25)


@pytest.mark.slow
def test_quality_tunes_alike_and_reports_on_other_seeds(setup: Setup, played: None, data: Path) -> None:
    study = Quality(shares=(0.1, 0.9), data=(str(data), str(data)), methods=("gfp", "bc"), tuning_episodes=2)
    finding = conduct(study, setup)
    assert [(row["share"], row["method"]) for row in finding.rows] == [
        (share, method) for share in (0.1, 0.9) for method in ("gfp", "bc")
    ]
    assert {row["chosen"] for row in finding.of(method="gfp")} <= {"alpha=auto", "alpha=0.3", "alpha=3"}
    assert {row["chosen"] for row in finding.of(method="bc")} == {"-"}
    tried = {path.name for path in (setup.runs / "tuning").glob("*/tuning/*/seed-*")}
    assert tried == {"seed-100"}


def test_every_method_of_the_quality_study_has_as_many_values() -> None:
    assert {len(stage[1]) for stage in TUNED.values() if stage is not None} == {3}
    for stage in filter(None, TUNED.values()):
        low, high = RANGES[stage[0]]
        assert all(value == "auto" or low <= value <= high for value in stage[1])


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"failed": "Training stopped: q is no longer finite"}, "diverged"),
        ({"failed": "the disk is full"}, "failed"),
        ({"g": 0.5, "q_outside": 0.2, "distance": 0.1, "diversity": 0.2}, "runaway Q"),
        ({"g": 0.001, "q_outside": 0.0, "distance": 0.1, "diversity": 0.2}, "g is 0"),
        ({"g": 0.999, "q_outside": 0.0, "distance": 0.1, "diversity": 0.2}, "g is 1"),
        ({"g": 0.5, "q_outside": 0.0, "distance": 0.3, "diversity": 0.2}, "actor off"),
        ({"g": 0.5, "q_outside": 0.0, "distance": 0.1, "diversity": 0.2}, ""),
        ({"share": 0.5}, None),
    ],
)
def test_signatures(row: dict[str, Any], expected: str | None) -> None:
    assert signature({"failed": None, **row}) == expected


def test_possible_values_are_the_largest_and_smallest_discounted_sums() -> None:
    assert possible_values(np.array([-1.0, 0.0]), 0.9) == pytest.approx((-10.0, 0.0))
    assert possible_values(np.array([1.0, 2.0]), 0.5) == pytest.approx((0.0, 4.0))


@pytest.mark.parametrize("study", [Quality(), Shift(), Critic()])
def test_without_a_simulator_where_one_is_needed(study: Any, setup: Setup) -> None:
    with pytest.raises(InputError, match="has no simulator here"):
        conduct(study, setup)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("alpha --alphas -1", "alphas must be at least 0"),
        ("temperature --deltas 0.5 1.5", "deltas must be between 0 and 1"),
        ("sparse --every 1", "every must be at least 2"),
        ("quality --shares 0.5 --task cube-single-noisy-singletask-task1-v0 --methods gpf", "did you mean 'gfp'?"),
        ("quality --shares 1.5 --task cube-single-noisy-singletask-task1-v0", "shares must be between 0 and 1"),
        ("quality --shares 0.1 0.9 --data a.npz --task cube-single-noisy-singletask-task1-v0", "a file for each share"),
        ("shift --chunk --horizon 5 --task cube-single-noisy-singletask-task1-v0", "leave --chunk out"),
        ("alpha --states 0", "states must be at least 1"),
        ("alpha", "there is no file or folder nothing.npz"),
    ],
)
def test_bad_input_is_one_sentence(
    words: str, sentence: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *rest = words.split()
    task = [] if "--task" in rest else ["--task", TASK if rest else "nothing.npz"]
    with pytest.raises(SystemExit) as left:
        main(["study", name, *rest, *task, "--runs", str(tmp_path)])
    assert left.value.code == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.startswith("guidedflow: ")


def test_cells_of_one_folder_share_their_runs(setup: Setup) -> None:
    one, other = Cell({"form": "a"}, GFP()), Cell({"form": "b"}, GFP(), policy="flow", run="form=a")
    assert [run.out for run in one.planned(setup)] == [run.out for run in other.planned(setup)]
    assert one.planned(setup)[0].out == setup.runs / "form=a" / "seed-0"
