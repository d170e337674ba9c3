"""The toy of the QGF paper (arXiv 2606.11087, Figs. 2 and 14): one dimension, three equal modes, one of them best.

The data are a mixture of three Gaussians, N(m, s) with m = -0.7, 0, 0.7 and s = 0.1, so that modes and what the
samplers clip to, [-1, 1], hold almost all of them. The true value of an action is -|a - 0.7|: the best action is the
centre of the right mode, a third of what cloning gives. Nothing is trained:

    velocity    v(a, t) = (E[x | a] - a) / (1 - t), exact. On the straight path a = (1 - t) n + t x with n ~ N(0, 1),
                the velocity is E[x - n | a], and n = (a - t x) / (1 - t). Given the mode, x and a are jointly Gaussian:
                E[x | a, m] = m + t s^2 / r (a - t m) with r = (1 - t)^2 + t^2 s^2, and m has the posterior
                probability softmax(-(a - t m)^2 / (2 r)).
    critic      "exact" is the true value everywhere. "fitted" knows it only from clean actions, as a critic that is
                trained does: the kernel regression, in closed form, of the true value at 9 points within two standard
                deviations of each mode, which is right near the modes and falls back to the mean far from them.

The paper's claim about the noisy gradient is about critics of the second kind; under the exact value it does not hold.
This module does not know of networks, datasets or runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from guidedflow.flows.guidance import guidance_of
from guidedflow.flows.sampling import Sampler
from guidedflow.studies import picture
from guidedflow.studies.finding import Finding, check
from guidedflow.studies.picture import Figure
from guidedflow.types import Action, Scalar, Time, Value

MODES = (-0.7, 0.0, 0.7)
SPREAD = 0.1
BEST = 0.7
"""The action of largest value, the centre of the right mode."""
WEIGHTS = (0.1, 0.2, 0.4, 0.8, 1.6, 2.5, 4.0, 6.3, 10.0, 16.0, 40.0, 100.0)
METHODS = ("noisy", "denoised", "jacobian", "rollout")
EDGES = np.linspace(-1, 1, 61)
"""Bins of the densities."""


def velocity(point: Action, t: Time) -> Action:
    """The exact velocity of the flow from N(0, 1) to the mixture, for t < 1."""
    modes = jnp.asarray(MODES)
    variance = (1 - t) ** 2 + (t * SPREAD) ** 2
    offsets = point - t * modes
    shares = jax.nn.softmax(-(offsets**2) / (2 * variance))
    clean = jnp.sum(shares * (modes + t * SPREAD**2 / variance * offsets), keepdims=True)
    return (clean - point) / (1 - t)


class Exact(eqx.Module):
    """scale * -|a - a*|, everywhere."""

    scale: float = 1.0

    def __call__(self, action: Action, t: Time) -> Scalar:
        return -self.scale * jnp.abs(action[0] - BEST)


class Fitted(eqx.Module):
    """mean + sum of factors * exp(-(a - centre)^2 / (2 length^2)): a regression on clean actions."""

    centres: Float[Array, " points"]
    factors: Float[Array, " points"]
    mean: Float[Array, ""]
    length: float = eqx.field(static=True)

    def __init__(self, scale: float = 1.0, length: float = 0.25, ridge: float = 0.01) -> None:
        centres = np.add.outer(np.array(MODES), SPREAD * np.linspace(-2, 2, 9)).ravel()
        values = -scale * np.abs(centres - BEST)
        kernel = np.exp(-(np.subtract.outer(centres, centres) ** 2) / (2 * length**2))
        factors = np.linalg.solve(kernel + ridge * np.eye(len(centres)), values - values.mean())
        self.centres, self.factors, self.mean = (jnp.asarray(x, jnp.float32) for x in (centres, factors, values.mean()))
        self.length = length

    def __call__(self, action: Action, t: Time) -> Scalar:
        near = jnp.exp(-((self.centres - action) ** 2) / (2 * self.length**2))
        return self.mean + jnp.sum(self.factors * near)


CRITICS = {"exact": Exact, "fitted": Fitted}


@jax.jit
def sample(sampler: Sampler, critic: Value, noise: Float[Array, "samples candidates 1"]) -> Float[Array, " samples"]:
    """What a sampler makes of the toy's flow under a critic."""
    return jax.vmap(lambda noise: sampler(velocity, critic, noise))(noise)[:, 0]


def noises(samples: int, seed: int) -> Float[Array, "samples 1 1"]:
    """Where samples start; the same for every method and weight."""
    return jax.random.normal(jax.random.key(seed), (samples, 1, 1))


