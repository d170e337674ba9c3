"""What an evaluation promises: each episode once, with its own seed, whatever the number of workers."""

import json
import math
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_environment import Countdown, Diverging, Peaceful

from guidedflow.environments.vector import Simulators
from guidedflow.errors import InputError
from guidedflow.evaluation.play import _even
from guidedflow.evaluation.rollout import episode_seeds, evaluate
from guidedflow.flows.sampling import Sampler
from guidedflow.keys import Stream
from guidedflow.networks import Aggregate, OneStepActor
from guidedflow.normalization import ActionScale
from guidedflow.policies.kinds import ActorPolicy, FlowPolicy
from guidedflow.policies.rescaled import in_units
from guidedflow.results.rows import COLUMNS

LONGEST = 40


class Linear(eqx.Module):
    """A policy of one number: its first action is that number plus noise, cut to [0, 1]. It counts its traces."""

    weight: jax.Array
    observation_shape: tuple[int, ...] = eqx.field(static=True, default=(3,))
    traces: "Counter" = eqx.field(static=True, default=None)

    def __call__(self, observation, key):
        if self.traces is not None:
            self.traces.count += 1
        noise = 0.1 * jax.random.uniform(key, (2,)) + 1e-4 * jnp.sum(observation)
        return jnp.clip(self.weight * jnp.array([1.0, 0.0]) + noise, 0.0, 1.0)


class Counter:
    count = 0


def policy(*weights, **fields):
    return Linear(jnp.array(weights), **fields)


@pytest.fixture(scope="module")
def simulators():
    with Simulators(partial(Countdown, LONGEST), 6, 2) as simulators:
        yield simulators


def rollout(simulators, policy, seeds, episodes=7, **options):
    return evaluate(policy, simulators, task="countdown", seeds=seeds, episodes=episodes, **options)


@pytest.mark.parametrize("episodes", [1, 5, 6, 23])
def test_each_requested_episode_is_counted_once_however_long_it_is(simulators, episodes):
    evaluation = rollout(simulators, policy(0.2, 0.5), seeds=[10, 11], episodes=episodes)
    expected = [(seed, episode) for seed in (10, 11) for episode in range(episodes)]
    assert [(row["seed"], row["episode"]) for row in evaluation.rows] == expected
    for row in evaluation.rows:
        assert row["length"] == 1 + row["episode_seed"] % LONGEST
        assert row["success"] == (row["length"] % 2 == 0)
    if episodes == 23:
        lengths = {row["length"] for row in evaluation.rows}
        assert min(lengths) < 5
        assert max(lengths) > 35


def test_success_is_that_of_the_last_step(simulators):
    """Countdown reports success in its last step alone; an average over steps would be below one."""
    rows = rollout(simulators, policy(0.2), seeds=[0]).rows
    assert {row["success"] for row in rows} == {0.0, 1.0}


def test_a_row_is_what_evaluations_jsonl_holds(simulators):
    evaluation = rollout(simulators, policy(0.2), [3]).labelled(policy="actor", step=500, critic_run="runs/a")
    row = json.loads(json.dumps(evaluation.rows[0]))
    assert list(row) == list(COLUMNS)
    assert (row["task"], row["step"], row["policy"], row["source"]) == ("countdown", 500, "actor", "evaluate")
    assert (row["critic_run"], row["environment"]) == ("runs/a", "tiny_environment.Countdown")
    assert evaluation.summary()["environment"] == "tiny_environment.Countdown"


def test_the_summary_keeps_training_seeds_apart(simulators):
    evaluation = rollout(simulators, policy(0.1, 0.8), seeds=[4, 2])
    summary = evaluation.summary()
    assert (summary["seeds"], summary["episodes"]) == ([4, 2], 7)
    by_seed = {seed: [row for row in evaluation.rows if row["seed"] == seed] for seed in (4, 2)}
    assert summary["success"] == [np.mean([row["success"] for row in by_seed[seed]]) for seed in summary["seeds"]]
    assert summary["success_mean"] == pytest.approx(np.mean([row["success"] for row in evaluation.rows]))
    assert summary["length_mean"] == pytest.approx(np.mean([row["length"] for row in evaluation.rows]))
    low, high = (np.mean([row["return"] / row["length"] for row in by_seed[seed]]) for seed in (4, 2))
    assert low == pytest.approx(0.15, abs=0.06)
    assert high == pytest.approx(0.85, abs=0.06)


