"""Do plans survive other dynamics? R2PVI and PEVI on two small problems, under dynamics that they were not logged in.

    chain    three states on the way, each with a leap to a paradise; the leap of the first step may end in a fail state
    put      an American put option, exercised at its best price; the price may rise more often than in the log

The chain has the features and rewards of the simulated MDP of R2PVI's release (arXiv 2411.18612), and the option its
prices and interpolated features; what is perturbed, and how, is chosen here. This module does not know how plans are
found.
"""

from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int64

from guidedflow.results.canvas import COLORS
from guidedflow.studies import picture
from guidedflow.studies.finding import Finding, check
from guidedflow.studies.pessimism import (
    Log,
    Pessimism,
    Plan,
    chi_squared,
    kullback_leibler,
    plain,
    total_variation,
)
from guidedflow.studies.picture import Figure

Numbers = Float64[np.ndarray, "..."]
METHODS = ("pevi", "tv", "kl", "chi2")


@runtime_checkable
class Problem(Protocol):
    """A problem whose dynamics can be perturbed."""

    horizon: int
    nominal: float
    perturbations: tuple[float, ...]

    def log(self, episodes: int, random: np.random.Generator) -> Log:
        """Logged episodes of the nominal dynamics."""
        ...

    def play(
        self, pessimism: Pessimism, plan: Plan, perturbation: float, episodes: int, random: np.random.Generator
    ) -> float:
        """The mean return of a plan's greedy actions under perturbed dynamics."""
        ...


class Chain:
    """States 0, 1, 2 on the way, 3 failed, 4 paradise; 16 actions that make a leap to paradise more or less likely."""

    horizon = 3
    nominal = 0.0
    perturbations = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)

    def __init__(self) -> None:
        signs = np.array(np.meshgrid(*[[-1, 1]] * 4)).reshape(4, -1).T
        leap = 0.3 + signs @ np.full(4, 0.05)
        self.phi = np.zeros((5, 16, 4))
        for state in (0, 1, 2):
            self.phi[state, :, state], self.phi[state, :, 3] = 1 - leap, leap
        self.phi[3, :, 2] = 1
        self.phi[4, :, 3] = 1
        self.theta = np.array([[0.0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]])

    def next(self, states: Int64[np.ndarray, " n"], leaps: np.ndarray, fails: np.ndarray) -> Int64[np.ndarray, " n"]:
        """Where states lead, with and without a leap, and where a leap fails; fail state and paradise absorb."""
        on = np.where(leaps, np.where(fails, 3, 4), np.minimum(states + 1, 2))
        return np.where(states >= 3, states, on)

    def log(self, episodes: int, random: np.random.Generator) -> Log:
        states, features, choices, failed = np.zeros(episodes, int), [], [], []
        for _ in range(self.horizon):
            phi = self.phi[states, random.integers(0, 16, episodes)]
            features.append(phi)
            choices.append(self.phi[states])
            failed.append(states == 3)
            states = self.next(states, random.random(episodes) < phi[:, 3], np.zeros(episodes, bool))
        least = np.full((episodes, self.horizon), -np.inf)
        return Log(np.stack(features, 1), np.stack(choices, 1), self.theta, least, np.stack(failed, 1))

    def play(
        self, pessimism: Pessimism, plan: Plan, perturbation: float, episodes: int, random: np.random.Generator
    ) -> float:
        states, total = np.zeros(episodes, int), np.zeros(episodes)
        for h in range(self.horizon):
            q = pessimism.q(plan.w[h], plan.inverse[h], self.phi[states], self.horizon - h)
            phi = self.phi[states, q.argmax(axis=1)]
            total += np.where(states == 3, 0.0, phi @ self.theta[h])
            fails = (random.random(episodes) < perturbation) & (h == 0)
            states = self.next(states, random.random(episodes) < phi[:, 3], fails)
        return float(total.mean())


