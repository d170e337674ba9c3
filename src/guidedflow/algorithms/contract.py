"""What an algorithm is, and the state that it begins with.

An algorithm holds hyperparameters and no arrays. It knows transitions; it knows no dataset, no environment and no loop.
"""

from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import jax
from jaxtyping import PRNGKeyArray

from guidedflow.keys import Stream, stream_key
from guidedflow.policies.policy import Policy
from guidedflow.types import Metrics, Transition

State = TypeVar("State")


@runtime_checkable
class Algorithm(Protocol[State]):
    """One paper's algorithm: how its state begins, how it learns from a batch, and the policies that come out."""

    def init(self, example: Transition, key: PRNGKeyArray) -> State:
        """The state before the first update, for transitions shaped like `example`."""
        ...

    def update(self, state: State, batch: Transition, key: PRNGKeyArray) -> tuple[State, Metrics]:
        """One gradient step of every network, all taken at the same parameters; metrics are scalars."""
        ...

    def policies(self, state: State) -> dict[str, Policy]:
        """The policies by name, the main one first."""
        ...


@runtime_checkable
class Shows(Protocol):
    """An algorithm that chooses which of its metrics the progress bar shows, in this order."""

    shown: ClassVar[tuple[str, ...]]


def shown(algorithm: Algorithm[Any]) -> tuple[str, ...]:
    """Names of the metrics that the progress bar shows; by default the usual losses, of those that there are."""
    return algorithm.shown if isinstance(algorithm, Shows) else ("critic_loss", "flow_loss", "actor_loss", "q_loss")


@runtime_checkable
class Demanding(Protocol):
    """An algorithm that cannot learn from all data."""

    def demand(self, example: Transition) -> None:
        """Raise `InputError` for data whose transitions, of which `example` is the first, cannot be learned from."""
        ...


@runtime_checkable
class Diagnosed(Protocol):
    """An algorithm with figures beyond those that its policies have (`parts.figures`)."""

    def diagnostics(self, state: Any, batch: Transition, key: PRNGKeyArray) -> Metrics:
        """Single numbers that tell how the run does, on a fixed batch once a log interval; they change nothing."""
        ...


def check_data(algorithm: Algorithm[Any], example: Transition) -> None:
    """Raise `InputError` for data that the algorithm cannot learn from; `example` is the first transition."""
    if isinstance(algorithm, Demanding):
        algorithm.demand(example)


@jax.jit
def initial_state(algorithm: Algorithm[Any], example: Transition, seeds: jax.Array) -> Any:
    """The state before the first update, of all seeds at once."""
    return jax.vmap(lambda seed: algorithm.init(example, stream_key(seed, Stream.INIT)))(seeds)
