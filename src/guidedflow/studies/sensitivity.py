"""How much a little noise in the action turns each gradient: cosine similarity before and after.

A guidance is asked at a noisy action a_t = (1 - t) n + t a, with a from the dataset and n ~ N(0, I), and at
a_t + size e with e ~ N(0, I). A gradient whose direction survives that is one that an integrator can follow (arXiv
2606.11087, Fig. 3). This module does not know how a guidance makes its gradient.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PRNGKeyArray, Shaped

from guidedflow.flows.guidance import Guidance, guidance_of
from guidedflow.flows.path import straight_path
from guidedflow.policies.kinds import FlowPolicy
from guidedflow.studies import picture
from guidedflow.studies.finding import Finding, check
from guidedflow.studies.picture import Figure
from guidedflow.studies.subject import Subject, over_seeds
from guidedflow.types import Action, Observation, Scalar, Time

ESTIMATORS = ("noisy", "denoised", "jacobian", "rollout")


@dataclass(frozen=True)
class Sensitivity:
    """How much a little noise in the action turns the gradient of each guidance."""

    sizes: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3)
    """Standard deviations of the noise that is added to every dimension of the action."""
    states: int = 256
    """Transitions of the dataset."""
    seed: int = 0
    """Chooses transitions and noise."""

    def measure(self, subject: Subject) -> Finding:
        """The mean cosine of each estimator, time and size, over states and training seeds.

        Where a gradient is 0 (a jump that was clipped in every dimension) it has no direction; `defined` is the share
        of pairs where both have one.
        """
        check(self, sizes=(0, np.inf), states=(1, np.inf), seed=(0, 2**31 - 1))
        batch = subject.draw(self.states, self.seed)
        keys = jax.random.split(jax.random.key(self.seed), self.states)
        steps = subject.base.sampler.steps
        rows = []
        for estimator in ESTIMATORS:
            # Normalised, so that the difference to the velocity keeps its digits; the direction is the same.
            guidance = guidance_of(estimator, 1.0, True, steps)
            cosines = _cosines(subject.base, guidance, batch.observation, batch.action, keys, jnp.asarray(self.sizes))
            found = np.asarray(cosines)  # seeds, states, times, sizes
            for i in range(steps):
                for j, size in enumerate(self.sizes):
                    cell = found[:, :, i, j]
                    defined = cell[np.isfinite(cell)]
                    mean = float(np.mean(defined)) if len(defined) else None
                    share = len(defined) / cell.size
                    rows.append(
                        {"estimator": estimator, "t": i / steps, "size": size, "cosine": mean, "defined": share}
                    )
        task, seeds = subject.trained.task, subject.trained.seeds
        title = f"{task}: turning of gradients by noise, {self.states} states, {len(seeds)} seed(s)"
        return Finding(title, rows, {"task": task, "policy": subject.policy, "states": self.states, "seeds": seeds})

    def draw(self, finding: Finding) -> Figure:
        """Cosine against the size of the noise, and against the time at the middle size."""
        figure, (by_size, by_time) = picture.panels(2)
        sizes, times = finding.column("size"), finding.column("t")
        middle = sizes[len(sizes) // 2]
        for estimator in ESTIMATORS:
            means = []
            for size in sizes:
                told = [
                    row["cosine"] for row in finding.of(estimator=estimator, size=size) if row["cosine"] is not None
                ]
                means.append(float(np.mean(told)) if told else None)
            picture.line(by_size, sizes, means, estimator)
            rows = finding.of(estimator=estimator, size=middle)
            picture.line(by_time, times, [row["cosine"] for row in rows], estimator)
        by_size.set(xscale="log" if min(sizes) > 0 else "linear", title="mean over the times of the flow")
        by_size.set(xlabel="noise added to the action (standard deviation)", ylabel="cosine similarity")
        by_time.set(xlabel="time of the flow", ylabel="cosine similarity", title=f"noise of {middle:g}")
        by_size.legend(frameon=False, loc="best")
        return figure


@jax.jit
def _cosines(
    policy: FlowPolicy,
    guidance: Guidance,
    observations: Shaped[Array, " states *observation"],
    actions: Float[Array, "states action"],
    keys: Key[Array, " states"],
    sizes: Float[Array, " sizes"],
) -> Float[Array, "seeds states times sizes"]:
    """Cosines of the guidance's own part before and after noise, NaN where one is 0."""

    def at(policy: FlowPolicy, observation: Observation, action: Action, key: PRNGKeyArray) -> Float[Array, "t s"]:
        velocity = policy.flow.given(observation)
        values = policy.critic.given(observation)  # type: ignore[union-attr]
        guided = guidance(velocity, lambda action, t: policy.aggregate(values(action, t)))
        noise, disturbance = (jax.random.normal(each, action.shape) for each in jax.random.split(key))

        def gradient(point: Action, t: Time) -> Action:
            return guided(point, t) - velocity(point, t)

        def pair(t: Scalar, size: Scalar) -> Scalar:
            point, _ = straight_path(noise, action, t)
            return _cosine(gradient(point, t), gradient(point + size * disturbance, t))

        steps = policy.sampler.steps
        times = jnp.arange(steps, dtype=action.dtype) / steps
        return jax.vmap(lambda t: jax.vmap(lambda size: pair(t, size))(sizes))(times)

    states = jax.vmap(at, in_axes=(None, 0, 0, 0))
    return jax.vmap(states, in_axes=(over_seeds(policy), None, None, None))(policy, observations, actions, keys)


def _cosine(one: Action, other: Action) -> Scalar:
    lengths = jnp.linalg.norm(one) * jnp.linalg.norm(other)
    return jnp.where(lengths > 1e-6, jnp.dot(one, other) / jnp.maximum(lengths, 1e-6), jnp.nan)
