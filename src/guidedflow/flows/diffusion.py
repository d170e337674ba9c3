"""Diffusion between actions and noise in discrete steps: the second path, for methods that are no flows.

    a_t = sqrt(bar_t) a + sqrt(1 - bar_t) noise,   bar_t = product of (1 - beta_i) for i up to t,   t = 1 ... T

beta_t is the variance-preserving schedule of Song et al. (arXiv 2011.13456), between its limits 0.1 and 10. Here t
counts steps towards noise, the opposite of `flow`. Everything is a function of one action; this module does not know
of observations, networks or values.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from guidedflow.settings import check_settings, hyperparameters
from guidedflow.types import Action, Noise, Scalar, Velocity

LOWEST, HIGHEST = 0.1, 10.0


@hyperparameters
class Schedule:
    """How much noise each step adds."""

    steps: int = 10
    """Number of steps (T)."""
    published: bool = False
    """Denoise as the release of QGF does for DAC and QSM: by the predicted action plus noise, instead of by DDPM."""

    def __post_init__(self) -> None:
        check_settings(self, steps=(1, math.inf))

    def betas(self) -> Float[Array, " steps"]:
        """Variance that each step adds, from t = 1 on."""
        t = jnp.arange(1, self.steps + 1, dtype=jnp.float32)
        rate = LOWEST / self.steps + (HIGHEST - LOWEST) * (2 * t - 1) / (2 * self.steps**2)
        return 1 - jnp.exp(-rate)

    def kept(self) -> Float[Array, " steps"]:
        """bar_t: the share of the action's variance that is left after step t, from t = 1 on."""
        return jnp.cumprod(1 - self.betas())


def diffuse(schedule: Schedule, action: Action, noise: Noise, t: Int[Array, ""]) -> Action:
    """The action after t steps towards noise."""
    kept = schedule.kept()[t - 1]
    return jnp.sqrt(kept) * action + jnp.sqrt(1 - kept) * noise


def noise_level(schedule: Schedule, t: Int[Array, ""]) -> Scalar:
    """Deviation of the noise after t steps."""
    return jnp.sqrt(1 - schedule.kept()[t - 1])


def denoise(predict: Velocity, schedule: Schedule, noise: Float[Array, "steps action"]) -> Action:
    """From pure noise, its first row, back to an action that is not clipped; the other rows are noise on the way.

    `predict(a_t, t)` is the noise in a_t. DDPM's step (Ho et al., arXiv 2006.11239) has the variance beta_t.
    """
    betas, kept = schedule.betas(), schedule.kept()

    def step(point: Action, data: tuple[Array, Array]) -> tuple[Action, None]:
        t, fresh = data
        beta, share = betas[t - 1], kept[t - 1]
        guess = predict(point, t.astype(jnp.float32))
        if schedule.published:
            centre = (point - jnp.sqrt(1 - share) * guess) / jnp.sqrt(share)
        else:
            centre = (point - beta / jnp.sqrt(1 - share) * guess) / jnp.sqrt(1 - beta)
        return centre + jnp.where(t > 1, jnp.sqrt(beta), 0.0) * fresh, None

    times = jnp.arange(schedule.steps, 0, -1)
    fresh = jnp.concatenate([noise[1:], jnp.zeros_like(noise[:1])])
    return jax.lax.scan(step, noise[0], (times, fresh))[0]
