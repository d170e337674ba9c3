"""A goal-conditioned run, from its dataset's name to the success in each of its five tasks."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_data import line
from tiny_environment import Destination, destination

from guidedflow import environments
from guidedflow.algorithms import BC, QGF
from guidedflow.cli import main
from guidedflow.data.dataset import Dataset
from guidedflow.data.sampling.goals import GoalSampling
from guidedflow.environments.vector import Simulators
from guidedflow.errors import InputError
from guidedflow.evaluation.rollout import evaluate
from guidedflow.runs.trained import Trained
from guidedflow.studies.exploitation import Exploitation
from guidedflow.studies.subject import Subject
from guidedflow.training import loop as training
from guidedflow.training.loop import train
from guidedflow.training.plan import Plan

NAME = "pointmaze-medium-navigate-v0"
"""Says that a run is goal-conditioned; a game is in its simulator's place."""

PLAN = Plan(steps=4, batch_size=8, log_interval=2)


class Walk(eqx.Module):
    """Walks to its goal, as fast as `speed` says."""

    speed: jax.Array

    def __call__(self, observation: jax.Array, key: jax.Array) -> jax.Array:
        return jnp.clip(self.speed * (observation[3:5] - observation[:2]), -1, 1)


def goal_line() -> Dataset:
    dataset = line()
    return dataclasses.replace(dataset, name=NAME, goals=dataset.observations)


@pytest.fixture(scope="module")
def simulators() -> Any:
    with Simulators(destination, 4, 1) as simulators:
        yield simulators


def test_each_task_has_its_own_episodes_and_its_own_goal(simulators: Simulators) -> None:
    def rollout(*speeds: float) -> Any:
        policy = Walk(jnp.array(speeds))
        return evaluate(policy, simulators, task=NAME, seeds=range(len(speeds)), episodes=3, task_ids=(1, 3, 5))

    evaluation = rollout(2.0, 0.0)
    found = [(row["task"], row["task_id"], row["seed"], row["episode"]) for row in evaluation.rows]
    assert found == [(NAME, task, seed, episode) for task in (1, 3, 5) for seed in (0, 1) for episode in range(3)]
    assert len({row["episode_seed"] for row in evaluation.rows}) == 3
    summary = evaluation.summary()
    assert (summary["task_ids"], summary["success_by_task"]) == ([1, 3, 5], [0.5, 0.5, 0.5])
    assert (summary["success"], summary["success_mean"], summary["episodes"]) == ([1.0, 0.0], 0.5, 9)
    lengths = {task: [row["length"] for row in evaluation.rows if row["task_id"] == task] for task in (1, 3)}
    assert max(lengths[3][:3]) < min(lengths[1][:3])
    assert rollout(2.0, 0.0) == evaluation
    assert "task_ids" not in evaluate(Walk(jnp.ones(1)), simulators, task=NAME, seeds=[0], episodes=2).summary()


def test_a_policy_that_is_shown_no_goal_reaches_one_task_of_five(simulators: Simulators) -> None:
    right = jax.tree_util.Partial(lambda table, observation, key: table, jnp.array([[1.0, 0.0]]))
    tasks = (1, 2, 3, 4, 5)
    summary = evaluate(right, simulators, task=NAME, seeds=[0], episodes=2, task_ids=tasks).summary()
    assert summary["success_by_task"] == [0, 0, 1, 1, 1]  # those on its way
    summary = evaluate(Walk(jnp.full(1, 2.0)), simulators, task=NAME, seeds=[0], episodes=2, task_ids=tasks).summary()
    assert summary["success_by_task"] == [1] * 5


