"""DSRL: Diffusion Steering via RL (arXiv 2506.15799), offline. A policy of noise steers a flow that it never changes.

    flow      flow matching on the data; f' is the end of its Polyak copy                `parts.cloning`
    critic    | Q_i(s, a) - (r + gamma (mean - rho std) Q'(s', f'(s', w'))) |^2,         w' from pi at s'
    noise     | Z_i(s, w) - Q_i(s, f'(s, w)) |^2,                                        w ~ N(0, I)
    actor     alpha log pi(u | s) - mean_i Z_i(s, scale u),                              u from pi, in the box [-1, 1]
    alpha     alpha (-log pi(u | s) - target d)

Z answers for noise what Q answers for actions, so no gradient has to pass through the flow's steps. Noise of the box is
noise that the flow was trained on, so actions stay on the data. Networks and order of updates follow the offline form
in QAM's code (ColinQiyangLi/qam, f93efd2). This file does not know of chunks and discounts: they are in the data.
"""

import math

import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray

from guidedflow.algorithms.learner import polyak
from guidedflow.algorithms.parts import noise_steering, regression
from guidedflow.algorithms.parts.cloning import flow_loss
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.algorithms.parts.losses import squared_error
from guidedflow.algorithms.parts.noise_steering import Decoder, Noise, State, Steered
from guidedflow.networks import Aggregate, Critic
from guidedflow.networks.gaussians import GaussianActor
from guidedflow.policies.density import density
from guidedflow.policies.policy import Policy
from guidedflow.settings import check_settings, hyperparameters
from guidedflow.types import Metrics, Scalar, Transition


@hyperparameters
class DSRL:
    """Diffusion steering: a policy of noise in front of a cloned flow, whose weights it never changes."""

    noise_scale: float = 1.0
    """Largest magnitude of the noise in each dimension; published: 0.4 to 1.4."""
    candidates: int = 1
    """Noises drawn, of whose actions the one of largest value is taken, when acting and in the critic's target."""
    target_entropy: float = -0.5
    """Entropy of the noise policy that alpha is tuned to, in nats a dimension."""
    tau: float = 0.005
    """Rate at which the target critic follows the critic, and the steered flow the trained one."""
    learning_rate: float = 3e-4
    """Step size of Adam, for all networks."""
    flow_steps: int = 10
    """Euler steps from noise to action."""
    hidden: tuple[int, ...] = (512, 512, 512, 512)
    """Sizes of the hidden layers of every network."""
    ensemble: Ensemble = Ensemble(members=10, rho=0.5)
    """Members of both critics, and how their values become one; published: 10 members, rho of 0.5 or 0."""

    shown = ("critic_loss", "flow_loss", "distillation_loss", "actor_loss")

    def __post_init__(self) -> None:
        check_settings(self, noise_scale=(0, math.inf), target_entropy=(-math.inf, math.inf))

    def init(self, example: Transition, key: PRNGKeyArray) -> State:
        return noise_steering.init(example, self.hidden, self.optimizer, self.ensemble, key)

    def update(self, state: State, batch: Transition, key: PRNGKeyArray) -> tuple[State, Metrics]:
        return self.step(state, batch, noise_steering.draw(batch, self.candidates, key))

    def policies(self, state: State) -> dict[str, Policy]:
        steered = Steered(state.actor.network, Decoder(state.target_flow, self.flow_steps), self.noise_scale)
        return noise_steering.policies(state, steered, self.ensemble.acting(Aggregate.mean), self.candidates)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam, one state a network."""
        return optax.adam(self.learning_rate)

    def step(self, state: State, batch: Transition, noise: Noise) -> tuple[State, Metrics]:
        """One update with the given noise, all gradients at the parameters of before it."""
        actor, critic, target_critic, noise_critic = (
            state.actor.network, state.critic.network, state.target_critic, state.noise_critic.network
        )  # fmt: skip
        policy, flow = self.policies(state)["actor"], Decoder(state.target_flow, self.flow_steps)
        for_target, for_actor = self.ensemble.target(Aggregate.pessimistic), self.ensemble.actor(Aggregate.mean)
        alpha = jnp.exp(state.log_alpha.network)

        def critic_loss(critic: Critic, data: Transition, noise: Noise) -> tuple[Scalar, Metrics]:
            next_action = policy.act_from(data.next_observation, noise.next_action)
            next_value = for_target(target_critic.given(data.next_observation)(next_action))
            return regression.critic_loss(critic, data, data.reward + data.discount * next_value)

        def noise_critic_loss(noise_critic: Critic, data: Transition, noise: Noise) -> tuple[Scalar, Metrics]:
            action = flow.given(data.observation)(noise.distillation)
            values = noise_critic.given(data.observation)(noise.distillation)
            loss = squared_error(values, critic.given(data.observation)(action))
            return loss, {"distillation_loss": loss}

        def actor_loss(actor: GaussianActor, data: Transition, noise: Noise) -> tuple[Scalar, Metrics]:
            drawn, log_density = density(actor, data.observation).draw(noise.actor)
            q_loss = -for_actor(noise_critic.given(data.observation)(self.noise_scale * drawn))
            loss = alpha * log_density + q_loss
            return loss, {"actor_loss": loss, "q_loss": q_loss, "entropy": -log_density}

        def alpha_loss(log_alpha: Array, data: Transition, noise: Noise) -> tuple[Scalar, Metrics]:
            entropy = -density(actor, data.observation).draw(noise.actor)[1]
            loss = jnp.exp(log_alpha) * (entropy - self.target_entropy * data.action.size)
            return loss, {"alpha": jnp.exp(log_alpha)}

        acting = batch.acting
        steered, actor_metrics = state.actor.step(self.optimizer, actor_loss, acting, noise)
        log_alpha, alpha_metrics = state.log_alpha.step(self.optimizer, alpha_loss, acting, noise)
        cloned, flow_metrics = state.flow.step(self.optimizer, flow_loss, acting, noise)
        judged, critic_metrics = state.critic.step(self.optimizer, critic_loss, batch, noise)
        distilled, noise_metrics = state.noise_critic.step(self.optimizer, noise_critic_loss, batch, noise)
        # Target networks follow those of before this step, as in the published code.
        after = State(
            actor=steered,
            log_alpha=log_alpha,
            flow=cloned,
            target_flow=polyak(state.target_flow, state.flow.network, self.tau),
            critic=judged,
            target_critic=polyak(target_critic, critic, self.tau),
            noise_critic=distilled,
        )
        return after, {**critic_metrics, **noise_metrics, **flow_metrics, **actor_metrics, **alpha_metrics}
