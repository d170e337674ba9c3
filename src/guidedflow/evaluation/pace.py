"""The pace of a policy that plans chunks: when it is asked, and when its chunk arrives.

This module does not know how environments are stepped.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import PyTree

from guidedflow.errors import InputError
from guidedflow.flows.realtime import check_delay
from guidedflow.policies.policy import Policy


@dataclass(frozen=True)
class Pace:
    """When chunks are requested, when they arrive, and whether they are pulled to the one before."""

    replan: int | None = None
    """Steps from one request to the next; None is the whole chunk."""
    delay: int | None = None
    """Steps from a request to the arrival of its chunk; None is at once, and measures no seams."""
    realtime: bool | None = None

    def every(self, chunk: int) -> int:
        """Steps from one request to the next, for chunks of so many steps. Raises `InputError` where they are fewer."""
        if self.replan is not None and not 1 <= self.replan <= chunk:
            raise InputError(
                f"evaluation: the policy plans {chunk} steps, so it can be asked anew after 1 to "
                f"{chunk} of them, not {self.replan}"
            )
        return chunk if self.replan is None else self.replan

    def check(self, policy: PyTree, size: int) -> None:
        """Raise `InputError` for a policy that cannot act at this pace; a step of its actions has `size` numbers."""
        if self.realtime and self.delay is None:
            raise InputError("Real-time chunking needs the delay of a chunk in steps, which may be 0.")
        if isinstance(policy, Policy):
            chunk = policy.action_size // size
            if self.delay is not None:
                check_delay(chunk, self.delay, self.every(chunk))
            if self.realtime:
                policy.bound(jnp.zeros(policy.action_size), jnp.zeros(policy.action_size))
        elif self.realtime:
            raise InputError("Real-time chunking is for policies of this library, but got a function.")
