"""From images and vectors together to a policy that acts on both: trained, resumed, evaluated, saved, loaded."""

import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_camera import IMAGE, camera, watched

from guidedflow.algorithms import FQL
from guidedflow.data.convert import convert
from guidedflow.data.sampling.crops import crop_batch
from guidedflow.data.sampling.cutting import Cutting, observation_scale
from guidedflow.environments.own import Own
from guidedflow.environments.vector import Simulators
from guidedflow.errors import InputError
from guidedflow.evaluation.off_policy import Judge
from guidedflow.networks import encoder_of
from guidedflow.packing import PartShapes, unpacked
from guidedflow.parts import Parts
from guidedflow.runs.judged import Panel
from guidedflow.runs.trained import Trained, load_policy
from guidedflow.sweeps.grid import Planned
from guidedflow.sweeps.left import Judging
from guidedflow.sweeps.offline import Offline
from guidedflow.training.loop import train
from guidedflow.training.online import Online, finetune
from guidedflow.training.plan import Plan

PLAN = Plan(steps=4, batch_size=4, log_interval=2, checkpoint_interval=2, frame_stack=2, augment=0.5)
SEEN = PartShapes.of({"image": (6, 5, 4), "state": (6,)})
OBSERVATION = {"image": np.full((6, 5, 4), 9, np.uint8), "state": np.arange(6.0)}


