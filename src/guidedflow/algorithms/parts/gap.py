"""The gap between what a critic expects of a policy and what it says of the data: a regulariser for any critic.

    gap_i = logsumexp over actions of the policy of Q_i(s, .) - Q_i(s, a)

It is CQL's (arXiv 2006.04779) with actions of the policy alone, and MISA's lower bound of the mutual information of
states and actions (arXiv 2210.07484), up to constants. This module does not know whose actions they are.
"""

import jax
from jaxtyping import Array, Float

from guidedflow.networks import Values
from guidedflow.types import Action, Scalar


def information_gap(
    values: Values, action: Action, proposals: Float[Array, "samples action"], temperature: float | Scalar = 1.0
) -> Float[Array, " members"]:
    """The gap of each member of a critic, at one observation."""
    expected = jax.vmap(values)(proposals) / temperature
    return temperature * jax.nn.logsumexp(expected, axis=0) - values(action)