def test_seeds_evaluated_together_equal_each_alone(simulators):
    together = rollout(simulators, policy(0.1, 0.8, 0.4), seeds=[0, 1, 2])
    for index, weight in enumerate([0.1, 0.8, 0.4]):
        alone = rollout(simulators, policy(weight), seeds=[index])
        mine = [row for row in together.rows if row["seed"] == index]
        assert [row["episode_seed"] for row in mine] == [row["episode_seed"] for row in alone.rows]
        np.testing.assert_allclose([r["return"] for r in mine], [r["return"] for r in alone.rows], rtol=1e-6)


@pytest.mark.parametrize("workers", [1, 2, 3, 16])
def test_as_many_environments_are_used_as_end_the_episodes_soonest(workers):
    assert _even(50, 10, 2) == 10
    assert _even(50, 16, 2) == 10  # 16 would take four rounds of 8 steps a worker, the last with 2 episodes
    assert _even(3, 8, 2) == 3
    assert _even(64, 16, 2) == 16
    for episodes in (1, 7, 50, 150):
        used = _even(episodes, 5 * workers, workers)
        assert 1 <= used <= min(episodes, 5 * workers)
        # Nobody could be done before the episodes of the busiest worker are.
        steps = math.ceil(episodes / used) * math.ceil(used / workers)
        assert steps <= 1.5 * math.ceil(episodes / workers)


@pytest.mark.parametrize(("number", "workers"), [(1, 1), (2, 2), (9, 3), (70, 2)])
def test_neither_workers_nor_environments_change_a_row(simulators, number, workers):
    expected = rollout(simulators, policy(0.2, 0.5), seeds=[10, 11], episodes=40)
    with Simulators(partial(Countdown, LONGEST), number, workers) as others:
        assert rollout(others, policy(0.2, 0.5), seeds=[10, 11], episodes=40) == expected


def test_the_same_seed_repeats_and_another_does_not(simulators):
    first, second, other = (rollout(simulators, policy(0.2), [0], seed=seed) for seed in (0, 0, 1))
    assert first == second
    assert first.rows[0]["episode_seed"] != other.rows[0]["episode_seed"]


def test_episode_seeds_of_different_streams_are_apart_and_more_episodes_keep_the_first():
    streams = Stream.REPORTING_EPISODES, Stream.TRAINING_EPISODES, Stream.SELECTION_EPISODES
    assert len({seed for stream in streams for seed in episode_seeds(0, stream, 100)}) == 300
    assert episode_seeds(0, streams[0], 10) == episode_seeds(0, streams[0], 100)[:10]


def test_one_trace_serves_all_calls_while_episodes_end(simulators):
    counter = Counter()
    for seed in range(3):
        rollout(simulators, policy(0.2, 0.5, traces=counter), seeds=[0, 1], episodes=13, seed=seed)
    assert counter.count == 1


def test_a_scalar_leaf_is_shared_by_the_seeds(simulators):
    shared = jax.tree_util.Partial(lambda table, offset, observation, key: table + offset, jnp.zeros((2, 2)), 0.5)
    rows = rollout(simulators, shared, seeds=[0, 1]).rows
    assert all(row["return"] == pytest.approx(0.5 * row["length"]) for row in rows)


