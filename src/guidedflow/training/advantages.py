"""Weights of transitions by their advantage, from values of the policy that the weighted data stand for: ODPR-A.

    repeat    fit V_1, V_2 by TD(0) on batches drawn by the weights:  | V_i(s) - (r + gamma min V'(s')) |^2
              A = r + gamma min V(s') - min V(s), of all transitions
              weight <- weight (A - min A), brought to a mean of 1

After k rounds the weights stand for a behaviour policy that was improved k times (arXiv 2306.05412, beside ReD). No
episode has to be known. Networks and copies go on from round to round, Adam and its cosine schedule begin anew, as in
the authors' code (yueyang130/ODPR, 88d8224). The worst transition has a weight of 0 from the first round on.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Float64, Int, PRNGKeyArray

from guidedflow.algorithms.learner import Learner, polyak
from guidedflow.data.drawing import Weighted
from guidedflow.data.transitions import Transitions
from guidedflow.errors import InputError
from guidedflow.keys import Stream, stream_key
from guidedflow.networks import StateValues, Style
from guidedflow.settings import check_ranges
from guidedflow.types import Metrics, Scalar, Transition


@runtime_checkable
class Indexed(Protocol):
    """Transitions by index, such as `Transitions`."""

    def __len__(self) -> int: ...
    def take(self, indices: Int[Array, " batch"]) -> Transition:
        """The transitions of these indices, each field with a leading batch axis."""
        ...


class Values(NamedTuple):
    """Two values of a state, and their copy."""

    learner: Learner[StateValues]
    target: StateValues


@dataclass(frozen=True)
class Advantages:
    """How weights by advantage are found; the defaults are those published, and take five million updates."""

    rounds: int = 5
    """Rounds of fitting and weighting; published: 3 to 5."""
    steps: int = 1_000_000
    """Updates of a round."""
    batch_size: int = 256
    """Transitions an update."""
    tau: float = 0.005
    """Rate at which the copy follows."""
    learning_rate: float = 3e-4
    """Step size of Adam at the beginning of a round, from which a cosine leads to 0."""
    hidden: tuple[int, ...] = (256, 256)
    """Sizes of the hidden layers of the values."""
    deviation: float | None = None
    """Spread the weights of each round to this standard deviation, with a floor of 0.1; by default they stay."""

    def __post_init__(self) -> None:
        whole = dict.fromkeys(("rounds", "steps", "batch_size", "hidden"), (1, math.inf))
        check_ranges(self, tau=(0, 1), learning_rate=(0, math.inf), **whole)

    def weigh(self, transitions: Transitions, seed: int = 0) -> Float64[np.ndarray, " transitions"]:
        """The weight of each transition, of mean 1. Raises `InputError` where all advantages are the same."""
        values = self.init(transitions.example(), stream_key(seed, Stream.INIT))
        weights = np.ones(len(transitions))
        for number in range(self.rounds):
            drawing, base = Weighted.of(weights), number * self.steps

            def batch(step: Int[Array, ""], drawing: Weighted = drawing, base: int = base) -> Transition:
                key = stream_key(seed, Stream.DATA, base + step)
                return transitions.take(drawing(key, self.batch_size, len(transitions)))

            values = self._fit(values, batch)
            weights = self.reweighted(weights, self.advantages(values, transitions))
        return weights

    def init(self, example: Transition, key: PRNGKeyArray) -> Values:
        """Values before the first round."""
        style = Style(activation=jax.nn.relu)
        network = StateValues(example.observation.shape, self.hidden, size=2, style=style, key=key)
        return Values(Learner.init(network, self.optimizer), network)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam under a cosine schedule of one round."""
        return optax.adam(optax.cosine_decay_schedule(self.learning_rate, self.steps))

    def _fit(self, values: Values, batch: Callable[[Int[Array, ""]], Transition]) -> Values:
        @jax.jit
        def round_(values: Values) -> Values:
            begun = Values(Learner.init(values.learner.network, self.optimizer), values.target)
            return jax.lax.scan(lambda v, i: (self.step(v, batch(i))[0], None), begun, jnp.arange(self.steps))[0]

        return round_(values)

    def step(self, values: Values, batch: Transition) -> tuple[Values, Metrics]:
        """One update; the copy follows the values of after it."""

        def loss(network: StateValues, data: Transition) -> tuple[Scalar, Metrics]:
            target = data.reward + data.discount * jnp.min(values.target(data.next_observation))
            error = jnp.sum(jnp.square(network(data.observation) - target))
            return error, {"value_loss": error}

        learner, metrics = values.learner.step(self.optimizer, loss, batch)
        return Values(learner, polyak(values.target, learner.network, self.tau)), metrics

    def advantages(self, values: Values, transitions: Indexed) -> Float[np.ndarray, " transitions"]:
        """Of all transitions, by the smaller of the two values."""
        network = values.learner.network

        @jax.jit
        def of(batch: Transition) -> Float[Array, " batch"]:
            v, after = (jnp.min(jax.vmap(network)(s), axis=1) for s in (batch.observation, batch.next_observation))
            return batch.reward + batch.discount * after - v

        parts = np.array_split(np.arange(len(transitions)), max(1, len(transitions) // 65_536))
        return np.concatenate([np.asarray(of(transitions.take(jnp.asarray(part)))) for part in parts])

    def reweighted(
        self, weights: Float64[np.ndarray, " transitions"], advantages: Float[np.ndarray, " transitions"]
    ) -> Float64[np.ndarray, " transitions"]:
        """The weights after a round."""
        above = (advantages - advantages.min()).astype(np.float64)
        if not above.any():
            raise InputError("All transitions have the same advantage, so none can be drawn more often than another.")
        weights = weights * above / above.mean()
        weights = weights / weights.mean()
        if self.deviation is not None and (factor := self.deviation / weights.std()) > 1:
            weights = np.maximum((weights - 1) * factor + 1, 0.1)
            weights = weights / weights.mean()
        return weights
