"""An algorithm of your own: a flow that clones better episodes more (reward-weighted regression), in one class.

python examples/own_algorithm.py [--steps 2000] [--out runs/own-algorithm]
"""

# %% The algorithm: settings, how learning begins, one update, and the policies that come out
import argparse
from typing import NamedTuple

import jax.numpy as jnp
import optax
from reach import recorded

from guidedflow import Plan, Sampler, Trained, hyperparameters, train
from guidedflow.algorithms.learner import Learner
from guidedflow.algorithms.parts import cloning
from guidedflow.networks import Aggregate, RawTime, VelocityField
from guidedflow.policies.kinds import FlowPolicy


class State(NamedTuple):
    """Networks and optimiser states of `RewardWeighted`."""

    flow: Learner


@hyperparameters
class RewardWeighted:
    """Clone with weight exp(reward / temperature)."""

    temperature: float = 0.2
    """Difference of reward that counts e times as much."""
    hidden: tuple[int, ...] = (64, 64)
    """Sizes of the hidden layers."""

    def init(self, example, key):
        flow = VelocityField(example.observation.shape, example.action.size, self.hidden, RawTime(), key=key)
        return State(Learner.init(flow, optax.adam(1e-3)))

    def update(self, state, batch, key):
        def loss(flow, data, noise):  # of one transition; the mean over the batch is taken by `Learner.step`
            error, metrics = cloning.flow_loss(flow, data, noise)
            return jnp.exp(data.reward / self.temperature) * error, metrics

        flow, metrics = state.flow.step(optax.adam(1e-3), loss, batch, cloning.draw(batch, key))
        return State(flow), metrics

    def policies(self, state):
        return {"flow": FlowPolicy(state.flow.network, critic=None, aggregate=Aggregate.min, sampler=Sampler())}


# %% It is trained, saved, resumed and opened as any other
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--out", default="runs/own-algorithm")
    options = parser.parse_args()
    train(RewardWeighted(), recorded(episodes=100), Plan(options.steps), out=options.out)
    print(Trained.open(options.out, algorithm=RewardWeighted()).policy().action_size, "numbers an action")
