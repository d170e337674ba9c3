"""From images to a policy that acts on them: trained, resumed, evaluated, saved, loaded."""

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_algorithm import small
from tiny_data import film
from tiny_environment import filmed

from guidedflow import environments
from guidedflow.algorithms import ALGORITHMS, FQL, GFP
from guidedflow.algorithms.contract import initial_state
from guidedflow.cli import main
from guidedflow.data.load import load_dataset
from guidedflow.data.obtain import collect, oracles
from guidedflow.environments.vector import Simulators
from guidedflow.errors import InputError
from guidedflow.runs.trained import Trained, load_policy
from guidedflow.training.loop import train
from guidedflow.training.plan import Plan
from guidedflow.training.updates import advance, in_rows

NAME = "visual-cube-single-play-v0"
TASK = "visual-cube-single-play-singletask-task1-v0"
PLAN = Plan(steps=4, batch_size=4, log_interval=2, checkpoint_interval=2, frame_stack=3, augment=0.5)
IMAGE = np.random.default_rng(0).integers(0, 256, (6, 5, 6), np.uint8)


QUICK = ("dac", "gfp", "iql")
"""A diffusion, a flow with a one-step actor, and a Gaussian; the other algorithms run with the slow tests."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in ALGORITHMS]
)
def test_every_algorithm_learns_and_acts_on_images(name: str) -> None:
    """Traced, not run: shapes and types fit, and the state keeps its structure."""
    algorithm, batches = small(ALGORITHMS[name]), film().cut(frame_stack=3)
    key = jax.random.key(0)
    state = jax.eval_shape(algorithm.init, batches.example(), key)
    after, _ = jax.eval_shape(lambda state: algorithm.update(state, batches.sample(key, 4), key), state)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), after
    )
    for policy_name in jax.eval_shape(algorithm.policies, state):
        act = lambda state, name=policy_name: algorithm.policies(state)[name](IMAGE, key)  # noqa: E731
        assert jax.eval_shape(act, state).shape == (2,)


def test_no_program_holds_the_images_as_numbers_of_single_precision() -> None:
    """Bytes until the encoder, and there no more than a batch of them."""
    batches = dataclasses.replace(film().cut(frame_stack=3), crops=0.5)
    algorithm, seeds = FQL(hidden=(8,), flow_steps=2), jnp.arange(1)
    state = jax.eval_shape(initial_state, algorithm, batches.example(), seeds)
    program = jax.make_jaxpr(lambda state, batches: advance(in_rows([algorithm]), state, batches, seeds, 0, 3, 4))(
        state, batches
    )
    sizes = largest_images(program.jaxpr)
    assert sizes[jnp.dtype(jnp.uint8)] == 126
    assert sizes[jnp.dtype(jnp.float32)] == 4


def largest_images(jaxpr: Any) -> dict[Any, int]:
    """Of each type the most images of 6 x 5 pixels that a value of the program holds."""
    found: dict[Any, int] = {}
    for equation in jaxpr.eqns:
        for variable in (*equation.invars, *equation.outvars):
            shape = getattr(variable.aval, "shape", ())
            if len(shape) == 4 and shape[1:3] == (6, 5):
                found[variable.aval.dtype] = max(found.get(variable.aval.dtype, 0), shape[0])
        parts = [
            part for value in equation.params.values() for part in (value if isinstance(value, tuple) else [value])
        ]
        for part in parts:
            if hasattr(part, "eqns"):
                for kind, size in largest_images(getattr(part, "jaxpr", part)).items():
                    found[kind] = max(found.get(kind, 0), size)
    return found


def test_a_simulator_stacks_frames_as_a_dataset_does() -> None:
    """The camera shows the time; before an episode's beginning it shows the beginning."""
    env = filmed(3)
    assert env.observation_space.shape == (6, 5, 6)
    for _ in range(2):  # the second episode has forgotten the first
        seen = [env.reset(seed=9)[0]]
        while True:
            observation, _, terminated, truncated, _ = env.step(np.zeros(2, np.float32))
            seen.append(observation)
            if terminated or truncated:
                break
        assert all(frames.dtype == np.uint8 and env.observation_space.contains(frames) for frames in seen)
        assert [frames[0, 0, ::2].tolist() for frames in seen[:4]] == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3]]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is resumed with changes. steps 2 -> 4")
