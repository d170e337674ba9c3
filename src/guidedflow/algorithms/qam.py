"""QAM: Q-learning with Adjoint Matching (arXiv 2601.14234), as compared in Q-Guided Flow (arXiv 2606.11087).

    V, Q     `guidedflow.implicit`
    base     flow matching on the data; b' is its Polyak copy
    fast     sum over t of |(v_fast - b') 2 / sigma_t + sigma_t adj_t|^2 along the fast flow's own noisy paths

The paths are those of the flow's memoryless diffusion, x <- x + h (2 v - x / (t + h)) + sqrt(h) sigma_t noise, with
sigma_t^2 = 2 (1 - t + h) / (t + h), and a last step without noise by b'. The adjoint starts as -kappa grad Q at the
path's end and is carried back through b' alone, so no gradient passes through the fast flow's own steps. The optimum is
the base tilted by exp(kappa Q). The two flows have no LayerNorm. This file does not know of horizons and discounts.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.algorithms.learner import Learner, polyak
from guidedflow.algorithms.parts import cloning
from guidedflow.algorithms.parts import implicit_values as implicit
from guidedflow.algorithms.parts.cloning import flow_loss
from guidedflow.algorithms.parts.implicit_values import Values
from guidedflow.flows.path import clip
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import NORM_FIRST, Aggregate, RawTime, VelocityField
from guidedflow.policies.kinds import FlowPolicy
from guidedflow.policies.policy import Policy
from guidedflow.settings import hyperparameters
from guidedflow.types import Action, Metrics, Scalar, Transition, Velocity


class State(NamedTuple):
    """What is learned."""

    fast: Learner[VelocityField]
    base: Learner[VelocityField]
    target_base: VelocityField
    values: Values


class Noise(NamedTuple):
    """Every random number of one update; rows are transitions."""

    path: Float[Array, "*batch steps action"]
    """Where a path begins, and what is added on its way."""
    flow_source: Float[Array, "*batch action"]
    """x0, where the cloning path starts."""
    flow_time: Float[Array, "*batch"]
    """t in [0, 1)."""


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
    hidden: tuple[int, ...] = (1024, 1024, 1024, 1024)
    """Sizes of the hidden layers of every network."""

    def init(self, example: Transition, key: PRNGKeyArray) -> State:
        shape, size = example.observation.shape, example.action.size
        flow_key, values_key = jax.random.split(key)
        base = VelocityField(shape, size, self.hidden, RawTime(), key=flow_key)
        values = implicit.init(example, self.hidden, self.optimizer, values_key, NORM_FIRST)
        return State(Learner.init(base, self.optimizer), Learner.init(base, self.optimizer), base, values)

    def update(self, state: State, batch: Transition, key: PRNGKeyArray) -> tuple[State, Metrics]:
        path_key, flow_key = jax.random.split(key)
        size, actions = batch.action.shape
        path = jax.random.normal(path_key, (size, self.flow_steps, actions))
        return self.step(state, batch, Noise(path, *cloning.draw(batch, flow_key)))

    def policies(self, state: State) -> dict[str, Policy]:
        def policy(flow: VelocityField) -> Policy:
            critic, sampler = state.values.target_critic, Sampler(self.flow_steps)
            return FlowPolicy(flow=flow, critic=critic, aggregate=Aggregate.mean, sampler=sampler)

        return {"flow": policy(state.fast.network), "base": policy(state.base.network)}

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam after a clip of the gradient's norm at 1, one state a network."""
        return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(self.learning_rate))

    def step(self, state: State, batch: Transition, noise: Noise) -> tuple[State, Metrics]:
        """One update with the given noise."""
        target_base, target_critic, fast = state.target_base, state.values.target_critic, state.fast.network

        def adjoint_loss(learned: VelocityField, data: Transition, noise: Noise) -> tuple[Scalar, Metrics]:
            base, values = target_base.given(data.observation), target_critic.given(data.observation)
            points, adjoints = self.adjoints(
                fast.given(data.observation), base, lambda action: jnp.mean(values(action)), noise.path
            )
            velocity = learned.given(data.observation)

            def error(point: Action, adjoint: Action, t: Scalar) -> Scalar:
                sigma = self.deviation(t)
                return jnp.sum(jnp.square((velocity(point, t) - base(point, t)) * 2 / sigma + sigma * adjoint))

            loss = jnp.sum(jax.vmap(error)(points, adjoints, self.times))
            return loss, {"adjoint_loss": loss, "adjoint": jnp.sqrt(jnp.mean(jnp.square(adjoints)))}

        fast_learner, metrics = state.fast.step(self.optimizer, adjoint_loss, batch.acting, noise)
        base, base_metrics = state.base.step(self.optimizer, flow_loss, batch.acting, noise)
        values, value_metrics = implicit.step(
            state.values, batch, self.optimizer, expectile=self.expectile, tau=self.tau, over_members=jnp.mean
        )
        after = State(fast_learner, base, polyak(target_base, state.base.network, self.tau), values)
        return after, {**value_metrics, **base_metrics, **metrics}

    @property
    def times(self) -> Float[Array, " steps"]:
        """Where the steps begin."""
        return jnp.arange(self.flow_steps, dtype=jnp.float32) / self.flow_steps

    def deviation(self, t: Scalar) -> Scalar:
        """sigma_t."""
        h = 1 / self.flow_steps
        return jnp.sqrt(2 * (1 - t + h) / (t + h))

    def adjoints(
        self, fast: Velocity, base: Velocity, value: Callable[[Action], Scalar], noise: Float[Array, "steps action"]
    ) -> tuple[Float[Array, "steps action"], Float[Array, "steps action"]]:
        """Where each step of one noisy path of the fast flow begins, from t = 0 on, and the adjoint there."""
        h = 1 / self.flow_steps

        def forward(point: Action, data: tuple[Scalar, Action]) -> tuple[Action, Action]:
            t, fresh = data
            drift = 2 * fast(point, t) - point / (t + h)
            return point + h * drift + jnp.sqrt(h) * self.deviation(t) * fresh, point

        last, points = jax.lax.scan(forward, noise[0], (self.times[:-1], noise[1:]))
        points = jnp.concatenate([points, last[None]])
        end = last + h * base(last, self.times[-1])

        def backward(adjoint: Action, data: tuple[Scalar, Action]) -> tuple[Action, Action]:
            t, point = data
            _, pull_back = jax.vjp(lambda point: 2 * base(point, t + h) - point / (t + h), point)
            earlier = adjoint + h * pull_back(adjoint)[0]
            return earlier, earlier

        start = -self.kappa * jax.grad(lambda action: value(clip(action)))(end)
        _, adjoints = jax.lax.scan(backward, start, (self.times, points), reverse=True)
        return points, adjoints