def true_value(actions: Float[np.ndarray, " samples"]) -> float:
    """The mean of -|a - a*|, which no method is told."""
    return float(-np.mean(np.abs(actions - BEST)))


def best_share(actions: Float[np.ndarray, " samples"]) -> float:
    """Share of samples within three standard deviations of the best mode's centre."""
    return float(np.mean(np.abs(actions - BEST) < 3 * SPREAD))


@dataclass(frozen=True)
class Toy:
    """Which guidance finds the best of three modes, in one dimension and in closed form."""

    weights: tuple[float, ...] = WEIGHTS
    """Weights of guidance, in action per value."""
    critic: Literal["fitted", "exact"] = "fitted"
    """Right near the data and meaningless elsewhere, as a critic that was trained, or right everywhere."""
    samples: int = 2000
    """Samples of each method and weight."""
    flow_steps: int = 10
    """Euler steps from noise to action."""
    seed: int = 0
    """Chooses the noise that samples start from."""

    def measure(self) -> Finding:
        """Mean true value, share in the best mode, and density of each method at each weight."""
        check(self, weights=(0, np.inf), samples=(1, np.inf), flow_steps=(1, np.inf), seed=(0, 2**31 - 1))
        noise = noises(self.samples, self.seed)
        value = CRITICS[self.critic]()
        pairs = [("none", 0.0), *((method, weight) for method in METHODS for weight in self.weights)]
        rows = []
        for method, weight in pairs:
            sampler = Sampler(self.flow_steps, guidance_of(method, weight, False, self.flow_steps))
            actions = np.asarray(sample(sampler, value, noise))
            rows.append(_row(method, weight, actions))
        best = {method: _best(rows, method) for method in METHODS}
        notes = {"critic": self.critic, "flow_steps": self.flow_steps, "samples": self.samples}
        reached = {name: {key: row[key] for key in ("weight", "value", "best_mode")} for name, row in best.items()}
        title = f"three modes in one dimension, {self.critic} critic, {self.samples} samples"
        return Finding(title, rows, {**notes, "edges": EDGES.tolist(), "best_weights": reached})

    def draw(self, finding: Finding) -> Figure:
        """Densities at each method's best weight, and value and share of the best mode against the weight."""
        figure, (density, value, share) = picture.panels(3)
        unguided = finding.of(method="none")[0]
        shown = [unguided, *(_best(finding.rows, method) for method in METHODS)]
        for i, row in enumerate(reversed(shown)):  # one above the other, each as high as its own largest bin
            heights = i + 0.85 * np.array(row["density"]) / max(row["density"])
            density.stairs(heights, EDGES, baseline=i, fill=True, color=picture.color(row["method"]))
        density.set_yticks([i + 0.35 for i in range(len(shown))], [_label(row) for row in reversed(shown)])
        density.set_xticks([-1, -0.5, 0, 0.5, 1])
        density.tick_params(axis="y", length=0)
        density.grid(visible=False, axis="y")
        for method in METHODS:
            rows = finding.of(method=method)
            weights = [row["weight"] for row in rows]
            picture.line(value, weights, [row["value"] for row in rows], method)
            picture.line(share, weights, [row["best_mode"] for row in rows], method)
        for panel, name in ((value, "value"), (share, "best_mode")):
            panel.axhline(unguided[name], color=picture.color("none"), lw=2, zorder=0, label=picture.NAMES["none"])
            panel.set(xscale="log", xlabel="weight of guidance")
        density.set(xlabel="action", title="samples at each method's best weight")
        value.set(ylabel="mean true value", title="value reached")
        share.set(ylabel="share of samples", title="samples in the best mode", ylim=(-0.03, 1.03))
        density.axvline(BEST, color="#333333", lw=1, ls=":", zorder=0)
        share.legend(frameon=False, loc="best", fontsize="small")
        return figure


def _row(method: str, weight: float, actions: Float[np.ndarray, " samples"]) -> dict[str, Any]:
    density = np.histogram(actions, EDGES, density=True)[0].tolist()
    told = {"value": true_value(actions), "best_mode": best_share(actions)}
    return {"method": method, "weight": weight, **told, "density": density}


def _label(row: Any) -> str:
    name = picture.NAMES[row["method"]]
    return name if row["method"] == "none" else f"{name}\nweight {row['weight']:g}"


def _best(rows: Sequence[Any], method: str) -> Any:
    """The row of largest true value; of equal ones that of the smallest weight."""
    return max((row for row in rows if row["method"] == method), key=lambda row: (row["value"], -row["weight"]))
