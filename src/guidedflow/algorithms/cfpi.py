"""CFPI: what closed-form policy improvement starts from (arXiv 2211.15956): a cloned policy, and the critic of it.

    actor     -log pi(a | s)                                                            `cloning.likelihood_loss`
    critic    mean_i sum_j w_j |tau_i - 1[z_i > y_j]| huber(z_i - y_j),   y_j = r + gamma Z'(s', a', tau'_j)

z_i are quantiles of the return of the data's action at levels tau_i, y_j those of the data's next action, whose levels
have the widths w_j. So the critic is that of the policy behind the data (SARSA), and no policy takes part in it. Each
member learns from its own target, which follows the critic of after the step. The improvement itself is no training:
`flows.improvement`. Order and networks follow the authors' code (cfpi-icml23/cfpi, dc0bee6). This file does not know
of horizons and discounts.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.algorithms.learner import Learner, polyak
from guidedflow.algorithms.parts.cloning import likelihood_loss
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.algorithms.parts.quantile_regression import quantile_loss, spaced
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import Aggregate, QuantileCritic
from guidedflow.networks.gaussians import GaussianActor
from guidedflow.policies.density import DensityPolicy
from guidedflow.policies.policy import Policy
from guidedflow.settings import check_settings, hyperparameters
from guidedflow.types import Metrics, Scalar, Transition


class State(NamedTuple):
    """Networks and optimiser states of CFPI."""

    actor: Learner[GaussianActor]
    critic: Learner[QuantileCritic]
    target_critic: QuantileCritic


class Noise(NamedTuple):
    """Every random number of one update, uniform in [0, 1); rows are transitions."""

    width: Float[Array, "*batch quantiles"]
    """Of the levels of the action's quantiles, before they sum to 1."""
    next_width: Float[Array, "*batch quantiles"]
    """Of the next action's."""


@hyperparameters
class CFPI:
    """Closed-form policy improvement: a Gaussian or mixture that clones, and quantile critics of what it clones."""

    components: int = 1
    """Gaussians of the policy; published: 1, 4, 8 or 12."""
    quantiles: int = 8
    """Levels of an update at which the return's distribution is learned."""
    waves: int = 64
    """Cosines that a level is embedded by."""
    tau: float = 0.005
    """Rate at which the target critic follows the critic."""
    learning_rate: float = 3e-4
    """Step size of Adam, for the critic."""
    actor_learning_rate: float = 1e-4
    """Step size of Adam, for the policy."""
    hidden: tuple[int, ...] = (256, 256, 256)
    """Sizes of the hidden layers of every network; the last one of the critic comes after the level."""
    ensemble: Ensemble = Ensemble(rho=math.sqrt(2), own_targets=True)
    """Members of the critic, and how their values become one; rho of root 2 is one sample deviation of two members."""

    shown = ("critic_loss", "log_likelihood")

    def __post_init__(self) -> None:
        positive = dict.fromkeys(("quantiles", "waves"), (1, math.inf))
        check_settings(self, components=(1, 100), actor_learning_rate=(0, math.inf), **positive)

    def init(self, example: Transition, key: PRNGKeyArray) -> State:
        shape, size = example.observation.shape, example.action.size
        actor_key, critic_key = jax.random.split(key)
        members = self.ensemble.members
        critic = QuantileCritic(shape, size, self.hidden, waves=self.waves, size=members, key=critic_key)
        actor = GaussianActor(shape, size, self.hidden, components=self.components, key=actor_key)
        return State(Learner.init(actor, self.actor_optimizer), Learner.init(critic, self.optimizer), critic)

    def update(self, state: State, batch: Transition, key: PRNGKeyArray) -> tuple[State, Metrics]:
        width, next_width = jax.random.uniform(key, (2, len(batch.reward), self.quantiles))
        return self.step(state, batch, Noise(width, next_width))

    def policies(self, state: State) -> dict[str, Policy]:
        actor, critic = state.actor.network, state.critic.network
        combine = self.ensemble.acting(Aggregate.pessimistic)
        return {"actor": DensityPolicy(network=actor, critic=critic, aggregate=combine, sampler=Sampler())}

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam, of the critic."""
        return optax.adam(self.learning_rate)

    @property
    def actor_optimizer(self) -> optax.GradientTransformation:
        """Adam, of the policy."""
        return optax.adam(self.actor_learning_rate)

    def step(self, state: State, batch: Transition, noise: Noise) -> tuple[State, Metrics]:
        """One update with the given noise."""
        target_critic, combine = state.target_critic, self.ensemble.target(Aggregate.min)

        def critic_loss(critic: QuantileCritic, data: Transition, noise: Noise) -> tuple[Scalar, Metrics]:
            levels, _ = spaced(noise.width)
            next_levels, weights = spaced(noise.next_width)
            after = target_critic.quantiles(data.next_observation, data.next_action, next_levels)
            after = jnp.broadcast_to(jax.vmap(combine, in_axes=1, out_axes=-1)(after), after.shape)
            z = critic.quantiles(data.observation, data.action, levels)
            losses = jax.vmap(quantile_loss, in_axes=(0, 0, None, None))(
                z, data.reward + data.discount * after, levels, weights
            )
            return jnp.sum(losses), {"critic_loss": jnp.sum(losses), "q": jnp.mean(z)}

        critic, metrics = state.critic.step(self.optimizer, critic_loss, batch, noise)
        actor, actor_metrics = state.actor.step(self.actor_optimizer, likelihood_loss, batch.acting)
        followed = polyak(target_critic, critic.network, self.tau)
        return State(actor, critic, followed), {**metrics, **actor_metrics}