class Put:
    """Strike 100, 20 steps; a price rises or falls by a fiftieth, as often one as the other in the log."""

    horizon = 20
    nominal = 0.5
    perturbations = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

    def __init__(self) -> None:
        self.anchors = np.linspace(60, 150, 31)

    def phi(self, prices: Numbers) -> Numbers:
        """Shares of the two anchors beside each price."""
        apart = np.abs(prices[..., None] - self.anchors) / (self.anchors[1] - self.anchors[0])
        return np.maximum(0, 1 - apart)

    def walk(self, rise: float, episodes: int, random: np.random.Generator) -> Numbers:
        """Prices of all steps."""
        moves = np.where(random.random((episodes, self.horizon)) < rise, 1.02, 0.98)
        start = random.uniform(95, 105, (episodes, 1))
        return start * np.concatenate([np.ones((episodes, 1)), np.cumprod(moves, axis=1)], axis=1)

    def log(self, episodes: int, random: np.random.Generator) -> Log:
        prices = self.walk(self.nominal, episodes, random)[:, :-1]
        features = self.phi(prices)
        theta, failed = np.zeros(features.shape[1:]), np.zeros(prices.shape, bool)
        return Log(features, features[:, :, None], theta, np.maximum(0, 100 - prices), failed)

    def play(
        self, pessimism: Pessimism, plan: Plan, perturbation: float, episodes: int, random: np.random.Generator
    ) -> float:
        prices = self.walk(perturbation, episodes, random)
        held, total = np.ones(episodes, bool), np.zeros(episodes)
        for h in range(self.horizon):
            gain = np.maximum(0, 100 - prices[:, h])
            hold = pessimism.q(plan.w[h], plan.inverse[h], self.phi(prices[:, h]), np.inf)
            now = held & (gain > 0) & (gain >= hold)
            total, held = np.where(now, gain, total), held & ~now
        return float(np.where(held, np.maximum(0, 100 - prices[:, -1]), total).mean())


PROBLEMS: dict[str, type[Any]] = {"chain": Chain, "put": Put}


@dataclass(frozen=True)
class Robust:
    """Returns of robust and of plain pessimistic plans under dynamics that were not logged (R2PVI)."""

    problem: Literal["chain", "put"] = "chain"
    """A chain with a leap that may fail, or an American put option."""
    strength: float = 0.1
    """Price of the adversary's deviations: 0.1 for the chain and 0.03 for the option as published; larger is bolder."""
    ridge: float = 0.1
    """Of the regressions."""
    beta: float = 1.0
    """Weight of the penalty for little data."""
    episodes: int = 100
    """Logged episodes."""
    replications: int = 20
    """Logs, each with a plan of each method."""
    test_episodes: int = 100
    """Episodes of each plan at each perturbation."""
    seed: int = 0
    """Chooses logs and test episodes."""

    def measure(self) -> Finding:
        """Mean and deviation over logs of each method's return, at each perturbation."""
        counts = dict.fromkeys(("episodes", "replications", "test_episodes"), (1, np.inf))
        check(self, strength=(1e-6, 1e6), ridge=(1e-9, 1e6), beta=(0, 1e6), seed=(0, 2**31 - 1), **counts)
        problem: Problem = PROBLEMS[self.problem]()
        rows: list[dict[str, Any]] = []
        found = {(method, p): [] for method in METHODS for p in problem.perturbations}  # type: ignore[var-annotated]
        for replication in range(self.replications):
            log = problem.log(self.episodes, np.random.default_rng((self.seed, replication)))
            for method in METHODS:
                pessimism = self.pessimism(method, problem)
                plan = pessimism.fit(log)
                for p in problem.perturbations:
                    random = np.random.default_rng((self.seed, replication, 1))  # the same luck for every method
                    found[method, p].append(problem.play(pessimism, plan, p, self.test_episodes, random))
        for (method, p), returns in found.items():
            rows.append({"method": method, "perturbation": p, "return": np.mean(returns), "std": np.std(returns)})
        rows = [{k: float(v) if k in ("return", "std") else v for k, v in row.items()} for row in rows]
        return Finding(f"returns under other dynamics: {self.problem}", rows, {"problem": self.problem})

    def pessimism(self, method: str, problem: Problem) -> Pessimism:
        """How a method finds its values."""
        floor = 0.0 if self.problem == "chain" else None  # of the fail state, whether or not the log has seen it
        worth = {
            "pevi": plain,
            "tv": total_variation(self.strength, floor),
            "kl": kullback_leibler(self.strength, problem.horizon),
            "chi2": chi_squared(self.strength, problem.horizon),
        }[method]
        return Pessimism(worth, self.ridge, self.beta, joint=method == "pevi")

    def draw(self, finding: Finding) -> Figure:
        """Return against perturbation, a line for each method."""
        figure, (panel,) = picture.panels(1)
        for color, method in zip(COLORS, METHODS, strict=False):
            rows = finding.of(method=method)
            x, y, spread = ([row[name] for row in rows] for name in ("perturbation", "return", "std"))
            panel.errorbar(x, y, spread, color=color, marker="o", markersize=4, lw=2, capsize=3, label=method)
        panel.set(xlabel="perturbation", ylabel="mean return", title=finding.title)
        panel.legend(frameon=False, loc="best")
        return figure