def small() -> FQL:
    return FQL(hidden=(8,), flow_steps=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(small(), camera(), PLAN, out=tmp_path_factory.mktemp("runs") / "run")


def test_parts_keep_their_types_and_are_stacked_each_for_itself() -> None:
    data = camera()
    batch = data.cut(frame_stack=2).take(jnp.array([0, 5]))
    assert isinstance(batch.observation, Parts)
    assert batch.observation.shape == PartShapes.of({"image": (2, 6, 5, 4), "state": (2, 6)})
    parts = unpacked(data.observations)
    for name in ("image", "state"):
        expected = np.concatenate([parts[name][4], parts[name][5]], axis=-1)
        np.testing.assert_array_equal(batch.observation[name][1], expected)


def test_only_vectors_are_normalised() -> None:
    data = camera()
    scale = observation_scale(data)
    assert scale is not None
    assert len(scale.mean) == 3
    cut = Cutting(frame_stack=2, observation_scale=scale).of(data)
    state, image = np.asarray(cut.observations["state"]), cut.observations["image"]
    np.testing.assert_allclose(state.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(state.std(0), 1, atol=1e-4)
    np.testing.assert_array_equal(image, data.observations["image"])
    stacked = scale(cut.take(jnp.array([3])).observation)
    assert stacked.shape == PartShapes.of({"image": (1, 6, 5, 4), "state": (1, 6)})


def test_only_images_are_cropped() -> None:
    batch = camera().cut().take(jnp.arange(8))
    cropped = crop_batch(batch, jax.random.key(0), 1.0)
    assert isinstance(batch.observation, Parts)
    assert isinstance(cropped.observation, Parts)
    np.testing.assert_array_equal(cropped.observation["state"], batch.observation["state"])
    assert (cropped.observation["image"] != batch.observation["image"]).any()


def test_an_encoder_for_each_part() -> None:
    encoder = encoder_of(SEEN, jax.random.key(0))
    features = encoder(Parts({name: jnp.asarray(part) for name, part in SEEN_ZERO.items()}))
    assert features.shape == (encoder.size,) == (512 + 6,)
    np.testing.assert_array_equal(features[-6:], SEEN_ZERO["state"])


SEEN_ZERO = {"image": np.zeros((6, 5, 4), np.uint8), "state": np.arange(6, dtype=np.float32)}


@pytest.mark.slow
def test_a_run_resumes_exactly_and_its_policy_takes_a_dictionary(run: Trained, tmp_path: Path) -> None:
    half = Plan(**{**vars(PLAN), "steps": 2})
    train(small(), camera(), half, out=tmp_path / "run")
    with pytest.warns(UserWarning, match="steps 2 -> 4"):
        resumed = train(small(), camera(), PLAN, out=tmp_path / "run", resume=True)
    for whole, again in zip(jax.tree.leaves(run.state), jax.tree.leaves(resumed.state), strict=True):
        np.testing.assert_array_equal(whole, again)
    key = jax.random.key(1)
    policy = load_policy(run.run.path)
    action = policy(OBSERVATION, key)
    np.testing.assert_array_equal(action, run.policy()(OBSERVATION, key))
    assert policy.observation_shape == SEEN
    batch = {name: np.stack([part] * 3) for name, part in OBSERVATION.items()}
    many = jax.vmap(policy)(
        Parts({n: jnp.asarray(p, jnp.float32 if n == "state" else None) for n, p in batch.items()}),
        jax.random.split(key, 3),
    )
    assert many.shape == (3, 2)


@pytest.mark.parametrize(
    ("observation", "told"),
    [
        (np.zeros(6), "as a mapping of names to arrays"),
        ({"image": OBSERVATION["image"]}, "the parts image .*, state .*, but got 'image'"),
        (OBSERVATION | {"image": np.zeros((6, 5, 4))}, "In the part 'image' .*bytes"),
        (OBSERVATION | {"state": np.full(6, np.nan)}, "In the part 'state' .*finite"),
        (OBSERVATION | {"wrist": np.zeros(2)}, "but got 'image', 'state', 'wrist'"),
    ],
)
def test_another_observation_is_refused_in_one_sentence(run: Trained, observation: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        run.policy()(observation, jax.random.key(0))


def test_it_is_evaluated_in_an_environment_of_dictionaries(run: Trained) -> None:
    with Simulators(Own(watched, frame_stack=2), 2, 1) as simulators:
        assert simulators.observation_shape == SEEN
        found = run.evaluate(simulators=simulators, episodes=3)
    assert [row["episode"] for row in found.rows] == [0, 1, 2]
    assert all(1 <= row["length"] <= 5 for row in found.rows)


@pytest.mark.slow
def test_it_is_fine_tuned_and_a_resumed_run_ends_with_the_same_bits(run: Trained, tmp_path: Path) -> None:
    made = Own(watched, frame_stack=2)
    online = Online(6, log_interval=2, checkpoint_interval=2, keep_checkpoints=0, on_disk=True)
    whole = finetune(run, camera(), online, out=tmp_path / "whole", env=made)
    finetune(run, camera(), online, out=tmp_path / "again", env=made)
    for place in (tmp_path / "again/checkpoints", tmp_path / "again/replay"):  # as if it was killed after step 6
        for step in (8, 10):
            shutil.rmtree(place / str(step))
    again = finetune(run, camera(), online, out=tmp_path / "again", env=made, resume=True)
    assert whole.step == again.step == 10
    for ours, theirs in zip(jax.tree.leaves(whole.state), jax.tree.leaves(again.state), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    before, after = (np.asarray(jax.tree.leaves(each.policies())[0]) for each in (run, whole))
    assert not np.array_equal(before, after)


@pytest.mark.slow
def test_it_is_judged_on_held_out_episodes(run: Trained, tmp_path: Path) -> None:
    path = convert(camera(seed=1), tmp_path / "held-out.npz")
    panel = Panel(Judge(2, 2, 20, (4,), batch_size=2, draws=1), path)
    [found] = panel(run, "actor", {None: run.steered("actor")})
    assert np.isfinite(found.judgement.value)
    assert not found.seen
    assert all(map(np.isfinite, found.losses.values()))
    assert np.isfinite(panel.recorded()["value"])
    offline = Offline(panel.judge, path)
    assert np.isfinite(offline([Planned("camera", small(), PLAN, run.run.path)], Judging()))


def test_simulators_show_each_part_as_the_environment_does() -> None:
    with Simulators(Own(watched), 2, 1) as simulators:
        seen, _ = simulators.reset(seed=3)
        assert seen["image"].shape == (2, *IMAGE)
        np.testing.assert_array_equal(seen["image"][:, 0, 0, 1], [3, 4])
        np.testing.assert_array_equal(seen["state"], [[3, 0, 0], [4, 0, 0]])
