"""What best of N with guidance would save, were the first layers' product with the observation computed once.

    python benchmarks/shared_prefix.py [--features 28 512] [--batches 1 64] [--candidates 8] [--layers 3x256 4x512]

An action takes N candidates and ten steps at one observation. Its encoding stands outside of both loops already. Here
the first layer of flow and critic is split besides: the product with the features, computed once, and the product with
action and time. 28 features are a state's, 512 those of an image's encoder. The form as it is is timed twice, which
shows the noise of the measurement. Calls take turns, and a row has medians.
"""

import argparse
import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from guidedflow.algorithms import QGF
from guidedflow.flows.guidance import DenoisedGradient
from guidedflow.flows.sampling import Sampler
from guidedflow.networks.mlp import MLP
from guidedflow.policies.kinds import FlowPolicy
from guidedflow.studies.clock import act, milliseconds
from guidedflow.types import Action, Observation, Time, Transition, Velocity

ACTION = 25


def split(mlp: MLP, features: Float[Array, " features"]) -> Callable[[Array], Array]:
    """The MLP, which has LayerNorm before its activations, as a function of the inputs behind the features."""
    first = mlp.layers[0]
    prefix = features @ first.weight[: features.size] + first.bias

    def rest(x: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
        x = prefix + x @ first.weight[features.size :]
        for i, layer in enumerate(mlp.layers[1:]):
            x = layer(mlp.activation(mlp.norms[i](x) if i < len(mlp.norms) else x))
        return x

    return rest


class Split(eqx.Module):
    """A flow or a critic of QGF whose first layers are split."""

    inner: Any

    @property
    def observation_shape(self) -> tuple[int, ...]:
        return tuple(self.inner.observation_shape)

    @property
    def action_size(self) -> int:
        return int(self.inner.action_size)


class SplitFlow(Split):
    """A velocity field whose first layer is split."""

    def given(self, observation: Observation) -> Velocity:
        rest = split(self.inner.mlp, self.inner.encoder(observation))
        return lambda point, t: rest(jnp.concatenate([point, self.inner.embedding(t)]))


class SplitCritic(Split):
    """A critic whose first layers are split."""

    def given(self, observation: Observation) -> Any:
        features = self.inner.encoder(observation)
        members = [split(member, features) for member in self.inner.members]

        def values(action: Action, t: Time = 1.0) -> Float[Array, " members"]:
            return jnp.concatenate([member(action) for member in members])

        return values


def untrained(hidden: tuple[int, ...], features: int, candidates: int) -> FlowPolicy:
    """QGF before its first update, with the best of so many candidates."""
    observation, action, number = jnp.zeros(features), jnp.zeros(ACTION), jnp.zeros(())
    algorithm = QGF(hidden=hidden, flow_steps=10)
    state = algorithm.init(Transition(observation, action, number, number, observation, action), jax.random.key(0))
    policy = algorithm.policies(state)["flow"].with_sampler(Sampler(10, DenoisedGradient(0.1), candidates=candidates))
    assert isinstance(policy, FlowPolicy)
    return policy


def main() -> None:
    parser = argparse.ArgumentParser(description="What a shared first layer would save.")
    parser.add_argument("--features", nargs="+", type=int, default=[28, 512])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 64])
    parser.add_argument("--candidates", type=int, default=8)
    parser.add_argument("--layers", nargs="+", default=["3x256", "4x512"], help="depth x width of every network")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    for layers in options.layers:
        depth, width = map(int, layers.split("x"))
        for features in options.features:
            policy = untrained((width,) * depth, features, options.candidates)
            critic: Any = SplitCritic(policy.critic)
            other = dataclasses.replace(policy, flow=SplitFlow(policy.flow), critic=critic)
            for batch in options.batches:
                observations = jax.random.normal(jax.random.key(1), (batch, features))
                forms = {"as it is": policy, "again": policy, "split": other}
                calls = {name: partial(act, each, observations, jax.random.key(3)) for name, each in forms.items()}
                taken = milliseconds(calls, options.repeats * (10 if batch == 1 else 1))
                ratios = {name: round(taken[name] / taken["as it is"], 3) for name in ("again", "split")}
                off = float(jnp.max(jnp.abs(calls["split"]() - calls["as it is"]())))
                print(
                    f"{layers}, {features} features, batch {batch}: {taken['as it is']:.2f} ms as it is, "
                    f"{taken['split']:.2f} split; ratios {ratios}; actions differ by {off:.1e}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
