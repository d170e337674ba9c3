"""Latency of an action under every sampler, as a multiple of the unguided flow's in the same run.

    python benchmarks/latency.py [--json] [--batches 1 256] [--chunk 5] [--repeats 15] [--once]

An untrained flow and critic of the given size stand in for trained ones: what an action costs does not depend on what
was learned. Actions are chunks of `--chunk` steps of 5 numbers. The calls of all samplers take turns, and a row shows
the median of each. "critic" is as many values of the critic, one after the other, as the flow has steps; QGF-Jacobian
should cost at most 2.5 times the unguided flow and the critic together, which is one vector-Jacobian product a step
and not one pass for each dimension of the action. The last line of each batch tells whether it does; nothing fails.
"""

import argparse
import dataclasses
import json
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from rich.console import Console

from guidedflow.algorithms import QGF
from guidedflow.flows.guidance import GUIDANCE, guidance_of
from guidedflow.flows.realtime import binding
from guidedflow.flows.sampling import GradientAscent, Sampler
from guidedflow.flows.schedules import WeightSchedule
from guidedflow.networks import OneStepActor
from guidedflow.policies.controls import under_value
from guidedflow.policies.kinds import FlowPolicy
from guidedflow.policies.policy import Policy
from guidedflow.results import tables
from guidedflow.studies.clock import act, milliseconds
from guidedflow.types import Action, Transition

OBSERVATION, ACTION = 28, 5
LIMIT = 2.5
"""Of QGF-Jacobian, in unguided flows and critics."""


def samplers(steps: int, once: bool) -> dict[str, Sampler]:
    """Every way of acting by the critic that is timed; the weight changes nothing."""
    guided = {
        f"{name}, normalised" if normalize else name: Sampler(steps, guidance_of(name, 0.1, normalize, steps))
        for name in GUIDANCE
        if name != "none"
        for normalize in ((False, True) if name == "denoised" or not once else (False,))
    }
    denoised = guidance_of("denoised", 0.1, False, steps)
    schedules = {
        f"denoised, {each.name}": Sampler(steps, guidance_of("denoised", 0.1, steps=steps, schedule=each))
        for each in (WeightSchedule.falling, WeightSchedule.ratio)
    }
    return {
        "unguided": Sampler(steps),
        **guided,
        "denoised, matched": Sampler(steps, guidance_of("denoised", 0.1, steps=steps, match=True)),
        **schedules,
        "refined 3 steps": Sampler(steps, refinement=GradientAscent(0.01, 3)),
        "best of 4": Sampler(steps, candidates=4),
        "best of 32": Sampler(steps, candidates=32),
        "denoised, best of 4": Sampler(steps, denoised, candidates=4),
        "denoised, best of 8": Sampler(steps, denoised, candidates=8),
        "denoised, refined, best of 4": Sampler(steps, denoised, GradientAscent(0.01, 3), candidates=4),
    }


def policies(policy: FlowPolicy, once: bool, chunk: int) -> dict[str, Policy]:
    """Every policy that is timed: the flow under each sampler, under each control, and pulled to a chunk before."""
    found: dict[str, Policy] = {
        name: policy.with_sampler(sampler) for name, sampler in samplers(policy.sampler.steps, once).items()
    }
    for kind in ("negated", "random"):
        found[f"denoised, {kind} critic"] = under_value(found["denoised"], kind)
    if chunk > 2:
        pull = jnp.repeat(jnp.asarray(binding(chunk, 1, 2)), ACTION)
        for name in ("unguided", "denoised"):
            found[f"{name}, real-time"] = found[name].bound(jnp.zeros(ACTION * chunk), pull)
    return found


def untrained(hidden: tuple[int, ...], steps: int, chunk: int) -> FlowPolicy:
    """The flow and the critic of QGF before its first update, and a one-step map beside them."""
    observation, action, number = jnp.zeros(OBSERVATION), jnp.zeros(ACTION * chunk), jnp.zeros(())
    example = Transition(observation, action, number, number, observation, action)
    algorithm = QGF(hidden=hidden, flow_steps=steps)
    policy = algorithm.policies(algorithm.init(example, jax.random.key(0)))["flow"]
    assert isinstance(policy, FlowPolicy)
    jump = OneStepActor(observation.shape, action.size, hidden, key=jax.random.key(1))
    return dataclasses.replace(policy, jump=jump)


@jax.jit
def judge(
    policy: FlowPolicy, observations: Float[Array, "batch observation"], actions: Float[Array, "batch action"]
) -> Float[Array, " batch"]:
    """As many values of the critic as the flow has steps, each at an action that depends on the one before."""

    def rate(observation: Float[Array, " observation"], action: Action) -> Float[Array, ""]:
        assert policy.critic is not None
        values = policy.critic.given(observation)

        def step(action: Action, _: None) -> tuple[Action, Float[Array, ""]]:
            value = policy.aggregate(values(action))
            return action + 1e-6 * value, value

        return jnp.sum(jax.lax.scan(step, action, None, length=policy.sampler.steps)[1])

    return jax.vmap(rate)(observations, actions)


def measure(policy: FlowPolicy, acting: dict[str, Policy], batch: int, repeats: int) -> dict[str, float]:
    """Milliseconds of a batch of actions under each sampler, and of the critic."""
    observations = jax.random.normal(jax.random.key(1), (batch, OBSERVATION))
    actions = jax.random.normal(jax.random.key(2), (batch, policy.action_size))
    calls: dict[str, Any] = {name: partial(act, each, observations, jax.random.key(3)) for name, each in acting.items()}
    return milliseconds(calls | {"critic": partial(judge, policy, observations, actions)}, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description="Latency of an action, as a multiple of the unguided flow's.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 256])
    parser.add_argument("--chunk", type=int, default=5, help="steps of a chunk")
    parser.add_argument("--layers", default="4x512", help="depth x width of every network")
    parser.add_argument("--flow-steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--once", action="store_true", help="normalise the denoised gradient alone")
    options = parser.parse_args()
    depth, width = map(int, options.layers.split("x"))
    policy = untrained((width,) * depth, options.flow_steps, options.chunk)
    device = jax.devices()[0].device_kind
    acting = policies(policy, options.once, options.chunk)
    found = {batch: measure(policy, acting, batch, options.repeats) for batch in options.batches}
    ratios = {batch: each["jacobian"] / (each["unguided"] + each["critic"]) for batch, each in found.items()}
    if options.json:
        rows = [
            {"batch": batch, "sampler": name, "ms": ms, "of_unguided": ms / each["unguided"]}
            for batch, each in found.items()
            for name, ms in each.items()
        ]
        told = {"device": device, "layers": options.layers, "chunk": options.chunk, "rows": rows}
        print(json.dumps({**told, "jacobian_of_unguided_and_critic": ratios}))
        return
    for batch, each in found.items():
        lines = [(name, f"{ms:.3f}", f"{ms / each['unguided']:.2f}") for name, ms in each.items()]
        title = f"batch {batch}, chunk of {options.chunk}, {options.layers}, {options.flow_steps} steps, {device}"
        Console().print(tables.table(("sampler", "ms", "x unguided"), lines, title))
        verdict = "at most" if ratios[batch] <= LIMIT else "MORE than"
        print(f"jacobian / (unguided + critic) = {ratios[batch]:.2f}, {verdict} {LIMIT}")


if __name__ == "__main__":
    main()