def test_a_policy_of_images_is_trained_resumed_evaluated_saved_and_loaded(tmp_path: Path) -> None:
    """Resumed and undisturbed runs agree in every bit, crops and evaluations included."""
    algorithm = FQL(hidden=(8,), flow_steps=2)
    watched = dataclasses.replace(PLAN, eval_interval=4, eval_episodes=3)
    with Simulators(partial(filmed, 3), 2, 1) as simulators:
        first = dataclasses.replace(watched, steps=2)
        train(algorithm, film(), first, out=tmp_path / "run", simulators=simulators)
        trained = train(algorithm, film(), watched, out=tmp_path / "run", resume=True, simulators=simulators)
    whole = train(algorithm, film(), PLAN, out=tmp_path / "whole")
    for mine, other in zip(jax.tree.leaves(trained.state), jax.tree.leaves(whole.state), strict=True):
        np.testing.assert_array_equal(mine, other)
    start = initial_state(algorithm, film().cut(frame_stack=3).example(), jnp.arange(1))
    moved = jax.tree.map(lambda x, y: not np.array_equal(x, y), start, trained.state)
    assert all(jax.tree.leaves([moved.actor.network.encoder, moved.flow.network.encoder, moved.critic.network.encoder]))
    rows = [json.loads(text) for text in (tmp_path / "run" / "evaluations.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * 3 + 2 * 3
    loaded = load_policy(tmp_path / "run", "flow")
    assert loaded.observation_shape == (6, 5, 6)
    key = jax.random.key(1)
    np.testing.assert_array_equal(loaded(IMAGE, key), trained.policy("flow")(IMAGE, key))
    with pytest.raises(InputError, match=r"takes one observation of shape \(6, 5, 6\), but got shape \(6, 5, 2\)"):
        loaded(IMAGE[..., :2], key)


# The real thing


@pytest.fixture(scope="module")
def cube(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short episodes of visual-cube-single-play, drawn here."""
    try:
        environments.make(NAME).reset(seed=0)
    except InputError as error:
        pytest.skip(f"no graphics library draws here: {error}")
    folder = tmp_path_factory.mktemp("cube")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(oracles.RECIPES, NAME, dataclasses.replace(oracles.recipe(NAME), rows=21))
        collect.collect(NAME, episodes=2, workers=1, out=folder, progress=False)
    return folder


@pytest.mark.slow
def test_what_is_collected_with_a_renderer_is_what_the_simulator_shows(cube: Path) -> None:
    columns = dict(np.load(cube / f"{NAME}.npz"))
    assert (columns["observations"].shape, columns["observations"].dtype) == ((42, 64, 64, 3), np.uint8)
    assert columns["observations"].std() > 20
    dataset = load_dataset(TASK, cube)
    assert dataset.observations.dtype == np.uint8
    assert (dataset.episodes, len(dataset)) == (2, 40)
    state = oracles.collector(dataclasses.replace(oracles.recipe("cube-single-play-v0"), rows=21))
    twin = state(np.random.SeedSequence(0, spawn_key=(0, 0)))
    np.testing.assert_array_equal(columns["actions"][:21], twin["actions"])  # a camera changes nothing
    np.testing.assert_array_equal(columns["qpos"][:21], twin["qpos"])


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the command line shows warnings itself
@pytest.mark.parametrize("algorithm", [FQL, GFP])
def test_the_visual_cube_from_end_to_end(algorithm: type[Any], cube: Path, tmp_path: Path) -> None:
    name, run = algorithm.__name__.lower(), str(tmp_path / "run")
    small = ["--hidden", "16", "--steps", "200", "--batch-size", "4", "--log-interval", "100"]
    main(["train", name, "--task", TASK, "--dataset", str(cube), "--recipe", "published", "--out", run, *small])
    trained = Trained.open(run)
    assert (trained.frame_stack, trained.run.config["augment"]) == (3, 0.5)
    assert trained.run.config["transition"]["observation_shape"] == [64, 64, 9]
    with Simulators(partial(environments.make, TASK, frame_stack=3, max_episode_steps=10), 1, 1) as simulators:
        (row,) = trained.evaluate(episodes=1, simulators=simulators).rows
    assert (row["task"], row["length"], row["return"]) == (TASK, 10, -10.0)
    policy = load_policy(run)
    image = environments.make(TASK, frame_stack=3).reset(seed=0)[0]
    action = policy(image, jax.random.key(0))
    assert action.shape == (5,)
    assert np.isfinite(action).all()