def test_the_goal_stands_behind_every_observation_and_a_seed_repeats_it() -> None:
    env = destination()
    assert env.observation_space.shape == (6,)
    for task, place in enumerate(Destination.places, start=1):
        first, _ = env.reset(seed=3, options={"task_id": task})
        np.testing.assert_array_equal(first[3:], [place, 0, 0])
        after = env.step(np.array([1.0, 0.0], np.float32))[0]
        np.testing.assert_allclose(after, first + np.array([0.25, 0, 0, 0, 0, 0]))
    drawn = [env.reset(seed=seed)[0] for seed in (1, 2, 3, 4, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[4])
    assert len({frame[3] for frame in drawn}) > 1


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was evaluated while it trained."""
    out = tmp_path_factory.mktemp("goals") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "open_simulators", lambda *task, **how: Simulators(destination, 4, 1))
        plan = dataclasses.replace(PLAN, eval_interval=4, eval_episodes=1, goals=GoalSampling(0.1, 0.6, 0.3))
        train(QGF(hidden=(4,), flow_steps=2), goal_line(), plan, out=out)
    return out


def test_a_run_records_its_rule_of_goals_and_its_episodes_name_their_task(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    assert config["goals"] == dataclasses.asdict(GoalSampling(0.1, 0.6, 0.3))
    assert config["transition"]["observation_shape"] == [6]
    rows = [json.loads(row) for row in (run / "evaluations.jsonl").read_text().splitlines()]
    assert [row["task_id"] for row in rows if row["policy"] == "guided"] == [1, 2, 3, 4, 5]
    policy = Trained.open(run).policy("flow")
    assert policy.observation_shape == (6,)


def test_an_evaluation_tells_success_in_each_task(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guidedflow.cli.evaluate.open_simulators", lambda *task, **how: Simulators(destination, 4, 1))
    monkeypatch.setattr("guidedflow.environments.describe", lambda task: {})
    monkeypatch.setattr("guidedflow.runs.source.open_dataset", lambda *_, **__: goal_line())
    main(f"evaluate {run} --episodes 2 --guidance denoised --weight 1 --select-offline --json".split())
    told = json.loads(capsys.readouterr().out)
    assert (told["task_ids"], told["episodes"]) == ([1, 2, 3, 4, 5], 10)
    assert told["success_mean"] == pytest.approx(np.mean(told["success_by_task"]))
    assert told["selection"]["dataset"]["chosen"] == told["weight"]


@pytest.mark.slow
def test_a_study_sees_the_goals_of_the_policy(run: Path) -> None:
    subject = Subject.of(Trained.open(run), goal_line())
    drawn = subject.draw(64, 0)
    assert drawn.actor_observation is not None
    np.testing.assert_array_equal(drawn.observation, drawn.actor_observation)
    with pytest.raises(InputError, match="was told goals, and what was done near a state depends on these"):
        Exploitation().measure(subject)


def test_a_resumed_run_equals_an_undisturbed_one_and_another_rule_is_another_run(tmp_path: Path) -> None:
    algorithm = BC(hidden=(4,), flow_steps=2)
    whole = train(algorithm, goal_line(), PLAN, out=tmp_path / "whole").state
    train(algorithm, goal_line(), dataclasses.replace(PLAN, steps=2), out=tmp_path / "pieces")
    with pytest.warns(UserWarning, match="steps"):
        pieces = train(algorithm, goal_line(), PLAN, out=tmp_path / "pieces", resume=True).state
    jax.tree.map(np.testing.assert_array_equal, whole, pieces)
    other = dataclasses.replace(PLAN, goals=GoalSampling(gc_negative=False))
    with pytest.raises(InputError, match=r"goals.gc_negative true -> false"):
        train(algorithm, goal_line(), other, out=tmp_path / "pieces", resume=True)


def test_settings_of_goals_are_refused_where_there_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="settings of goals change nothing for 'line'"):
        train(BC(hidden=(4,)), line(), Plan(goals=GoalSampling(gc_negative=False)), out=tmp_path / "run")
    with pytest.raises(SystemExit):
        main(f"train bc --task {NAME} --out {tmp_path}/run --value-p-curgoal 0.3".split())
    assert "must sum to 1, but sum to 1.1" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_real_maze_from_collecting_to_its_five_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ogbench")
    main(f"data collect {NAME} --episodes 2 --workers 1 --out {tmp_path}".split())
    for name, size in ((NAME, 4), ("pointmaze-medium-navigate-oraclerep-v0", 4)):
        out = tmp_path / name
        small = "--hidden 8 --flow-steps 2 --batch-size 8 --steps 200 --log-interval 100"
        main(f"train bc --task {name} --dataset {tmp_path} --out {out} {small}".split())
        capsys.readouterr()
        main(f"evaluate {out} --episodes 1 --workers 1 --json".split())
        told = json.loads(capsys.readouterr().out)
        assert (told["task"], len(told["success_by_task"]), told["episodes"]) == (name, 5, 5)
        assert Trained.open(out).policy().observation_shape == (size,)
    assert environments.task_ids(f"{NAME.removesuffix('-v0')}-singletask-v0") == ()
