"""The contract: what every algorithm of the table promises, whatever its paper."""

import dataclasses
import functools
import itertools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_golden import parts
from tiny_algorithm import drawn, small
from tiny_data import line

from guidedflow.algorithms import A2PO, ALGORITHMS, BC, FQL, GFP
from guidedflow.algorithms.contract import Algorithm, initial_state, shown
from guidedflow.algorithms.gfp import Reference, Target, Weight
from guidedflow.algorithms.learner import Learner, clip_together, polyak
from guidedflow.data.sampling.cutting import Cutting
from guidedflow.data.transitions import Transitions
from guidedflow.networks import Aggregate
from guidedflow.runs import checkpoint
from guidedflow.training.updates import advance, in_rows
from guidedflow.types import Transition

BATCH = 16


@functools.cache
def data() -> Transitions:
    return line().cut(0.9)


@pytest.fixture
def transitions() -> Transitions:
    return data()


MAIN = ("bc", "gfp", "iql")
"""Those whose parts the others are made of; most tests of the rest run with the slow ones."""


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=() if name in MAIN else pytest.mark.slow) for name in ALGORITHMS]
)
def algorithm(request: pytest.FixtureRequest) -> Algorithm[Any]:
    return small(ALGORITHMS[request.param])


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=() if name == "bc" else pytest.mark.slow) for name in ALGORITHMS]
)
def each(request: pytest.FixtureRequest) -> Algorithm[Any]:
    """As `algorithm`, for what compiles another program; that of GFP is in the tests of training."""
    return small(ALGORITHMS[request.param])


UPDATED = ("bc", "dsrl", "fql", "gfp", "iql", "qgf")
"""The quick tests of the others' updates are the golden ones; DSRL has none."""


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=() if name in UPDATED else pytest.mark.slow) for name in ALGORITHMS],
)
def updated(request: pytest.FixtureRequest) -> Algorithm[Any]:
    """As `every`, for what compiles an update."""
    return small(ALGORITHMS[request.param])


@pytest.fixture(scope="module", params=list(ALGORITHMS))
def every(request: pytest.FixtureRequest) -> Algorithm[Any]:
    return small(ALGORITHMS[request.param])


def floats(algorithm: Algorithm[Any]) -> list[str]:
    return [name for name, value in vars(algorithm).items() if isinstance(value, float)]


def run(algorithm: Algorithm[Any], seeds: list[int], steps: int = 5) -> tuple[Any, Any]:
    state = initial_state(algorithm, data().example(), jnp.asarray(seeds))
    return advance(in_rows([algorithm] * len(seeds)), state, data(), jnp.asarray(seeds), 0, steps, BATCH)


@functools.cache
def remembered(algorithm: Algorithm[Any], *seeds: int) -> tuple[Any, Any]:
    """`run`, once for all tests."""
    return run(algorithm, list(seeds))


sampled = jax.jit(Transitions.sample, static_argnames="batch_size")


def started(algorithm: Algorithm[Any]) -> Any:
    """The state of one seed before the first update, by the program that `run` has compiled."""
    rows = initial_state(algorithm, data().example(), jnp.arange(1))
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[0]), rows)


def assert_equal(a: Any, b: Any, **tolerance: float) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


def test_state_is_arrays_and_keeps_its_structure(updated: Algorithm[Any], transitions: Transitions) -> None:
    before = initial_state(updated, transitions.example(), jnp.arange(1))
    after, metrics = remembered(updated, 0)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(before))
    assert jax.tree.structure(before) == jax.tree.structure(after)
    assert [(x.shape, x.dtype) for x in jax.tree.leaves(before)] == [(x.shape, x.dtype) for x in jax.tree.leaves(after)]
    assert all(value.shape == (1,) and np.isfinite(value).all() for value in metrics.values())


def test_every_learner_learns(algorithm: Algorithm[Any], transitions: Transitions) -> None:
    before = initial_state(algorithm, transitions.example(), jnp.arange(1))
    after, _ = remembered(algorithm, 0)
    old, new = (jax.tree.leaves(state, is_leaf=lambda part: isinstance(part, Learner)) for state in (before, after))
    for learner, learned in zip(old, new, strict=True):
        leaves = zip(jax.tree.leaves(learner), jax.tree.leaves(learned), strict=True)
        assert not isinstance(learner, Learner) or any(not np.array_equal(x, y) for x, y in leaves)


