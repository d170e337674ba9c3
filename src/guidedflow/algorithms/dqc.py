"""DQC: Decoupled Q-Chunking (arXiv 2512.10926), for goals that are reached or not.

    chunk critic     H(Q_c(s, a_0:h), y),   y = clip(r + gamma^k sigma(V(s_k)), 0, 1)
    action critic    w H(Q_a(s, a_0:l), p),   p = sigma(Q_c(s, a_0:h)),   w = kappa_d if p >= sigma(Q_a), else the rest
    value            w |V(s) - logit p|,   p = agg sigma(Q_a'(s, a_0:l)),   w = kappa_b if p >= sigma(V), else the rest
    flow             `parts.cloning` of a_0:l, without the goal
    acting           of `candidates` draws of the flow, the one of largest agg Q_a

Critics and value are logits, sigma is the sigmoid and H the cross-entropy. An action is a chunk of h steps, of which
the policy's chunk is the first l = h / `ratio`. Rewards are 1 at the goal and 0 before it (`no-gc-negative`).
Updates agree with the authors' code (ColinQiyangLi/dqc, df89825) number by number.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PRNGKeyArray

from guidedflow.algorithms.learner import polyak
from guidedflow.algorithms.parts import chunks
from guidedflow.algorithms.parts.chunks import State, check_goals, first_part
from guidedflow.algorithms.parts.cloning import Noise, draw, flow_loss
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.algorithms.parts.probabilities import Regression, cross_entropy, reached, upper
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import Aggregate, Critic, StateValue
from guidedflow.policies.kinds import FlowPolicy
from guidedflow.policies.policy import Policy
from guidedflow.settings import hyperparameters
from guidedflow.types import Metrics, Scalar, Transition


@hyperparameters
class DQC:
    """A critic of long chunks, distilled into one of the short chunks that a cloned flow proposes."""

    ratio: int = 5
    """Length of the critic's chunk, which is the action, over the policy's; published: 25 / 5, 25 / 1, 5 / 1."""
    goal_size: int = 0
    """Numbers at the end of an observation that are the goal and that the flow is not shown; 0: it sees all."""
    kappa_b: float = 0.9
    """Level of the value among the action critic's values, from 0.5 on; published: 0.5 to 0.93."""
    kappa_d: float = 0.8
    """Level of the action critic among the chunk critic's values; published: 0.5 and 0.8."""
    distillation: Regression = Regression.expectile
    """How the action critic follows the chunk critic."""
    backup: Regression = Regression.quantile
    """How the value follows the action critic."""
    chunk_critic: bool = True
    """Learn a critic of whole chunks; without, the action critic learns from the returns themselves (n-step return)."""
    aggregate: Aggregate = Aggregate.min
    """How the members become one: probabilities for the value, logits when acting; published: min and mean."""
    candidates: int = 32
    """Samples of the flow among which the critic chooses when acting."""
    tau: float = 0.005
    """Rate at which the target critic follows the critic."""
    learning_rate: float = 3e-4
    """Step size of Adam, for all networks."""
    flow_steps: int = 10
    """Euler steps from noise to action."""
    hidden: tuple[int, ...] = (1024, 1024, 1024, 1024)
    """Sizes of the hidden layers of every network."""
    ensemble: Ensemble = Ensemble()
    """Members of the critic, and how their values become one."""

    shown = ("chunk_loss", "critic_loss", "value_loss", "flow_loss")

    def demand(self, example: Transition) -> None:
        check_goals(example, self.ratio, self.goal_size)

    def init(self, example: Transition, key: PRNGKeyArray) -> State:
        goals = self.ratio, self.goal_size
        return chunks.init(example, *goals, self.hidden, self.optimizer, self.ensemble, key, whole=self.chunk_critic)

    def update(self, state: State, batch: Transition, key: PRNGKeyArray) -> tuple[State, Metrics]:
        return self.step(state, batch, draw(first_part(batch, self.ratio), key))

    def policies(self, state: State) -> dict[str, Policy]:
        flow, critic, combine = state.flow.network, state.critic.network, self.ensemble.acting(self.aggregate)
        sampler = Sampler(self.flow_steps, candidates=self.candidates)
        return {"flow": FlowPolicy(flow=flow, critic=critic, aggregate=combine, sampler=sampler)}

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam, one state a network."""
        return optax.adam(self.learning_rate)

    def step(self, state: State, batch: Transition, noise: Noise) -> tuple[State, Metrics]:
        """One update with the given noise."""
        chunk_critic, target_critic, value = state.chunk_critic, state.target_critic, state.value.network
        for_target, short = self.ensemble.target(self.aggregate), first_part(batch, self.ratio)

        def outcome(data: Transition) -> Scalar:
            return reached(data.reward, data.discount, value(data.next_observation))

        def chunk_loss(critic: Critic, data: Transition) -> tuple[Scalar, Metrics]:
            loss = jnp.mean(cross_entropy(critic.given(data.observation)(data.action), outcome(data)))
            return loss, {"chunk_loss": loss}

        def critic_loss(critic: Critic, data: Transition, acted: Transition) -> tuple[Scalar, Metrics]:
            p = outcome(data)
            if chunk_critic is not None:
                p = jax.nn.sigmoid(chunk_critic.network.given(data.observation)(data.action))
            q = critic.given(data.observation)(acted.action)
            loss = upper(self.distillation, q, p, self.kappa_d)
            return loss, {"critic_loss": loss, "q": jnp.mean(jax.nn.sigmoid(q))}

        def value_loss(value: StateValue, acted: Transition) -> tuple[Scalar, Metrics]:
            p = for_target(jax.nn.sigmoid(target_critic.given(acted.observation)(acted.action)))
            loss = upper(self.backup, value(acted.observation), p, self.kappa_b)
            return loss, {"value_loss": loss, "v": jax.nn.sigmoid(value(acted.observation))}

        critic, critic_metrics = state.critic.step(self.optimizer, critic_loss, batch, short)
        values, value_metrics = state.value.step(self.optimizer, value_loss, short)
        flow, metrics = state.flow.step(self.optimizer, flow_loss, short.acting, noise)
        if chunk_critic is not None:
            chunk_critic, chunk_metrics = chunk_critic.step(self.optimizer, chunk_loss, batch)
            metrics |= chunk_metrics
        target = polyak(target_critic, state.critic.network, self.tau)
        return State(flow, chunk_critic, critic, target, values), {**critic_metrics, **value_metrics, **metrics}
