"""Steer a flow that nothing was trained for: two modes, equally likely, and a value that prefers the right one.

The velocity of a mixture of Gaussians is exact: v(a, t) = (E[end | a at time t] - a) / (1 - t). The value is like a
probability of success: it rises between the modes and is flat where things are decided. `--out FILE` saves a picture.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

from guidedflow import DenoisedGradient, JacobianGradient, NoisyGradient, RolloutGradient, Sampler

MODES, SPREAD, WEIGHT = jnp.array([[-0.6, 0.0], [0.6, 0.0]]), 0.1, 0.7
SAMPLERS = {
    "unguided": Sampler(),
    "noisy": Sampler(guidance=NoisyGradient(WEIGHT)),
    "denoised": Sampler(guidance=DenoisedGradient(WEIGHT)),
    "jacobian": Sampler(guidance=JacobianGradient(WEIGHT)),
    "rollout": Sampler(guidance=RolloutGradient(WEIGHT)),
    "best of 4": Sampler(candidates=4),
}


def velocity(a, t):
    variance = (1 - t) ** 2 + (t * SPREAD) ** 2
    offsets = a - t * MODES  # from each mode's centre at time t
    shares = jax.nn.softmax(-jnp.sum(offsets**2, axis=1) / (2 * variance))  # probability of each mode, seen from a
    return (shares @ (MODES + t * SPREAD**2 / variance * offsets) - a) / (1 - t)


def value(a, t):
    return jax.nn.sigmoid(8 * a[0])


def main(samples=1000, out=None):
    figure, panels = plt.subplots(1, len(SAMPLERS), figsize=(12, 2.4), sharey=True, layout="constrained")
    print(f"{'sampler':<10}{'left':>7}{'right':>7}{'neither':>9}")
    for (name, sampler), panel in zip(SAMPLERS.items(), panels, strict=True):
        noise = jax.random.normal(jax.random.key(0), (samples, sampler.candidates, 2))
        actions = jax.vmap(lambda noise, sampler=sampler: sampler(velocity, value, noise))(noise)
        left, right = (jnp.mean(jnp.linalg.norm(actions - mode, axis=1) < 3 * SPREAD).item() for mode in MODES)
        print(f"{name:<10}{left:>7.1%}{right:>7.1%}{1 - left - right:>9.1%}")
        panel.scatter(*actions.T, s=2, color="tab:blue")
        panel.set(title=f"{name}: {right:.0%} right", xlim=(-1, 1), ylim=(-1, 1), aspect="equal")
    if out is not None:
        figure.savefig(out, dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    main(out=parser.parse_args().out)