def test_same_seed_same_bits_and_another_seed_others(algorithm: Algorithm[Any], transitions: Transitions) -> None:
    first, again, other = (run(algorithm, [seed])[0] for seed in (0, 0, 1))
    assert_equal(first, again, rtol=0, atol=0)
    assert not all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(first), jax.tree.leaves(other), strict=True))


def test_seeds_together_equal_seeds_alone(each: Algorithm[Any], transitions: Transitions) -> None:
    together = remembered(each, 0, 1)
    alone = [remembered(each, seed) for seed in (0, 1)]
    stacked = jax.tree.map(lambda *leaves: np.concatenate(leaves), *alone)
    assert_equal(together, stacked, rtol=2e-4, atol=2e-6)


def test_settings_together_equal_settings_alone(each: Algorithm[Any], transitions: Transitions) -> None:
    """Float settings are traced, so that one compiled program maps over them."""
    names = floats(each)
    factors = (0.5, 1.0)
    variants = [
        dataclasses.replace(each, **{name: getattr(each, name) * factor for name in names})  # type: ignore[type-var]
        for factor in factors
    ]
    state = started(each)
    batch = sampled(transitions, jax.random.key(1), batch_size=BATCH)

    @jax.jit
    def update(algorithm: Algorithm[Any]) -> Any:
        return algorithm.update(state, batch, jax.random.key(2))

    stacked = jax.tree.map(lambda *values: jnp.asarray(values), *variants)
    together = jax.tree.map(np.asarray, jax.jit(jax.vmap(update))(stacked))
    for i, variant in enumerate(variants):
        assert_equal(jax.tree.map(lambda leaf, i=i: leaf[i], together), update(variant), rtol=2e-4, atol=2e-6)


def test_one_compilation_serves_every_step_and_every_float(algorithm: Algorithm[Any], transitions: Transitions) -> None:
    state, _ = run(algorithm, [0])
    compiled = advance._cache_size()
    run(algorithm, [1])
    advance(in_rows([algorithm]), state, transitions, jnp.asarray([1]), 7, 5, BATCH)
    run(dataclasses.replace(algorithm, learning_rate=1e-3), [0])  # type: ignore[type-var]
    assert advance._cache_size() == compiled


def test_saved_and_loaded_policies_act_the_same(
    algorithm: Algorithm[Any], transitions: Transitions, tmp_path: Path
) -> None:
    state, _ = remembered(algorithm, 0)
    checkpoint.save(tmp_path, 5, state)
    _, loaded = checkpoint.load(tmp_path, None, jax.eval_shape(lambda: state))
    observation, key = jnp.ones(3), jax.random.key(7)
    for name in algorithm.policies(state):
        act = [algorithm.policies(jax.tree.map(lambda leaf: leaf[0], s))[name] for s in (state, loaded)]
        actions = [policy(observation, key) for policy in act]
        assert actions[0].shape == (2,)
        assert np.all(np.abs(actions[0]) <= 1)
        np.testing.assert_array_equal(*actions)


def test_arrays_of_a_policy_begin_with_the_seeds_and_numbers_are_shared(
    every: Algorithm[Any], transitions: Transitions
) -> None:
    """Simulators play all seeds of a run at once, and split each array of a policy by its first axis."""
    seeds = jnp.arange(7)
    state = jax.eval_shape(lambda: initial_state(every, transitions.example(), seeds))
    policies = jax.eval_shape(every.policies, state)
    assert all(leaf.shape[:1] in [(), seeds.shape] for leaf in jax.tree.leaves(policies))


POLICIES = {"actor", "flow", "fast", "base", "noise", "generator", "student", "vae", "log_alpha"}
"""Learners of what acts; the others learn what is good."""

IN_TURN = ("A2PO", "LAPO")
"""Their policies learn from critics that have moved in the same update, so they notice another goal of the critics."""


