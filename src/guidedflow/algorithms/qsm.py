"""QSM+BC: Q-Score Matching (arXiv 2312.11752), beside cloning.

    V, Q     `guidedflow.implicit`
    noise    |eps(s, a_t, t) + kappa grad Q'(s, a_t)|^2 / d + alpha |eps(s, a_t, t) - noise|^2 / d
    acting   the denoised action

Critic, schedule, clipping and coefficients follow the comparison in Q-Guided Flow (arXiv 2606.11087); its code clips
the gradients of actor and critics as two groups, this one those of each network. This file does not know of horizons
and discounts.
"""

import optax
from jaxtyping import Array, Int, PRNGKeyArray

from guidedflow.algorithms.parts import denoising
from guidedflow.algorithms.parts.denoising import Noise, State
from guidedflow.algorithms.parts.losses import squared_error
from guidedflow.flows.diffusion import Schedule
from guidedflow.policies.policy import Policy
from guidedflow.settings import hyperparameters
from guidedflow.types import Action, Metrics, Scalar, Transition


@hyperparameters
class QSM:
    """A diffusion policy whose score is matched to the critic's gradient, held to the data by cloning."""

    kappa: float = 0.1
    """Scale of the critic's gradient, in noise per value (inverse temperature)."""
    alpha: float = 10.0
    """Weight of cloning."""
    expectile: float = 0.9
    """Of the critic's values over the data's actions: 0.5 is their mean, 1 their maximum."""
    tau: float = 0.005
    """Rate at which the target critic follows the critic."""
    learning_rate: float = 3e-4
    """Step size of Adam, for all networks."""
    diffusion_steps: int = 10
    """Steps between action and noise."""
    published_denoising: bool = False
    """Act by the sampler of QGF's release instead of DDPM's; see `diffusion.Schedule`."""
    hidden: tuple[int, ...] = (1024, 1024, 1024, 1024)
    """Sizes of the hidden layers of every network."""

    def init(self, example: Transition, key: PRNGKeyArray) -> State:
        return denoising.init(example, self.hidden, self.optimizer, key)

    def update(self, state: State, batch: Transition, key: PRNGKeyArray) -> tuple[State, Metrics]:
        return self.step(state, batch, denoising.draw(batch, self.schedule, key))

    def policies(self, state: State) -> dict[str, Policy]:
        return denoising.policies(state, self.schedule)

    @property
    def schedule(self) -> Schedule:
        """Of the diffusion."""
        return Schedule(self.diffusion_steps, self.published_denoising)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam after a clip of the gradient's norm at 1, one state a network."""
        return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(self.learning_rate))

    def step(self, state: State, batch: Transition, noise: Noise) -> tuple[State, Metrics]:
        """One update with the given noise."""

        def lesson(guess: Action, gradient: Action, t: Int[Array, ""], error: Scalar) -> Scalar:
            return squared_error(guess, -self.kappa * gradient) + self.alpha * error

        return denoising.step(
            state, batch, noise, self.schedule, lesson, self.optimizer, expectile=self.expectile, tau=self.tau
        )
