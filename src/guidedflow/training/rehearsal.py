"""What training would take, measured on a few updates that are thrown away: parameters, memory, time."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from guidedflow.algorithms.contract import Algorithm, initial_state
from guidedflow.data.dataset import Dataset
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.sampling.feed import open_feed
from guidedflow.data.sampling.rebalance import Rebalance
from guidedflow.data.sampling.windows import WINDOW, Window
from guidedflow.training.member import Order, check_arguments, cutting_of
from guidedflow.training.plan import Plan
from guidedflow.training.updates import advance, compiling, in_rows
from guidedflow.types import Transition

UPDATES = 10
"""Updates that are timed at least, after as many that are not."""

SECONDS = 1.0
"""For how long updates are timed, if they are so fast."""


@dataclass(frozen=True)
class Rehearsal:
    """What training would take."""

    example: Transition
    """One transition, as the networks see it."""
    parameters: Mapping[str, int]
    """Numbers in each network of one seed, target networks included, by its name in the state."""
    state_bytes: int
    """The state of all seeds, on the device and in each checkpoint."""
    data_bytes: int
    """The transitions that are on the device at a time."""
    compile_seconds: float
    seconds_an_update: float

    def seconds(self, plan: Plan) -> float:
        """How long the updates of a plan take, without evaluations and checkpoints."""
        return self.compile_seconds + plan.steps * self.seconds_an_update


def rehearse(
    algorithm: Algorithm[Any],
    dataset: Dataset | Mapped,
    plan: Plan,
    *,
    window: Window = WINDOW,
    rebalance: Rebalance | None = None,
    normalize_observations: bool | None = None,
) -> Rehearsal:
    """Compile and time a few updates of `algorithm` on `dataset`, and write nothing.

    Raises `InputError` for what `train` would refuse, but for its folder and its simulators.
    """
    order = Order(algorithm, plan, Path())
    check_arguments(order.algorithm, dataset, order.plan)
    with jax.enable_x64(False):
        cutting = cutting_of([order], dataset, normalize_observations)
        window = replace(window, updates=window.lasting(plan.batch_size, plan.log_interval))
        with open_feed(dataset, cutting, rebalance=rebalance, window=window, seed=plan.seed, steps=plan.steps) as feed:
            example, seeds = feed.example(), jnp.asarray(plan.each_seed, jnp.int32)
            batches, algorithms = feed.at(0), in_rows([algorithm for _ in plan.each_seed])
            state = initial_state(algorithm, example, seeds)
            parameters, state_bytes = _parameters(state), _bytes(state)
            with compiling() as clock:
                state, _ = jax.block_until_ready(
                    advance(algorithms, state, batches, seeds, 0, UPDATES, plan.batch_size)
                )
            done, start = 0, time.perf_counter()
            while done == 0 or time.perf_counter() - start < SECONDS:
                state, _ = jax.block_until_ready(
                    advance(algorithms, state, batches, seeds, 0, UPDATES, plan.batch_size)
                )
                done += UPDATES
            each = (time.perf_counter() - start) / done
            return Rehearsal(example, parameters, state_bytes, _bytes(batches), clock.seconds, each)


def _parameters(state: Any) -> dict[str, int]:
    """Numbers of one seed in each network of a state, by its place in it; those of optimisers are left out."""
    found: dict[str, int] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        name = jax.tree_util.keystr(path, simple=True, separator=".").split(".")
        if "optimizer" not in name and jnp.issubdtype(leaf.dtype, jnp.floating):
            ends = [name.index(word) for word in ("network", "layers") if word in name]
            part = ".".join(name[: min(ends, default=1)])
            found[part] = found.get(part, 0) + leaf.size // leaf.shape[0]
    return found


def _bytes(tree: Any) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array))
