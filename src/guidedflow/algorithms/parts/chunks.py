"""Chunks of which a part acts: the critic judges all of a chunk, the policy proposes its beginning."""

from guidedflow.errors import InputError
from guidedflow.types import Transition


def first_part(batch: Transition, ratio: int) -> Transition:
    """Transitions, one or a batch, with the first 1 / `ratio` of their action.

    Raises `InputError` where the action cannot be divided so.
    """
    size = batch.action.shape[-1]
    if size % ratio:
        raise InputError(
            f"ratio must divide the critic's chunk into whole steps of the policy's, but is {ratio} for chunks of "
            f"{size} numbers; train with --chunk and a --horizon that is a multiple of it."
        )
    return batch._replace(action=batch.action[..., : size // ratio])
