"""Pessimistic value iteration that is robust to other dynamics, for linear MDPs (R2PVI, arXiv 2411.18612).

A linear MDP has features phi(s, a) of D non-negative numbers: rewards are phi theta_h, and the next state is drawn from
a mixture of D unknown distributions with the weights phi. From K logged episodes, backward over h,

    L_h = ridge I + sum_k phi phi',   E_i[X] = (L_h^-1 sum_k phi X_k)_i,   V(s) = max_a Q_{h+1}(s, a)
    Q_h = min(phi (theta_h + nu_h) - beta sqrt(sum_i phi_i^2 (L_h^-1)_ii), H - h)

where nu_h,i is what distribution i is worth if an adversary may change it, at a price that a divergence sets:

    tv      E_i[min(V, floor + strength)]
    kl      -strength log max(E_i[exp(-V / strength)], exp(-H / strength))
    chi2    sup over c in [0, H] of E_i[min(V, c)] + (E_i[min(V, c)]^2 - E_i[min(V, c)^2]) / (4 strength)

The floor is the smallest V of the data, as published, or that of a known fail state. PEVI (arXiv 2012.15085) has no
adversary: nu_i = E_i[V], and the penalty beta sqrt(phi L^-1 phi'). All is float64 NumPy, in closed form.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

Vector = Float64[np.ndarray, " episodes"]
Worth = Callable[[Float64[np.ndarray, "features episodes"], Vector], Float64[np.ndarray, " features"]]
"""(E, V) -> nu: E X is the vector of E_i[X]."""


class Log(NamedTuple):
    """K logged episodes of H steps."""

    features: Float64[np.ndarray, "episodes steps features"]
    """phi of what was done."""
    choices: Float64[np.ndarray, "episodes steps actions features"]
    """phi of all that could have been done."""
    theta: Float64[np.ndarray, "steps features"]
    """Weights of the reward."""
    least: Float64[np.ndarray, "episodes steps"]
    """What can be had at a state without choosing any of them, such as by exercising an option; or minus infinity."""
    failed: np.ndarray
    """Whether a state is the fail state, of value 0, (episodes, steps)."""


class Plan(NamedTuple):
    """What was found: everything has a leading axis of steps."""

    w: Float64[np.ndarray, "steps features"]
    inverse: Float64[np.ndarray, "steps features features"]
    nu: Float64[np.ndarray, "steps features"]
    values: Float64[np.ndarray, "steps episodes"]


def total_variation(strength: float, floor: float | None = None) -> Worth:
    """The value clipped at its minimum plus the strength; the minimum is that of the data unless a floor is known."""
    return lambda e, v: e @ np.minimum(v, (v.min() if floor is None else floor) + strength)


def kullback_leibler(strength: float, horizon: int) -> Worth:
    """The soft minimum of the value."""
    least = np.exp(-horizon / strength)
    return lambda e, v: -strength * np.log(np.maximum(e @ np.exp(-v / strength), least))


def chi_squared(strength: float, horizon: int) -> Worth:
    """The supremum over c, exactly: between two values of the data the dual is a parabola."""

    def worth(e: Float64[np.ndarray, "features episodes"], v: Vector) -> Float64[np.ndarray, " features"]:
        edges = np.unique(np.clip(np.concatenate([v, [0.0, horizon]]), 0, horizon))
        below = v[:, None] <= edges[:-1]  # what a c inside each piece does not cut
        first, slope = e @ np.where(below, v[:, None], 0), e @ np.where(below, 0.0, 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            peak = (2 * strength * slope + first * slope) / (slope - np.square(slope))
        inside = np.clip(np.nan_to_num(peak), edges[:-1], edges[1:])
        points = np.concatenate([inside, np.broadcast_to(edges, (len(e), len(edges)))], axis=1)
        return np.array([dual(row, v, c, strength).max() for row, c in zip(e, points, strict=True)])

    return worth


def chi_squared_as_published(strength: float, horizon: int) -> Worth:
    """What the release's search returns in place of the supremum: it minimises the dual, from c = H / 2 on."""
    from scipy import optimize  # only for this comparison

    def worth(e: Float64[np.ndarray, "features episodes"], v: Vector) -> Float64[np.ndarray, " features"]:
        def search(row: Vector) -> float:
            found = optimize.minimize(
                lambda c: dual(row, v, c, strength)[0], horizon / 2, method="Nelder-Mead", bounds=[(0, horizon)]
            )
            return float(found.fun)

        return np.array([search(row) for row in e])

    return worth