def test_actions_are_clipped_to_the_box(simulators):
    far = jax.tree_util.Partial(lambda table, observation, key: table, jnp.full((1, 2), 9.0))
    assert all(row["return"] == row["length"] for row in rollout(simulators, far, seeds=[0]).rows)


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        (lambda s: rollout(s, policy(0.1), [0], episodes=0), "at least one episode, found 0"),
        (lambda s: rollout(s, policy(0.1, 0.2), [3, 3]), r"different training seeds, found \[3, 3\]"),
        (lambda s: rollout(s, policy(0.1, 0.2), [0]), r"1 training seeds are named.*some have \[2\]"),
        (
            lambda s: rollout(s, policy(0.1, observation_shape=(28,)), [0]),
            r"takes observations of shape \(28,\), but task 'countdown' gives \(3,\)",
        ),
        (
            lambda s: rollout(s, jax.tree_util.Partial(lambda a, o, k: a, jnp.zeros((1, 5))), [0]),
            r"expected actions of shape \(2,\), found \(5,\)",
        ),
        (lambda s: rollout(s, policy(np.nan), [7]), "policy of seed 7 gave an action that is not finite in step 0"),
    ],
)
def test_what_does_not_fit_is_one_sentence(mistake, sentence):
    with Simulators(partial(Countdown, LONGEST), 2, 1) as simulators, pytest.raises(InputError, match=sentence):
        mistake(simulators)


@pytest.mark.parametrize("what", ["rewards", "observations"])
def test_a_simulator_that_breaks_is_named_with_the_seed_of_the_episode(what):
    with Simulators(partial(Diverging, what), 1, 1) as simulators:
        sentence = rf"^evaluation: 'countdown' gave {what} that are not finite in the episode of seed (\d+)$"
        with pytest.raises(InputError, match=sentence) as told:
            rollout(simulators, policy(0.2), [0])
    assert any(str(told.value).endswith(f" {seed}") for seed in episode_seeds(0, Stream.REPORTING_EPISODES, 7))


def test_simulators_serve_again_after_an_evaluation_that_failed(simulators):
    with pytest.raises(InputError, match="not finite"):
        rollout(simulators, policy(np.nan), [0])
    assert len(rollout(simulators, policy(0.1), [0]).rows) == 7


class Chunks(eqx.Module):
    """Plans three steps at once: its first actions are weight, 2 weight, 3 weight, plus 0.001 per step played."""

    weight: jax.Array

    def __call__(self, observation, key):
        first = self.weight * jnp.arange(1.0, 4.0) + 0.001 * observation[1]
        return jnp.stack([first, jnp.zeros(3)], axis=1).reshape(-1)


@pytest.mark.parametrize("replan", [None, 1, 2])
def test_a_chunk_is_executed_open_loop_and_asked_for_anew_when_due(simulators, replan):
    evaluation = rollout(simulators, Chunks(jnp.array([0.1])), seeds=[0], episodes=9, replan=replan)
    every = replan or 3
    for row in evaluation.rows:
        steps = np.arange(row["length"])
        expected = 0.1 * (1 + steps % every) + 0.001 * (steps - steps % every)
        assert row["return"] == pytest.approx(expected.sum(), rel=1e-5)


@pytest.mark.parametrize("replan", [0, 4])
def test_a_chunk_cannot_be_asked_for_after_more_steps_than_it_has(simulators, replan):
    with pytest.raises(InputError, match=f"plans 3 steps, so it can be asked anew after 1 to 3 of them, not {replan}"):
        rollout(simulators, Chunks(jnp.array([0.1])), seeds=[0], replan=replan)


class Times(eqx.Module):
    """Plans four steps at once; each first action is 0.001 times the step at which the plan was made."""

    weight: jax.Array

    def __call__(self, observation, key):
        first = self.weight * 0.001 * observation[1] * jnp.ones(4)
        return jnp.stack([first, jnp.zeros(4)], axis=1).reshape(-1)


@pytest.mark.parametrize("delay", [None, 0, 1])
def test_a_late_chunk_is_executed_from_the_step_of_its_arrival_and_the_one_before_until_then(simulators, delay):
    evaluation = rollout(simulators, Times(jnp.array([1.0])), seeds=[0], episodes=9, replan=2, delay=delay)
    for row in evaluation.rows:
        steps = np.arange(row["length"])
        request = steps - steps % 2
        late = (steps % 2 < (delay or 0)) & (request > 0)
        expected = 0.001 * (request - 2 * late)
        assert row["return"] == pytest.approx(expected.sum(), rel=1e-4, abs=1e-7)
        assert (row["replan"], row["delay"], row["realtime"]) == (2, delay, None if delay is None else False)
        # One of two dimensions jumps, by the two steps between the requests.
        seam = None if delay is None or row["length"] <= 2 else pytest.approx(0.002 / math.sqrt(2), rel=1e-4)
        assert row["seam"] == seam
    summary = evaluation.summary()
    assert (delay is None) == ("seam_mean" not in summary)


