"""QAM: Q-learning with Adjoint Matching (arXiv 2601.14234), as compared in Q-Guided Flow (arXiv 2606.11087).

    V, Q       `parts.implicit_values`, or `parts.bootstrapped_values` with the fast flow's next actions
    base       flow matching on the data; b' is its Polyak copy
    path       x_t of the fast flow's memoryless diffusion, its last step without noise and by b'
    adjoint    adj = -kappa grad Q' at the end of the path, carried back to each x_t through b' alone
    fast       sum over t of |(v_fast(x_t, t) - b'(x_t, t)) 2 / sigma_t + sigma_t adj_t|^2

No gradient passes through the fast flow's own steps; the optimum is the base tilted by exp(kappa Q). `joint_clip`,
`separate_start` and `online_ranking` together take the form of QGF's code (zhouzypaul/qgf, bc44a67), to the number.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PRNGKeyArray

from guidedflow.algorithms.learner import Learner, clip_together, polyak
from guidedflow.algorithms.parts.adjoints import Noise, carried_back, deviation, draw, noisy_path, times
from guidedflow.algorithms.parts.bootstrapped_values import Bootstrapped, BootstrappedValues, next_actions_of
from guidedflow.algorithms.parts.cloning import flow_loss
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.algorithms.parts.implicit_values import ImplicitValues, Values
from guidedflow.flows.path import clip
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import Aggregate, RawTime, VelocityField
from guidedflow.policies.kinds import FlowPolicy
from guidedflow.policies.policy import Policy
from guidedflow.settings import hyperparameters
from guidedflow.types import Metrics, Scalar, Transition


class State(NamedTuple):
    """Networks and optimiser states of QAM."""

    fast: Learner[VelocityField]
    base: Learner[VelocityField]
    target_base: VelocityField
    values: Values | Bootstrapped


@hyperparameters
class QAM:
    """A flow fine-tuned towards the cloned one tilted by value, by regression on adjoints."""

    kappa: float = 0.1
    """Inverse temperature of the tilt, in 1 / value."""
    expectile: float = 0.9
    """Of the critic's values over the data's actions: 0.5 is their mean, 1 their maximum."""
    tau: float = 0.005
    """Rate at which the target critic follows the critic, and the copy b' the base."""
    learning_rate: float = 3e-4
    """Step size of Adam, for all networks."""
    flow_steps: int = 10
    """Euler steps from noise to action."""
    joint_clip: bool = False
    """Clip the gradients of both flows together, and of both values, as QGF's release does, not of each network."""
    separate_start: bool = False
    """Begin the fast flow with weights of its own, as QGF's release does, instead of those of the base."""
    bootstrapped: bool = False
    """Learn the critic from the fast flow's own next actions instead of implicit values."""
    online_ranking: bool = False
    """Act by the online critic, as QGF's release does, instead of the target critic."""
    hidden: tuple[int, ...] = (1024, 1024, 1024, 1024)
    """Sizes of the hidden layers of every network."""
    ensemble: Ensemble = Ensemble()
    """Members of the critic, and how their values become one."""

    shown = ("critic_loss", "flow_loss", "adjoint_loss")

    def init(self, example: Transition, key: PRNGKeyArray) -> State:
        flow_key, values_key = jax.random.split(key)
        sizes = example.observation.shape, example.action.size, self.hidden, RawTime()
        base = VelocityField(*sizes, key=flow_key)
        fast = VelocityField(*sizes, key=jax.random.fold_in(flow_key, 1)) if self.separate_start else base
        flows = Learner.init(fast, self.optimizer), Learner.init(base, self.optimizer)
        return State(*flows, base, self.values.init(example, values_key))

    def update(self, state: State, batch: Transition, key: PRNGKeyArray) -> tuple[State, Metrics]:
        return self.step(state, batch, draw(batch, self.flow_steps, key, self.bootstrapped))

    def policies(self, state: State) -> dict[str, Policy]:
        critic = state.values.critic.network if self.online_ranking else state.values.target_critic
        asked: dict[str, Any] = {"critic": critic, "aggregate": self.ensemble.acting(Aggregate.mean)}
        fast = FlowPolicy(flow=state.fast.network, sampler=Sampler(self.flow_steps), **asked)
        return {"flow": fast, "base": dataclasses.replace(fast, flow=state.base.network)}

    @property
    def values(self) -> Any:
        """How the values are learned."""
        if self.bootstrapped:
            return BootstrappedValues(self.optimizer, self.hidden, self.ensemble, self.tau)
        return ImplicitValues(self.optimizer, self.hidden, self.ensemble, self.expectile, self.tau)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam, after a clip of each network's gradient at norm 1, unless several are clipped together."""
        adam = optax.adam(self.learning_rate)
        return adam if self.joint_clip else optax.chain(optax.clip_by_global_norm(1.0), adam)

    def step(self, state: State, batch: Transition, noise: Noise) -> tuple[State, Metrics]:
        """One update with the given noise."""
        target_base, target_critic, fast = state.target_base, state.values.target_critic, state.fast.network
        combine = self.ensemble.actor(Aggregate.mean)

        def adjoint_loss(learned: VelocityField, data: Transition, noise: Noise) -> tuple[Scalar, Metrics]:
            base, q = target_base.given(data.observation), target_critic.given(data.observation)
            points, end = noisy_path(fast.given(data.observation), base, noise.path)
            gradient = -self.kappa * jax.grad(lambda action: combine(q(clip(action))))(end)
            carried = carried_back(base, points, gradient)
            velocity, t = learned.given(data.observation), times(self.flow_steps)
            sigma = deviation(t, self.flow_steps)[:, None]
            tilt = jax.vmap(lambda point, t: velocity(point, t) - base(point, t))(points, t)
            loss = jnp.sum(jnp.square(tilt * 2 / sigma + sigma * carried))
            return loss, {"adjoint_loss": loss, "adjoint": jnp.sqrt(jnp.mean(jnp.square(carried)))}

        fast_gradient, metrics = state.fast.gradient(adjoint_loss, batch.acting, noise)
        base_gradient, base_metrics = state.base.gradient(flow_loss, batch.acting, noise)
        asked = () if noise.next_action is None else (next_actions_of(fast, batch, noise.next_action, self.flow_steps),)
        value_gradients, value_metrics = self.values.gradients(state.values, batch, *asked)
        if self.joint_clip:
            fast_gradient, base_gradient = clip_together(1.0, fast_gradient, base_gradient)
            value_gradients = clip_together(1.0, *value_gradients)
        flows = state.fast.descend(self.optimizer, fast_gradient), state.base.descend(self.optimizer, base_gradient)
        values = self.values.descend(state.values, value_gradients)
        after = State(*flows, polyak(target_base, state.base.network, self.tau), values)
        return after, {**value_metrics, **base_metrics, **metrics}