def test_policies_learn_from_their_own_goals_and_critics_from_theirs(algorithm: Algorithm[Any]) -> None:
    """One update on goals, and which networks notice that the goals of one side are others."""
    data = line()
    goals = Cutting(0.9).of(dataclasses.replace(data, goals=data.observations))
    batch = sampled(goals, jax.random.key(1), batch_size=BATCH)
    state = drawn(algorithm, goals.example())
    if isinstance(algorithm, A2PO):
        state = state._replace(updates=jnp.int32(1))  # its actor steps in every second update
    update = jax.jit(lambda batch: algorithm.update(state, batch, jax.random.key(2)))

    def learners(batch: Transition) -> dict[str, Any]:
        after, metrics = update(batch)
        assert all(np.isfinite(value) for value in metrics.values())
        return {name: part for name, part in parts(after).items() if isinstance(part, Learner)}

    def roll(observation: Any) -> jax.Array:
        return jnp.concatenate([observation[:, :3], jnp.roll(observation[:, 3:], 1, axis=0)], axis=1)

    after = learners(batch)
    for_policies = learners(batch._replace(actor_observation=roll(batch.actor_observation)))
    both = {"observation": roll(batch.observation), "next_observation": roll(batch.next_observation)}
    for_critics = learners(batch._replace(**both))
    assert POLICIES & after.keys()
    for name in after:
        changed, kept = (for_policies, for_critics) if name in POLICIES else (for_critics, for_policies)
        if name not in POLICIES or type(algorithm).__name__ not in IN_TURN:
            assert_equal(after[name], kept[name], rtol=0, atol=0)
        leaves = zip(jax.tree.leaves(after[name]), jax.tree.leaves(changed[name]), strict=True)
        assert any(not np.array_equal(x, y) for x, y in leaves), name


LATER = Path(__file__).parents[1] / "golden" / "hundred-steps-later.json"
"""Of algorithms that came after version 0.1, whose file does not change."""


def hundred_steps(algorithm: Algorithm[Any], transitions: Transitions) -> dict[str, float]:
    """How far every network has come after 100 updates of seed 0: the norm of what changed."""
    before = state = initial_state(algorithm, transitions.example(), jnp.arange(1))
    for step in range(0, 100, 5):
        state, _ = advance(in_rows([algorithm]), state, transitions, jnp.arange(1), step, 5, BATCH)

    def networks(state: Any) -> dict[str, Any]:
        found = {name: part for name, part in parts(state).items() if part is not None}
        return {name: part.network if isinstance(part, Learner) else part for name, part in found.items()}

    def moved(old: jax.Array, new: jax.Array) -> float:
        return float(np.sum(np.square(np.asarray(new) - np.asarray(old))))

    moves = jax.tree.map(moved, networks(before), networks(state))
    return {name: round(sum(jax.tree.leaves(network)) ** 0.5, 4) for name, network in moves.items()}


def test_a_hundred_steps_end_where_they_did(every: Algorithm[Any], transitions: Transitions, golden: Path) -> None:
    """A change of the mathematics shows here, on any machine; `python tests/record_hundred_steps.py` accepts one."""
    name = next(name for name, cls in ALGORITHMS.items() if cls is type(every))
    recorded = json.loads((golden / "hundred-steps.json").read_text()) | json.loads(LATER.read_text())
    assert hundred_steps(every, transitions) == pytest.approx(recorded[name], rel=1e-2)


def test_a_loss_moves_only_its_own_network(transitions: Transitions) -> None:
    """The distillation target is a constant to the actor, and the actor is one to the critic and the flow."""
    algorithm = GFP(hidden=(16, 16), flow_steps=3)
    state = drawn(algorithm, transitions.example())
    batch, key = sampled(transitions, jax.random.key(1), batch_size=BATCH), jax.random.key(2)
    update = jax.jit(lambda algorithm: algorithm.update(state, batch, key)[0])
    without_distillation = update(dataclasses.replace(algorithm, alpha=0.0))
    with_distillation = update(dataclasses.replace(algorithm, alpha=10.0))
    assert_equal(without_distillation.flow, with_distillation.flow, rtol=0, atol=0)
    assert_equal(without_distillation.critic, with_distillation.critic, rtol=0, atol=0)
    assert not np.array_equal(*(jax.tree.leaves(s.actor.network)[0] for s in (without_distillation, with_distillation)))


