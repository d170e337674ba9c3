"""Settings that find themselves while training: the temperature of GFP's weights, and alpha of FQL and GFP.

    temperature   the eta at which the weights of a batch have the effective sample size (sum g)^2 / sum g^2 = share * n
    alpha         the dual variable of   mean |mu(s, z) - flow(s, z)|^2 = distance^2 mean Var flow(s, .)

Both are sought by their logarithm, so that they may cross decades. The temperature of a batch is found by bisection, as
in adaptive tempering, and followed by a moving average. Alpha climbs by dual ascent on the logarithm of the ratio of
both sides. This module does not know the losses in which they stand.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from guidedflow.settings import Automatic, is_auto
from guidedflow.types import Metrics, Scalar, Transition

FOLLOW = 0.01
"""Share of the way to a batch's own log temperature that one update goes: an average over about a hundred batches."""

CLIMB = 3e-3
"""Step of dual ascent: a constraint missed by a factor of e moves alpha by a factor of ten in 770 updates."""

ALPHAS = (1e-4, 1e6)
"""Between these alpha stays, where the distance cannot be reached."""

DECADES = 4
"""How far above and below the mean absolute advantage a temperature is sought."""

BISECTIONS = 14
"""Halvings of these decades: the logarithm is then known to a thousandth."""

NARROWEST = 0.15**2
"""Variance below which a flow counts as so wide: of narrower flows an actor misses a part of the width by itself.

A network of 3x128 came no nearer than 0.06 to the flow of OGBench's play data, whose deviation is 0.08, at any alpha.
"""


Step = Callable[[Scalar], tuple[Scalar, Metrics]]
"""From a logarithm to that after an update, and what is worth reporting."""


class Found(NamedTuple):
    """Logarithms of the settings that find themselves; a setting that is a number has None, which is no leaf."""

    log_alpha: Scalar | None = None
    log_temperature: Scalar | None = None

    @classmethod
    def begin(cls, **settings: tuple[Automatic | Scalar, float]) -> "Found":
        """Before the first update: each setting beside the number that it begins with where it is `auto`."""
        return cls(
            **{
                f"log_{name}": jnp.log(jnp.float32(first))
                for name, (value, first) in settings.items()
                if is_auto(value)
            }
        )

    def alpha(self, setting: Automatic | Scalar) -> Any:
        """Alpha of this update: the setting, or what was found."""
        return setting if self.log_alpha is None else jnp.exp(self.log_alpha)

    def temperature(self, setting: Automatic | Scalar) -> Any:
        """The temperature of this update: the setting, or what was found."""
        return setting if self.log_temperature is None else jnp.exp(self.log_temperature)

    def after(self, **steps: Step) -> tuple["Found", Metrics]:
        """After an update, with what is worth reporting; the step of a setting that is a number is not computed."""
        moved, metrics = self, Metrics()
        for name, step in steps.items():
            if (log := getattr(self, f"log_{name}")) is not None:
                after, told = step(log)
                moved, metrics = moved._replace(**{f"log_{name}": after}), metrics | told | {name: jnp.exp(log)}
        return moved, metrics

    def figures(self) -> Metrics:
        """Where alpha stands between its ends, from 0 to 1 by its logarithm; nothing where it is a number."""
        if self.log_alpha is None:
            return Metrics()
        low, high = map(math.log, ALPHAS)
        return {"alpha_place": (self.log_alpha - low) / (high - low)}


NUMBERS = Found()
"""Where no setting finds itself."""


def effective_share(weights: Float[Array, " batch"]) -> Scalar:
    """The effective sample size of weights that are not negative, as a share of their number; 0 where all are 0."""
    largest = jnp.maximum(jnp.max(weights), jnp.finfo(weights.dtype).tiny)
    scaled = weights / largest
    return jnp.square(jnp.mean(scaled)) / jnp.maximum(jnp.mean(jnp.square(scaled)), jnp.finfo(weights.dtype).tiny)


def sharpness(weigh: Callable[[Scalar], tuple[Array, Array]], share: float | Scalar) -> Step:
    """The step of a log temperature: a moving average of what each batch wants for this effective share.

    `weigh` gives the weights of a batch at a temperature, and the advantages that they come from.
    """

    def step(log_temperature: Scalar) -> tuple[Scalar, Metrics]:
        weights, advantages = weigh(jnp.exp(log_temperature))
        wanted = temperature_for(lambda temperature: weigh(temperature)[0], advantages, share)
        after = log_temperature + FOLLOW * (wanted - log_temperature)
        return after, {"effective_share": effective_share(weights)}

    return step


def temperature_for(
    weigh: Callable[[Scalar], Float[Array, " batch"]],
    advantages: Float[Array, " batch"],
    share: float | Scalar,
) -> Scalar:
    """The log temperature at which the weights of a batch have this effective share.

    Sought within `DECADES` of the mean absolute advantage: weights become even above, and ones and zeros below. Where
    even the lower end leaves more than the share, as where most of the data beat the actor, it is the lower end.
    """
    middle = jnp.log(jnp.maximum(jnp.mean(jnp.abs(advantages)), 1e-8))
    width = jnp.full_like(middle, DECADES * math.log(10))

    def halve(_: Array, bracket: tuple[Scalar, Scalar]) -> tuple[Scalar, Scalar]:
        low, high = bracket
        centre = (low + high) / 2
        enough = effective_share(weigh(jnp.exp(centre))) >= share  # False for weights that overflow: too sharp
        return jnp.where(enough, low, centre), jnp.where(enough, centre, high)

    return jax.lax.fori_loop(0, BISECTIONS, halve, (middle - width, middle + width))[1]


def spacing(
    imitate: Callable[..., Float[Array, " action"]],
    data: Transition,
    imitations: Float[Array, "batch action"],
    noise: Float[Array, "batch action"],
    metrics: Metrics,
    distance: float | Scalar,
) -> Step:
    """The step of a log alpha, which grows where the actor is further from the flow than it should be.

    `imitations` are the actions of the flow from `noise`; `distillation_loss` among the metrics is the actor's squared
    distance to them.
    """

    def step(log_alpha: Scalar) -> tuple[Scalar, Metrics]:
        width = jnp.maximum(variance(imitate, data.observation, imitations, noise), NARROWEST)
        found = metrics["distillation_loss"] / width
        excess = jnp.clip(jnp.log(found) - 2 * jnp.log(jnp.asarray(distance, found.dtype)), -1, 1)
        after = jnp.clip(log_alpha + CLIMB * excess, *(math.log(alpha) for alpha in ALPHAS))
        return after, {"distance": jnp.sqrt(found)}

    return step


def variance(
    imitate: Callable[..., Float[Array, " action"]],
    observations: Any,
    imitations: Float[Array, "batch action"],
    noise: Float[Array, "batch action"],
) -> Scalar:
    """The variance of a flow's actions at one state, a mean over dimensions and over an eighth of a batch.

    Each of these states is asked once more, with the noise of its neighbour in the batch.
    """
    part = max(imitations.shape[0] // 8, 1)
    others = jax.vmap(imitate)(*jax.tree.map(lambda leaf: leaf[:part], (observations, jnp.roll(noise, 1, axis=0))))
    return jnp.mean(jnp.square(imitations[:part] - others)) / 2
