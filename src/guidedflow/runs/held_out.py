"""Held-out episodes as a run sees them: recorded transitions for a judge, and the run's own losses on them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from guidedflow.data.dataset import Dataset
from guidedflow.data.formats.columns import Columns
from guidedflow.data.transitions import Transitions
from guidedflow.errors import InputError
from guidedflow.evaluation.importance import Steps
from guidedflow.evaluation.off_policy import act
from guidedflow.evaluation.recorded import Chosen, Judge, Recorded
from guidedflow.keys import Stream, host_bits, stream_key
from guidedflow.packing import framed
from guidedflow.parts import on_host
from guidedflow.policies.policy import Policy
from guidedflow.runs import source
from guidedflow.runs.configuration import Configuration
from guidedflow.runs.trained import Trained

BATCHES = 8
"""Batches on which validation losses are means."""


@dataclass(frozen=True)
class HeldOut:
    """Episodes on which policies are judged, in the units of one run."""

    transitions: Transitions
    recorded: Recorded
    fingerprint: str | None
    """Of the whole dataset, if it is in memory."""
    discount: float
    """Of one step."""

    @classmethod
    def open(
        cls,
        trained: Trained,
        judge: Judge,
        path: Path | str | None = None,
        columns: Columns | Mapping[str, str] | None = None,
    ) -> "HeldOut":
        """The dataset at `path`, by default the run's own, as the run sees it.

        A transition is one step, or a chunk where the run plans chunks. Raises `InputError` for goal-conditioned data,
        and for data of other shapes than the run's.
        """
        dataset = trained.load(path, columns)
        if dataset.goal_conditioned:
            raise InputError(
                f"{trained.task} is goal-conditioned, so its rewards depend on goals that are drawn; off-policy "
                "evaluation needs recorded rewards, such as those of a singletask name."
            )
        spaces = trained.configuration.transition
        if framed(dataset.observation_shape, trained.frame_stack) != spaces.observation_shape:
            raise _other(trained, dataset.name, f"observations of shape {dataset.observation_shape}")
        transitions = source.cut(_one_step(trained.configuration), dataset)
        if (size := transitions.example().action.size) != spaces.action_size:
            raise _other(trained, dataset.name, f"actions of {size} numbers")
        fingerprint = dataset.fingerprint if isinstance(dataset, Dataset) else None
        return cls(transitions, recorded(transitions, judge), fingerprint, trained.configuration.discount)

    def steps(self) -> Steps:
        """All steps of the held-out episodes, for importance weighting. A chunk is not a step: `InputError`."""
        if self.transitions.chunk > 1:
            raise InputError("Importance weighting needs single steps, but this run plans chunks; leave it out.")
        indices = jnp.asarray(self.transitions.drawing.every(len(self.transitions)))
        batch = self.transitions.take(indices)
        episodes = np.unique(np.asarray(self.transitions.ends)[np.asarray(indices)], return_inverse=True)[1]
        return Steps(
            on_host(batch.observation), np.asarray(batch.action), np.asarray(batch.reward), episodes, self.discount
        )

    def seen_by(self, trained: Trained) -> bool:
        """Whether the run was trained on these episodes."""
        own = trained.run.config.get("dataset")
        return isinstance(own, Mapping) and self.fingerprint is not None and own.get("fingerprint") == self.fingerprint


def _other(trained: Trained, name: str, found: str) -> InputError:
    """The sentence about data of other shapes than the run's."""
    spaces = trained.configuration.transition
    return InputError(
        f"The dataset {name} has {found}, but {trained.run.path} was trained on observations of shape "
        f"{spaces.observation_shape} and actions of {spaces.action_size} numbers; name its own dataset with --dataset."
    )


def _one_step(configuration: Configuration) -> Configuration:
    """How the data is cut for judging: returns over several recorded steps would follow the recorded actions."""
    return configuration if configuration.chunk else replace(configuration, horizon=1)


def recorded(transitions: Transitions, judge: Judge) -> Recorded:
    """At most `judge.transitions` of these transitions, drawn by its seed, and the first one of every episode."""
    indices = np.asarray(transitions.drawing.every(len(transitions)))
    starts, ends = (np.asarray(column)[indices] for column in (transitions.starts, transitions.ends))
    _, firsts, episodes = np.unique(ends, return_index=True, return_inverse=True)
    returns = _returns(transitions, indices, starts, ends)
    kept = np.arange(len(indices))
    if len(indices) > judge.transitions:
        order = np.argsort(host_bits(judge.seed, Stream.JUDGING, 0, len(indices)), kind="stable")
        kept = np.sort(order[: judge.transitions])
    batch = jax.tree.map(np.asarray, transitions.take(jnp.asarray(indices[kept])))
    first = transitions.take(jnp.asarray(indices[firsts]))
    return Recorded(
        on_host(batch.observation), batch.action, batch.reward, batch.discount, on_host(batch.next_observation),
        batch.next_action, episodes[kept], on_host(first.observation), np.asarray(first.action), returns[firsts],
        (float(returns.mean()), float(returns.std())),
    )  # fmt: skip


def _returns(
    transitions: Transitions, indices: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> Float[np.ndarray, " transitions"]:
    """The discounted return that was recorded from each transition on; beyond the end of a recording it is 0."""
    rewards, discounts, nexts = (
        np.asarray(column)[indices] for column in (transitions.rewards, transitions.discounts, transitions.nexts)
    )
    following = np.minimum(np.searchsorted(starts, nexts), len(starts) - 1)
    goes_on = (starts[following] == nexts) & (ends[following] == ends)
    found = rewards.astype(np.float64)
    for i in range(len(found) - 1, -1, -1):
        if goes_on[i]:
            found[i] += discounts[i] * found[following[i]]
    return found


def actions(policy: Policy, held_out: HeldOut, judge: Judge) -> list[Chosen]:
    """The actions of a policy of all training seeds, drawn once for each seed."""
    leading = {jnp.shape(leaf)[0] for leaf in jax.tree.leaves(policy) if jnp.ndim(leaf)}
    return [act(member(policy, row), held_out.recorded, judge) for row in range(max(leading, default=1))]


def validation_losses(trained: Trained, held_out: HeldOut, seed: int = 0) -> dict[str, float]:
    """The losses of the run's own algorithm on held-out episodes: means over training seeds and a few batches.

    They say how well networks fit new episodes, not which policy is better.
    """
    algorithm, size = trained.algorithm, int(trained.run.config.get("batch_size", 256))

    @jax.jit
    def losses(state: Any, data: Transitions) -> dict[str, jax.Array]:
        def one(step: jax.Array) -> dict[str, jax.Array]:
            draw, noise = jax.random.split(stream_key(seed, Stream.JUDGING, step))
            batch = data.sample(draw, size)
            _, metrics = jax.vmap(lambda state: algorithm.update(state, batch, noise))(state)
            return {name: jnp.mean(each) for name, each in metrics.items() if name.endswith("loss")}

        return jax.tree.map(lambda each: jnp.mean(each, axis=0), jax.lax.map(one, jnp.arange(BATCHES)))

    return {name: float(each) for name, each in losses(trained.state, held_out.transitions).items()}


def member(policy: Policy, row: int) -> Policy:
    """The policy of one training seed."""
    found: Policy = jax.tree.map(lambda leaf: leaf[row] if jnp.ndim(leaf) else leaf, policy)
    return found