def test_gfp_at_temperature_0_clones_everything(transitions: Transitions) -> None:
    state, metrics = run(GFP(hidden=(16, 16), flow_steps=3, temperature=0.0), [0])
    np.testing.assert_array_equal(metrics["weight"], 1.0)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


CHOICES = {"target": list(Target), "reference": list(Reference), "weight": list(Weight), "aggregate": list(Aggregate)}


@pytest.mark.parametrize("turn", [pytest.param(0, marks=pytest.mark.slow), 1, pytest.param(2, marks=pytest.mark.slow)])
def test_every_choice_of_gfp_trains(turn: int, transitions: Transitions) -> None:
    """Several at once, each in one of the turns; the published ones are compared with their code elsewhere."""
    assert max(map(len, CHOICES.values())) == 3
    chosen = {field: choices[turn % len(choices)] for field, choices in CHOICES.items()}
    # An exponential weight has no bound, so a sharp temperature is not for it.
    algorithm = dataclasses.replace(GFP(hidden=(8,), flow_steps=2, temperature=0.3), **chosen)
    _, metrics = run(algorithm, [0], steps=2)
    assert all(np.isfinite(value).all() for value in metrics.values())


def test_fql_with_normalized_q_does_not_see_the_scale_of_its_critic(transitions: Transitions) -> None:
    """Scaling the critic's last layer by 10 leaves the actor's step where it was."""
    algorithm = FQL(hidden=(16, 16), flow_steps=3, normalize_q=True, alpha=1.0)
    state = drawn(algorithm, transitions.example())

    def scaled(layer_state: Any, factor: float) -> Any:
        def scale(path: Any, leaf: jax.Array) -> jax.Array:
            return leaf * factor if ".layers[2]" in jax.tree_util.keystr(path) else leaf

        return jax.tree_util.tree_map_with_path(scale, layer_state)

    larger = state._replace(critic=Learner(scaled(state.critic.network, 10.0), state.critic.optimizer))
    batch, key = sampled(transitions, jax.random.key(1), batch_size=BATCH), jax.random.key(2)
    update = jax.jit(algorithm.update)
    actors = [update(s, batch, key)[0].actor.network for s in (state, larger)]
    assert_equal(*actors, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("coasting", [False, True])
def test_a_learner_that_steps_every_third_update_rests_or_coasts_between(coasting: bool) -> None:
    optimizer = optax.adam(0.1)

    @jax.jit
    def update(learner: Learner[jax.Array], updates: jax.Array) -> tuple[Learner[jax.Array], dict[str, jax.Array]]:
        def gradient() -> tuple[jax.Array, dict[str, jax.Array]]:
            return jnp.ones(2), {"loss": jnp.float32(5)}

        return learner.step_every(3, updates, optimizer, gradient, coasting=coasting)

    learner, places, losses = Learner.init(jnp.zeros(2), optimizer), [0.0], []
    for i in range(6):
        learner, metrics = update(learner, jnp.int32(i))
        places.append(float(learner.network[0]))
        losses.append(float(metrics["loss"]))
    moved = [before != after for before, after in itertools.pairwise(places)]
    assert moved == [True] * 6 if coasting else moved == [True, False, False] * 2
    assert int(learner.optimizer[0].count) == (6 if coasting else 2)  # type: ignore[index]
    assert np.mean(losses) == 5


def test_an_algorithm_chooses_what_the_progress_bar_shows(updated: Algorithm[Any]) -> None:
    _, metrics = remembered(updated, 0)
    assert set(shown(updated)) & metrics.keys()
    assert "shown" not in vars(updated)  # it is no setting
    if not isinstance(updated, BC):
        assert set(shown(updated)) <= metrics.keys()


def test_gradients_clipped_together_keep_their_ratio() -> None:
    together = clip_together(1.0, jnp.array([3.0]), {"other": jnp.array([4.0])})
    np.testing.assert_allclose(together[0], 0.6, rtol=1e-6)
    np.testing.assert_allclose(together[1]["other"], 0.8, rtol=1e-6)
    np.testing.assert_array_equal(clip_together(10.0, jnp.array([3.0]))[0], 3.0)


def test_polyak_is_a_weighted_mean() -> None:
    np.testing.assert_allclose(polyak(jnp.zeros(2), jnp.ones(2), 0.25), 0.25)
