"""Actions in other units than the box: trained on in the box, acted in the units of the data, everywhere."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tiny_data import line
from untaught import begun

from guidedflow import load_policy
from guidedflow.algorithms import BC, QGF
from guidedflow.cli import main
from guidedflow.data.actions import ACTION_LIMIT, Outside
from guidedflow.data.actions import inside as into_box
from guidedflow.data.dataset import Dataset
from guidedflow.data.load import load_dataset, open_dataset
from guidedflow.data.ondisk import mapper
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.sampling.feed import open_feed
from guidedflow.data.sampling.windows import Window
from guidedflow.errors import InputError
from guidedflow.flows.sampling import Sampler
from guidedflow.normalization import ActionScale, ObservationScale
from guidedflow.policies.kinds import FlowPolicy
from guidedflow.policies.rescaled import Rescaled
from guidedflow.runs.trained import Trained
from guidedflow.training.loop import train
from guidedflow.training.plan import Plan

PLAN = Plan(steps=4, batch_size=8, log_interval=2)
SMALL = {"hidden": (8,), "flow_steps": 2}
LOW, HIGH = np.float32([-30, 5]), np.float32([90, 25])


def in_degrees():
    """The line, whose first action is from -30 to 90 and whose second is from 5 to 25."""
    data = line()
    actions = data.actions / np.abs(data.actions[~data.last]).max(axis=0)
    return dataclasses.replace(data, actions=(LOW + HIGH) / 2 + actions * (HIGH - LOW) / 2)


@pytest.fixture
def log(tmp_path):
    data = in_degrees()
    columns = {name: getattr(data, name) for name in ("observations", "actions", "rewards", "masks", "last")}
    np.savez(tmp_path / "log.npz", **columns)
    return tmp_path / "log.npz"


NAMES = "observations=observations actions=actions rewards=rewards masks=masks last=last"

finite = st.floats(-1e6, 1e6, width=32)


@settings(deadline=None, max_examples=50)
@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 4)), elements=finite))
def test_the_range_becomes_the_box_and_comes_back(actions):
    scale = ActionScale.spanning(actions)
    boxed = scale.to_box(actions)
    assert np.abs(boxed).max() <= 1 + 1e-6
    moving = np.ptp(actions, axis=0) > 0
    np.testing.assert_allclose(np.abs(boxed[:, moving]).max(axis=0, initial=0), 1, rtol=1e-5)
    assert not boxed[:, ~moving].any()
    largest = np.abs(actions).max() + 1
    np.testing.assert_allclose(jax.vmap(scale.from_box)(jnp.asarray(boxed)), actions, atol=2e-6 * largest)


def test_a_chunk_comes_back_step_by_step():
    scale = ActionScale((0.0, -4.0), (10.0, 4.0))
    chunk = scale.from_box(jnp.float32([-1, -1, 0, 0, 1, 1]))
    np.testing.assert_allclose(chunk, [0, -4, 5, 0, 10, 4])


def test_actions_outside_are_refused_clipped_or_rescaled():
    data = in_degrees()
    with pytest.raises(
        InputError, match="add --clip-actions to clip them, or --rescale-actions if they are in another"
    ):
        into_box(data)
    assert into_box(data, Outside.clipped).action_scale is None
    rescaled = into_box(data, Outside.rescaled)
    steps = rescaled.actions[~rescaled.last]
    np.testing.assert_allclose(np.ptp(steps, axis=0), 2 * ACTION_LIMIT, atol=0.05)
    assert rescaled.action_scale == ActionScale.spanning(data.actions[~data.last])
    with pytest.raises(InputError, match="either clipped or rescaled; give --clip-actions or --rescale-actions, not"):
        load_dataset("line", "none.npz", clip_actions=True, rescale_actions=True)


def test_a_policy_acts_in_the_units_of_its_data(tmp_path):
    """What a cloned flow does is spread over the range of the data's actions, around their middle."""
    data = into_box(in_degrees(), Outside.rescaled)
    train(BC(hidden=(32, 32), flow_steps=5), data, Plan(steps=300, batch_size=64), out=tmp_path / "run")
    policy = load_policy(tmp_path / "run")
    assert isinstance(policy, Rescaled)
    keys = jax.random.split(jax.random.key(0), len(data.observations))
    actions = np.asarray(jax.vmap(policy)(data.observations, keys))
    assert ((actions >= LOW - 1e-3) & (actions <= HIGH + 1e-3)).all()
    assert actions[:, 0].min() < -10
    assert actions[:, 0].max() > 70
    np.testing.assert_allclose(actions.mean(axis=0), (LOW + HIGH) / 2, atol=(HIGH - LOW).min() / 2)


