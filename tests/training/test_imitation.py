"""A curriculum of episodes: parity with the published selection, and the good tenth of mixed data."""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_training import assert_same_bits, leaves, rows
from tiny_data import line

from guidedflow.algorithms import BC, FQL
from guidedflow.cli import main
from guidedflow.data.dataset import Dataset
from guidedflow.data.sampling.curriculum import Curriculum, Filter, Score
from guidedflow.data.sampling.rebalance import Rebalance
from guidedflow.errors import InputError
from guidedflow.runs.trained import Trained
from guidedflow.training.imitation import Imitation
from guidedflow.training.loop import train
from guidedflow.training.plan import Plan

SCORES = {
    "alpha1": Score.one_sigma,
    "alpha2": Score.two_sigma,
    "alpha3": Score.three_sigma,
    "is": Score.smallest,
    "prod": Score.total,
    "mean": Score.mean,
    "median": Score.median,
}
FILTERS = {"running_mean": Filter.running, "mean": Filter.mean, None: Filter.none}


@pytest.mark.parametrize("name", ["alpha2", "alpha2_fast", "by_return", "default_tau", "mean_filter", "occupancy"])
def test_golden_coil_curriculum(name: str, golden: Path) -> None:
    with np.load(golden / "coil-curriculum.npz", allow_pickle=False) as arrays:
        file = {key: arrays[key] for key in arrays.files}
    scenario = json.loads(str(file["config"]))["scenarios"][name]
    lengths, likelihoods = file["batch/length"], file["batch/log_likelihood"]
    for key, score in SCORES.items():
        ours = [score(row[:length]) for row, length in zip(likelihoods[0], lengths, strict=True)]
        np.testing.assert_allclose(ours, file[f"metric/score/{key}"], rtol=1e-6)
    occupancy = scenario["mode"] == "occupancy"
    returns = (file["batch/success"] if occupancy else file["batch/return"]).astype(float)
    returns = returns + (30 if name == "default_tau" else 0)
    least = -5.0 if occupancy else None
    curriculum = Curriculum(returns, scenario["N"], scenario["tau"] or 0.99, FILTERS[scenario["filter_type"]], least)
    ends, epoch = list(file[f"metric/{name}/calls_by_epoch_end"]), 0
    for call, selected in enumerate(file[f"metric/{name}/selected"]):
        np.testing.assert_array_equal(curriculum.pool, [i for i in file[f"metric/{name}/pool"][call] if i >= 0])
        steps = [likelihoods[call, i, : lengths[i]] for i in curriculum.pool]
        by_return = scenario["sel"] == "reward"
        scores = -returns[curriculum.pool] if by_return else [SCORES[scenario["sel"]](each) for each in steps]
        np.testing.assert_array_equal(curriculum.pick(list(scores)), [i for i in selected if i >= 0])
        if epoch < len(ends) and ends[epoch] == call + 1:
            curriculum.end_epoch()
            if curriculum.filter is Filter.running:
                assert curriculum.least == pytest.approx(file[f"metric/{name}/filter"][epoch], rel=1e-4)
            epoch += 1
    assert not curriculum.pool


def mixed() -> Dataset:
    """60 episodes of 6 steps at levels from -0.5 to 0.5: the level is each action, nearly, and each reward."""
    random = np.random.default_rng(0)
    levels = np.linspace(-0.5, 0.5, 60).repeat(7)
    last = np.arange(60 * 7) % 7 == 6
    actions = (levels + 0.03 * random.normal(size=levels.shape))[:, None].astype(np.float32)
    observations = np.ones((len(levels), 1), np.float32)
    return Dataset("mixed", observations, actions, levels.astype(np.float32), np.ones(len(levels), np.float32), last)


QUICK = Imitation(picks=1, call_steps=40, calls=1, return_decay=0.3)
GAUSSIAN = BC(components=1, hidden=(16,), learning_rate=1e-2)


def level(trained: Trained) -> float:
    """The mean action of the policy that draws."""
    policy = trained.policy(list(trained.policies())[-1], 0)
    keys = jax.random.split(jax.random.key(1), 128)
    return float(jnp.mean(jax.vmap(policy, in_axes=(None, 0))(jnp.ones(1), keys)))