def dual(row: Vector, v: Vector, c: Float64[np.ndarray, " points"], strength: float) -> Float64[np.ndarray, " points"]:
    """The dual of the chi-squared penalty at each c."""
    clipped = np.minimum(v[:, None], np.atleast_1d(c))
    mean = row @ clipped
    return mean + (np.square(mean) - row @ np.square(clipped)) / (4 * strength)


def plain(e: Float64[np.ndarray, "features episodes"], v: Vector) -> Float64[np.ndarray, " features"]:
    """No adversary."""
    return e @ v


@dataclass(frozen=True)
class Pessimism:
    """How values are found: against which adversary, and how far from the data they are doubted."""

    worth: Worth
    ridge: float = 0.1
    beta: float = 1.0
    joint: bool = False
    """PEVI's penalty, of all features at once, and its regression of rewards."""

    def fit(self, log: Log, spread: Float64[np.ndarray, "steps episodes"] | None = None) -> Plan:
        """Values of a log, from the last step back; `spread` divides each episode's share in a step's regression."""
        episodes, steps, size = log.features.shape
        w, inverses, nu = np.zeros((steps, size)), np.zeros((steps, size, size)), np.zeros((steps, size))
        values = np.zeros((steps, episodes))
        for h in reversed(range(steps)):
            phi = log.features[:, h]
            share = np.ones(episodes) if spread is None or h == steps - 1 else 1 / spread[h]
            inverses[h] = np.linalg.inv(self.ridge * np.eye(size) + phi.T @ (share[:, None] * phi))
            e = inverses[h] @ (phi.T * share)
            if h + 1 < steps:
                nu[h] = self.worth(e, values[h + 1])
            # PEVI regresses rewards too, as if their weights were not known.
            w[h] = nu[h] + (e @ (phi @ log.theta[h]) if self.joint else log.theta[h])
            found = self.q(w[h], inverses[h], log.choices[:, h], steps - h).max(axis=-1)
            values[h] = np.where(log.failed[:, h], 0.0, np.maximum(found, log.least[:, h]))
        return Plan(w, inverses, nu, values)

    def q(
        self,
        w: Float64[np.ndarray, " features"],
        inverse: Float64[np.ndarray, "features features"],
        phi: Float64[np.ndarray, "*many features"],
        largest: float,
    ) -> Float64[np.ndarray, "*many"]:
        """Q of these features."""
        metric = inverse if self.joint else np.diag(np.diag(inverse))
        doubt = np.sqrt(np.einsum("...i,ij,...j->...", phi, metric, phi))
        return np.minimum(phi @ w - self.beta * doubt, largest)


def spreads(pessimism: Pessimism, log: Log, published: bool = False) -> Float64[np.ndarray, "steps episodes"]:
    """The conditional variance of the next value, at least 1, from a plan and the regressions of its value and square.

    The variance-weighted variant divides by it. As `published` the plan is one that was never trained: its values are
    those of the penalty alone, and its regressions know no data.
    """
    plan, horizon = pessimism.fit(log), log.features.shape[1]
    values, inverse = plan.values, plan.inverse
    if published:
        smallest = np.linalg.norm(log.choices, axis=-1).min(axis=-1)
        values = np.where(log.failed, 0.0, -pessimism.beta * smallest / np.sqrt(pessimism.ridge)).T
        inverse = np.broadcast_to(np.eye(inverse.shape[-1]) / pessimism.ridge, inverse.shape)
    found = np.ones_like(values)
    for h in range(horizon - 1):
        phi, v = log.features[:, h], values[h + 1]
        e = phi @ inverse[h] @ phi.T
        found[h] = np.maximum(1, np.clip(e @ np.square(v), 0, horizon**2) - np.square(np.clip(e @ v, 0, horizon)))
    return found