def test_what_steers_works_in_the_box_and_what_acts_out_of_it(tmp_path):
    data = into_box(in_degrees(), Outside.rescaled)
    trained = begun(QGF(**SMALL), data, PLAN, out=tmp_path / "run", normalize_observations=False)
    inside = trained.steered("flow", Sampler(2, candidates=3))
    assert isinstance(inside, FlowPolicy)
    observation, key = line().observations[0], jax.random.key(1)
    one = jax.tree.map(lambda leaf: leaf[0] if jnp.ndim(leaf) else leaf, inside)
    policy = trained.policy("flow").with_sampler(inside.sampler)
    assert policy.columns() == inside.columns()
    expected = trained.action_scale.from_box(one(observation, key))
    np.testing.assert_allclose(policy(observation, key), expected, rtol=1e-5)
    own = Trained.open(tmp_path / "run")
    assert own.action_scale == trained.action_scale
    other = begun(QGF(**SMALL), line(), PLAN, out=tmp_path / "other")
    with pytest.raises(InputError, match=r"actions of different scales \(--rescale-actions\)"):
        own.steered("flow", critic_from=other)


def test_a_run_is_resumed_with_its_own_units_only(tmp_path):
    data = into_box(in_degrees(), Outside.rescaled)
    whole = train(BC(**SMALL), data, PLAN, out=tmp_path / "whole").state
    half = dataclasses.replace(PLAN, steps=2)
    train(BC(**SMALL), data, half, out=tmp_path / "parts")
    with pytest.raises(InputError, match="was trained on actions of another scale; give --rescale-actions"):
        train(BC(**SMALL), line(), PLAN, out=tmp_path / "parts", resume=True)
    with pytest.warns(UserWarning, match="steps 2 -> 4"):
        parts = train(BC(**SMALL), data, PLAN, out=tmp_path / "parts", resume=True).state
    jax.tree.map(np.testing.assert_array_equal, whole, parts)


