"""A weight is chosen where reported numbers never look."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_data import line
from tiny_environment import Peaceful
from untaught import begun

from guidedflow import environments, files
from guidedflow.algorithms import BC, QGF
from guidedflow.environments.vector import Simulators
from guidedflow.errors import InputError
from guidedflow.evaluation.rollout import episode_seeds
from guidedflow.evaluation.selection import by_dataset, by_episodes
from guidedflow.flows.guidance import DenoisedGradient
from guidedflow.flows.sampling import Sampler
from guidedflow.keys import Stream
from guidedflow.networks import Aggregate, Critic, RawTime, VelocityField
from guidedflow.policies.kinds import FlowPolicy
from guidedflow.runs.trained import Trained
from guidedflow.training.plan import Plan

PLAN = Plan(steps=2, seeds=2, batch_size=4, log_interval=2)
WEIGHTS = (0.0, 1.0, 10.0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return begun(QGF(hidden=(8, 8), flow_steps=2), line(), PLAN, out=tmp_path_factory.mktemp("runs") / "qgf")


def weighted(trained: Trained, weights: tuple[float, ...] = WEIGHTS) -> dict[float, FlowPolicy]:
    base = trained.steered("flow")
    return {weight: base.with_sampler(Sampler(2, DenoisedGradient(weight))) for weight in weights}  # type: ignore[misc]


def test_episodes_of_selection_are_never_those_of_a_report(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "describe", lambda task: {})
    with Simulators(partial(Peaceful, 6), 2, 1) as simulators:
        selection = by_episodes(weighted(trained), partial(trained.evaluate, "flow", episodes=4, simulators=simulators))
        trained.evaluate("flow", episodes=4, simulators=simulators)
    rows = files.read_rows(trained.run.evaluations)
    seeds = {
        source: {row["episode_seed"] for row in rows if row["source"] == source} for source in ("selection", "evaluate")
    }
    assert len(rows) == (3 + 1) * 4 * 2
    assert not seeds["selection"] & seeds["evaluate"]
    assert seeds["selection"] == set(episode_seeds(0, Stream.SELECTION_EPISODES, 4))
    # The first action is the reward there, so what was measured can be recomputed from the rows.
    assert selection.weights == WEIGHTS
    best = max(range(3), key=lambda i: (selection.measured[i]["success_mean"], -WEIGHTS[i]))
    assert selection.chosen == WEIGHTS[best]


@pytest.mark.slow
def test_of_equal_weights_the_smallest_is_chosen(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """Success depends on the episode's seed alone there."""
    monkeypatch.setattr(environments, "describe", lambda task: {})
    with Simulators(partial(Peaceful, 6), 2, 1) as simulators:
        trial = partial(trained.evaluate, "flow", episodes=2, simulators=simulators)
        assert by_episodes(weighted(trained, (1.0, 0.5, 2.0)), trial).chosen == 0.5


def test_a_choice_without_a_simulator_takes_the_best_value_that_stays_near_the_flow() -> None:
    """A flow of N(0, I) clipped, a critic whose value is a[0]: guidance moves the first action by the weight."""
    flow = VelocityField((3,), 2, (4,), RawTime(), key=jax.random.key(0))
    critic = Critic((3,), 2, (), key=jax.random.key(1))
    flow = jax.tree.map(jnp.zeros_like, flow)
    slope = jnp.zeros((5, 1)).at[3, 0].set(1.0)
    critic = jax.tree.map(lambda leaf: slope if leaf.shape == (5, 1) else leaf * 0, critic)
    base = FlowPolicy(flow, critic, Aggregate.min, Sampler())
    stacked = jax.tree.map(lambda leaf: leaf[None], base)
    weights = (0.0, 0.5, 1.0, 30.0)
    policies = {weight: stacked.with_sampler(Sampler(guidance=DenoisedGradient(weight))) for weight in weights}
    selection = by_dataset(policies, jnp.zeros((64, 3)), farthest=2.0)
    value = [row["value"] for row in selection.measured]
    distance = [row["distance"] for row in selection.measured]
    assert np.all(np.diff(value) > 0)
    assert distance[0] == pytest.approx(1.0, abs=0.25)
    admitted = [weight for weight, far in zip(weights, distance, strict=True) if far <= 2.0]
    assert selection.chosen == admitted[-1]
    tight = by_dataset(policies, jnp.zeros((64, 3)), farthest=0.0)
    assert tight.chosen == weights[int(np.argmin(distance))]


def test_what_is_no_guided_flow_has_no_weight_to_choose(tmp_path: Path) -> None:
    bc = begun(BC(hidden=(4,), flow_steps=1), line(), PLAN, out=tmp_path / "bc")
    with pytest.raises(InputError, match="Only the guidance of a plain flow by a critic"):
        by_dataset({0.0: bc.steered()}, jnp.zeros((2, 3)))