@pytest.mark.slow
@pytest.mark.parametrize("components", [0, 1])
def test_coil_learns_the_good_tenth_where_bc_learns_the_mean(components: int, tmp_path: Path) -> None:
    algorithm, plan = replace(GAUSSIAN, components=components, flow_steps=5), Plan(steps=5000, batch_size=32)
    trained = train(algorithm, mixed(), plan, out=tmp_path / "coil", curriculum=QUICK, normalize_observations=False)
    last = [row["curriculum/return"] for row in rows(tmp_path / "coil")[-3:]]
    assert trained.step < 5000, "training ends once every episode was cloned or outgrown"
    assert np.mean(last) > 6 * 0.35, "the last picks are the best episodes"
    assert level(trained) > 0.4
    shorter = replace(plan, steps=1000)
    cloned = train(algorithm, mixed(), shorter, out=tmp_path / "bc", normalize_observations=False)
    assert abs(level(cloned)) < 0.2


@pytest.mark.slow
def test_a_curriculum_that_is_resumed_gives_the_same_bits(tmp_path: Path) -> None:
    curriculum = Imitation(picks=3, call_steps=10, calls=2, pretrain_steps=20, return_decay=0.5)
    for folder, pieces in (("whole", (90,)), ("pieces", (5, 30, 47, 90))):
        for steps in pieces:
            plan = Plan(steps=steps, batch_size=8, log_interval=5)
            warned = (
                pytest.warns(UserWarning, match="resumed with changes: steps") if steps > pieces[0] else nullcontext()
            )
            with warned:
                train(GAUSSIAN, mixed(), plan, out=tmp_path / folder, resume=True, curriculum=curriculum)
    assert_same_bits(leaves(tmp_path / "whole"), leaves(tmp_path / "pieces"))
    saved = [tmp_path / name / "checkpoints/90/state.safetensors" for name in ("whole", "pieces")]
    assert saved[0].read_bytes() == saved[1].read_bytes(), "the state of the curriculum is in the checkpoint"
    assert rows(tmp_path / "whole")[-1] == rows(tmp_path / "pieces")[-1]
    left = {row["step"]: row["curriculum/left"][0] for row in rows(tmp_path / "whole")}
    assert left[20] == 60, "before the first call nothing is picked"
    assert left[25] == left[30] == 57


def test_a_curriculum_that_ended_stays_as_it_is(tmp_path: Path) -> None:
    curriculum, plan = Imitation(picks=30, call_steps=5, return_filter=Filter.none), Plan(steps=100, batch_size=8)
    steps = [
        train(GAUSSIAN, mixed(), plan, out=tmp_path / "run", resume=True, curriculum=curriculum).step for _ in range(2)
    ]
    assert steps == [10, 10]


def test_a_curriculum_from_the_command_line(tmp_path: Path) -> None:
    data = mixed()
    columns = {name: getattr(data, name) for name in ("observations", "actions", "rewards", "masks", "last")}
    np.savez(tmp_path / "mixed.npz", **columns)
    names = "--columns " + " ".join(f"{name}={name}" for name in columns)
    words = f"train bc --task {tmp_path}/mixed.npz --components 1 --hidden 4 --batch-size 8 --steps 20"
    rule = "--curriculum coil --picks 5 --call-steps 10 --episode-score median"
    main(f"{words} --out {tmp_path}/run {names} {rule}".split())
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert (config["curriculum"]["picks"], config["curriculum"]["episode_score"]) == (5, "median")
    assert [row["curriculum/left"][0] for row in rows(tmp_path / "run")] == [55, 50]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"algorithm": FQL()}, "A curriculum clones, and FQL does not; train bc."),
        ({"plan": Plan(seeds=2)}, "A curriculum follows one policy; train one seed a run."),
        ({"rebalance": Rebalance()}, "A curriculum and a rebalance both say what is drawn"),
        ({"dataset": line(episodes=1)}, "A curriculum chooses among episodes, but 'line' has 1"),
    ],
)
def test_what_no_curriculum_can_order_is_refused(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"algorithm": GAUSSIAN, "dataset": mixed(), "plan": Plan(steps=10), **changes}
    with pytest.raises(InputError, match=sentence):
        train(**arguments, out=tmp_path / "run", curriculum=Imitation())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"squared_error": True}, "take components 1, not 0"),
        ({"squared_error": True, "components": 3}, "take components 1, not 3"),
        ({"penalty": 1e-3}, "a flow has none; take components 1 or more"),
    ],
)
def test_options_of_gaussians_are_refused_where_there_are_none(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        BC(**settings)
