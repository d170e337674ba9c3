"""DAC: Diffusion Actor-Critic (arXiv 2405.20555), noise regression guided by the critic.

    V, Q     `parts.implicit_values`
    noise    sqrt(1 - bar_t) grad Q'(s, a_t) . eps(s, a_t, t) + alpha |eps(s, a_t, t) - noise|^2 / d
    acting   the denoised action

Critic, schedule and coefficients follow the comparison in Q-Guided Flow (arXiv 2606.11087). `mean_guidance`,
`joint_clip` and `deep_time` together take the form of its code (zhouzypaul/qgf, bc44a67), with which updates
then agree number by number. This file does not know of horizons and discounts.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PRNGKeyArray

from guidedflow.algorithms.learner import clip_together
from guidedflow.algorithms.parts import denoising
from guidedflow.algorithms.parts.denoising import Noise, State
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.algorithms.parts.implicit_values import ImplicitValues
from guidedflow.algorithms.parts.losses import squared_error
from guidedflow.flows.diffusion import Schedule, diffuse, noise_level
from guidedflow.networks import Aggregate, NoiseField
from guidedflow.policies.policy import Policy
from guidedflow.settings import hyperparameters
from guidedflow.types import Metrics, Scalar, Transition


@hyperparameters
class DAC:
    """A diffusion policy whose predicted noise points away from value, held to the data by cloning."""

    alpha: float = 100.0
    """Weight of cloning; published, for `mean_guidance`: 100 to 300."""
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
    mean_guidance: bool = False
    """Average the guidance over action dimensions, as QGF's release does, not their sum: d times less."""
    joint_clip: bool = False
    """Clip the norm of all gradients together, as QGF's release does, instead of each network's."""
    deep_time: bool = False
    """Give the noise network's part for the time as many layers as the rest, as QGF's release does, instead of two."""
    hidden: tuple[int, ...] = (1024, 1024, 1024, 1024)
    """Sizes of the hidden layers of every network."""
    ensemble: Ensemble = Ensemble()
    """Members of the critic, and how their values become one."""

    shown = ("critic_loss", "guidance_loss", "cloning_loss")

    def init(self, example: Transition, key: PRNGKeyArray) -> State:
        return denoising.init(example, self.hidden, self.optimizer, self.values, key, deep_time=self.deep_time)

    def update(self, state: State, batch: Transition, key: PRNGKeyArray) -> tuple[State, Metrics]:
        return self.step(state, batch, denoising.draw(batch, self.schedule, key))

    def policies(self, state: State) -> dict[str, Policy]:
        return denoising.policies(state, self.schedule, self.ensemble.acting(Aggregate.min))

    @property
    def schedule(self) -> Schedule:
        """Noise of each step of the diffusion."""
        return Schedule(self.diffusion_steps, self.published_denoising)

    @property
    def values(self) -> ImplicitValues:
        """How the values are learned."""
        return ImplicitValues(self.optimizer, self.hidden, self.ensemble, self.expectile, self.tau)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam, after a clip of each network's gradient at norm 1, unless all are clipped together."""
        adam = optax.adam(self.learning_rate)
        return adam if self.joint_clip else optax.chain(optax.clip_by_global_norm(1.0), adam)

    def step(self, state: State, batch: Transition, noise: Noise) -> tuple[State, Metrics]:
        """One update with the given noise."""
        target_critic, combine = state.values.target_critic, self.ensemble.actor(Aggregate.mean)
        over_dimensions = jnp.mean if self.mean_guidance else jnp.sum

        def noise_loss(predictor: NoiseField, data: Transition, noise: Noise) -> tuple[Scalar, Metrics]:
            noisy = diffuse(self.schedule, data.action, noise.noise, noise.time)
            epsilon = predictor.given(data.observation)(noisy, noise.time.astype(jnp.float32))
            q = target_critic.given(data.observation)
            q_gradient = jax.grad(lambda action: combine(q(action)))(noisy)
            guidance = noise_level(self.schedule, noise.time) * over_dimensions(q_gradient * epsilon)
            cloning = squared_error(epsilon, noise.noise)
            loss = guidance + self.alpha * cloning
            return loss, {"noise_loss": loss, "guidance_loss": guidance, "cloning_loss": cloning}

        gradient, metrics = state.noise.gradient(noise_loss, batch.acting, noise)
        value_gradients, value_metrics = self.values.gradients(state.values, batch)
        if self.joint_clip:
            gradient, value_gradients = clip_together(1.0, gradient, value_gradients)
        after = State(state.noise.descend(self.optimizer, gradient), self.values.descend(state.values, value_gradients))
        return after, {**value_metrics, **metrics}