def test_a_folder_on_disk_gives_the_same_actions(tmp_path):
    memory = into_box(in_degrees(), Outside.rescaled)
    mapper.write([in_degrees()], tmp_path / "line.mapped", "made")
    disk = open_dataset("line", tmp_path / "line.mapped", rescale_actions=True)
    assert isinstance(disk, Mapped)
    assert disk.action_scale == memory.action_scale
    with open_feed(disk, window=Window(updates=1)) as feed:
        np.testing.assert_array_equal(feed.example().action, memory.cut().example().action)
    assert train(BC(**SMALL), disk, PLAN, out=tmp_path / "disk").action_scale == memory.action_scale
    manifest = json.loads((tmp_path / "line.mapped/manifest.json").read_text())
    del manifest["action_range"]
    (tmp_path / "line.mapped/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="does not tell the range of its actions in each dimension; convert it again"):
        open_dataset("line", tmp_path / "line.mapped", rescale_actions=True)


def test_the_command_line_takes_it_from_a_file_to_a_policy(tmp_path, log, capsys):
    size = "--hidden 8 --flow-steps 2 --steps 2 --log-interval 2 --batch-size 8"
    with pytest.raises(SystemExit) as left:
        main(f"train bc --task arm --dataset {log} --columns {NAMES} --out {tmp_path}/no {size}".split())
    assert left.value.code == 2
    assert "--rescale-actions" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(f"data validate {log} --columns {NAMES}".split())
    assert "map them into it by --rescale-actions" in capsys.readouterr().out
    main(f"data validate {log} --columns {NAMES} --rescale-actions".split())
    main(f"train bc --task arm --dataset {log} --columns {NAMES} --rescale-actions --out {tmp_path}/run {size}".split())
    scale = json.loads((tmp_path / "run/config.json").read_text())["action_scale"]
    np.testing.assert_allclose((scale["low"], scale["high"]), (LOW, HIGH), atol=3)
    action = load_policy(tmp_path / "run")(in_degrees().observations[0], jax.random.key(0))
    assert ((action >= LOW - 1e-3) & (action <= HIGH + 1e-3)).all()


def test_observations_are_brought_to_unit_scale_in_blocks_as_at_once() -> None:
    random = np.random.default_rng(0)
    rows = (random.normal(size=(1000, 4)) * [1e-3, 1, 133, 1e6] + [5, 0, -200, 1e7]).astype(np.float32)
    rows[:, 1] = 7.0  # constant: only centred
    scale = ObservationScale.of([rows[:10], rows[10:700], rows[700:]])
    once = ObservationScale.of([rows])
    np.testing.assert_allclose(scale.mean, once.mean, rtol=1e-12)
    np.testing.assert_allclose(scale.deviation, once.deviation, rtol=1e-9)
    assert scale.deviation[1] == 1.0
    normal = np.asarray(scale(jnp.asarray(rows)))
    np.testing.assert_allclose(normal.mean(axis=0), 0, atol=0.01)
    np.testing.assert_allclose(normal[:, [0, 2, 3]].std(axis=0), 1, rtol=1e-2)
    assert (normal[:, 1] == 0).all()


def test_frames_and_goals_are_mapped_each_as_an_observation() -> None:
    scale = ObservationScale((1.0, 2.0), (2.0, 4.0))
    np.testing.assert_array_equal(scale(jnp.array([3.0, 6.0, 1.0, 2.0])), [1, 1, 0, 0])
    with_goal = ObservationScale((1.0, 2.0), (2.0, 4.0), ObservationScale((10.0,), (5.0,)))
    np.testing.assert_array_equal(with_goal(jnp.array([3.0, 6.0, 1.0, 2.0, 15.0])), [1, 1, 0, 0, 1])
    np.testing.assert_array_equal(with_goal(jnp.array([[3.0, 6.0, 15.0]])), [[1, 1, 1]])


def stretched() -> Dataset:
    """The line in other units, far from zero."""
    data = line()
    return dataclasses.replace(data, observations=data.observations * np.float32(100) + np.float32(300))


@pytest.mark.slow
def test_a_run_on_normalised_observations_is_the_run_on_the_same_data_in_other_units(tmp_path: Path) -> None:
    """And its policies take observations in the units of the data."""
    raw = train(QGF(**SMALL), line(), PLAN, out=tmp_path / "raw", normalize_observations=False)
    one, other = (train(QGF(**SMALL), data, PLAN, out=tmp_path / data.fingerprint) for data in (line(), stretched()))
    assert "observation_scale" not in raw.run.config
    for mine, theirs in zip(jax.tree.leaves(one.state), jax.tree.leaves(other.state), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-3)
    seen, key = line().observations[5], jax.random.key(3)
    action = load_policy(tmp_path / line().fingerprint, "flow")(seen, key)
    np.testing.assert_allclose(load_policy(other.run.path, "flow")(seen * 100 + 300, key), action, atol=5e-3)
    cut = other.cut(stretched())
    np.testing.assert_allclose(np.mean(cut.observations, axis=0), 0, atol=1e-3)
    assert other.configuration.observation_scale == Trained.open(other.run.path).configuration.observation_scale
    assert not np.allclose(raw.policy("flow")(seen, key), action)


def test_a_suites_task_is_raw_unless_asked_and_a_resumed_run_goes_on_as_it_was(tmp_path: Path) -> None:
    task = dataclasses.replace(line(), name="cube-single-noisy-singletask-task1-v0")
    assert "observation_scale" not in begun(QGF(**SMALL), task, PLAN, out=tmp_path / "suite").run.config
    asked = begun(QGF(**SMALL), task, PLAN, out=tmp_path / "asked", normalize_observations=True)
    assert "observation_scale" in asked.run.config
    begun(QGF(**SMALL), line(), PLAN, out=tmp_path / "own", normalize_observations=False)
    again = begun(QGF(**SMALL), line(), PLAN, out=tmp_path / "own", resume=True)
    assert "observation_scale" not in again.run.config
    with pytest.raises(InputError, match="trained on observations of another scale; give --normalize-observations or"):
        train(QGF(**SMALL), line(), PLAN, out=tmp_path / "own", resume=True, normalize_observations=True)


def test_a_critic_of_other_units_is_refused(tmp_path: Path) -> None:
    raw = begun(QGF(**SMALL), line(), PLAN, out=tmp_path / "raw", normalize_observations=False)
    scaled = begun(QGF(**SMALL), line(), PLAN, out=tmp_path / "scaled")
    with pytest.raises(InputError, match="observations of different scales"):
        scaled.steered("flow", critic_from=raw)
