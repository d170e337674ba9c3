"""Numbers that are not finite: the update and the tensor are named, and other seeds go on with the same bits."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_data import line

from guidedflow.algorithms.bc import BC, State
from guidedflow.errors import InputError
from guidedflow.results import intervals
from guidedflow.results.diagnostics import FIGURE
from guidedflow.runs import deaths
from guidedflow.runs.trained import Trained
from guidedflow.settings import hyperparameters
from guidedflow.training.loop import train
from guidedflow.training.plan import Plan

PLAN = Plan(steps=20, seeds=2, batch_size=8, log_interval=10, checkpoint_interval=10)
AT = 14


@hyperparameters
class Fragile:
    """BC whose parameters become infinite in one update, for the seeds of one sign of their first weight."""

    poison: float = 1.0
    inner: BC = BC(hidden=(8,), flow_steps=2)

    def init(self, example: Any, key: Any) -> Any:
        return jnp.zeros((), jnp.int32), jax.random.key_data(key)[-1] % 2, self.inner.init(example, key)

    def update(self, state: Any, batch: Any, key: Any) -> Any:
        count, odd, learned = state
        learned, metrics = self.inner.update(learned, batch, key)
        assert isinstance(learned, State)
        hit = (count + 1 == AT) & (odd == 1) & (self.poison > 0)
        network = jax.tree.map(lambda leaf: jnp.where(hit, jnp.inf, leaf), learned.flow.network)
        return (count + 1, odd, State(learned.flow._replace(network=network))), metrics

    def policies(self, state: Any) -> Any:
        return self.inner.policies(state[2])


def seeds() -> tuple[int, int]:
    """A first seed such that one of two seeds dies, and which of them."""
    from guidedflow.keys import Stream, stream_key

    odd = [int(jax.random.key_data(stream_key(seed, Stream.INIT))[-1] % 2) for seed in range(20)]
    first = next(seed for seed in range(19) if odd[seed] != odd[seed + 1])
    return first, first + odd[first + 1]


@pytest.mark.slow
def test_a_dead_seed_is_named_and_the_other_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    first, dying = seeds()
    plan = Plan(**{**vars(PLAN), "seed": first})
    trained = train(Fragile(), line(), plan, out=tmp_path / "run")
    other = 2 * first + 1 - dying
    assert trained.seeds == [other]
    death = trained.dead[dying]
    assert death.update == AT
    assert death.tensor is not None
    assert ".network." in death.tensor
    assert deaths.read(tmp_path / "run") == [death]
    with pytest.raises(InputError, match=f"Seed {dying} .* is dead"):
        trained.policy(seed=dying)
    # nothing of it is averaged, and the checkpoint before it is whole
    last = intervals.read(tmp_path / "run" / "metrics.jsonl")[-1]
    index = list(last.seeds).index(dying)
    assert all(values[index] is None for name, values in last.metrics.items() if not name.startswith(FIGURE))
    assert Trained.open(tmp_path / "run", 10, Fragile).seeds == [first, first + 1]
    again = Trained.open(tmp_path / "run", None, Fragile)
    assert again.seeds == [other]
    whole = train(Fragile(poison=-1.0), line(), plan, out=tmp_path / "whole")
    row = whole.seeds.index(other)
    for mine, theirs in zip(jax.tree.leaves(again.state), jax.tree.leaves(whole.state), strict=True):
        np.testing.assert_array_equal(np.asarray(mine)[0], np.asarray(theirs)[row])


@pytest.mark.slow
def test_a_run_whose_seeds_are_all_dead_stops_and_keeps_its_checkpoint(tmp_path: Path) -> None:
    _, dying = seeds()
    plan = Plan(**{**vars(PLAN), "seed": dying, "seeds": 1})
    with pytest.raises(InputError, match=rf"between steps 10 and 20: .* after update {AT} of seed {dying}"):
        train(Fragile(), line(), plan, out=tmp_path / "run")
    assert Trained.open(tmp_path / "run", None, Fragile).step == 10
    assert deaths.read(tmp_path / "run")[0].update == AT