@pytest.mark.parametrize(("replan", "delay"), [(None, 1), (2, 2), (3, 2)])
def test_a_delay_longer_than_the_chunk_lasts_is_refused(simulators, replan, delay):
    with pytest.raises(InputError, match=f"--delay is {delay}, but a chunk of 4 steps that is requested anew after"):
        rollout(simulators, Times(jnp.array([1.0])), seeds=[0], replan=replan, delay=delay)


class Holding(eqx.Module):
    """A flow of chunks of six steps of two numbers: whatever the noise, its steps all become their mean."""

    speed: jax.Array
    observation_shape: tuple[int, ...] = eqx.field(static=True, default=(3,))
    action_size: int = eqx.field(static=True, default=12)

    def given(self, observation):
        def velocity(point, t):
            steps = point.reshape(6, 2)
            return (self.speed * (jnp.mean(steps, axis=0, keepdims=True) - steps) / (1.01 - t)).reshape(-1)

        return velocity


def flow(seeds=2):
    return FlowPolicy(flow=Holding(jnp.ones(seeds)), critic=None, aggregate=Aggregate.min, sampler=Sampler(10))


@pytest.mark.parametrize("scale", [None, ActionScale((-0.5, 0.0), (0.5, 0.4))])
def test_real_time_chunking_closes_the_seams_between_chunks(scale):
    """Each chunk holds one action, drawn anew: unpulled it jumps from draw to draw, pulled it goes on."""
    policy = in_units(flow(), scale)
    told = {"seeds": [0, 1], "episodes": 4, "replan": 2, "delay": 1}
    with Simulators(partial(Peaceful, LONGEST), 6, 2) as peaceful:
        plain, pulled = (rollout(peaceful, policy, **told, realtime=realtime) for realtime in (False, True))
    assert {(row["realtime"], row["guidance"]) for row in pulled.rows} == {(True, "none")}
    assert pulled.summary()["seam_mean"] < 0.6 * plain.summary()["seam_mean"]
    for one, other in zip(plain.rows, pulled.rows, strict=True):
        if one["length"] <= 3:  # the first chunk is free, and goes on in the step of the delay
            assert one["return"] == pytest.approx(other["return"], rel=1e-5)


def test_real_time_chunking_needs_a_delay_and_a_flow(simulators):
    with pytest.raises(InputError, match="needs the delay of a chunk"):
        rollout(simulators, flow(1), seeds=[0], realtime=True)
    with pytest.raises(InputError, match="for policies of this library"):
        rollout(simulators, Times(jnp.array([1.0])), seeds=[0], replan=2, delay=1, realtime=True)
    keys = jax.random.split(jax.random.key(0), 1)
    actor = eqx.filter_vmap(lambda key: OneStepActor((3,), 12, (8,), key=key))(keys)
    policy = ActorPolicy(actor=actor, critic=None, aggregate=Aggregate.min, sampler=Sampler())
    with pytest.raises(InputError, match="this policy is no flow"):
        rollout(simulators, policy, seeds=[0], replan=2, delay=1, realtime=True)


@pytest.mark.slow
def test_a_rollout_of_ogbench():
    pytest.importorskip("ogbench")
    from guidedflow.environments import make

    task = "cube-single-noisy-singletask-task1-v0"
    still = jax.tree_util.Partial(lambda table, observation, key: table, jnp.zeros((1, 5)))
    with Simulators(partial(make, task), 2, 2) as simulators:
        evaluation = evaluate(still, simulators, task=task, seeds=[0], episodes=2)
    assert [row["length"] for row in evaluation.rows] == [200, 200]
    summary = evaluation.summary()
    assert (summary["success"], summary["return_mean"], summary["success_timing"]) == ([0.0], -200.0, "post")
