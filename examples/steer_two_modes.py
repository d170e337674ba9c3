"""Steer a flow between two modes towards the one that a value prefers; nothing is trained. `--out FILE`: a picture."""

# %% A flow between two modes, a value, and six ways of acting
import argparse

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

from guidedflow import DenoisedGradient, JacobianGradient, NoisyGradient, RolloutGradient, Sampler

MODES, SPREAD = jnp.array([[-0.6, -0.2], [0.6, 0.2]]), 0.1
GUIDANCES = [NoisyGradient, DenoisedGradient, JacobianGradient, RolloutGradient]
SAMPLERS = {"unguided": Sampler(), "best of 4": Sampler(candidates=4)}
SAMPLERS |= {guidance.__name__: Sampler(guidance=guidance(weight=0.7)) for guidance in GUIDANCES}


def velocity(a, t):  # exact for a mixture of Gaussians: (E[where the path through a ends] - a) / (1 - t)
    variance = (1 - t) ** 2 + (t * SPREAD) ** 2
    offsets = a[None] - t * MODES
    shares = jax.nn.softmax(-jnp.sum(offsets**2, axis=1) / (2 * variance))
    return (shares @ (MODES + t * SPREAD**2 / variance * offsets) - a) / (1 - t)


def value(a, t):  # like a probability of success: it rises between the modes and is flat around them
    return jax.nn.sigmoid(8 * a[0])


# %% 1,000 actions of each
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--out")
out = parser.parse_args().out
figure, panels = plt.subplots(1, len(SAMPLERS), figsize=(10, 1.9), sharey=True, layout="constrained")
for (name, sampler), panel in zip(SAMPLERS.items(), panels, strict=True):
    noise = jax.random.normal(jax.random.key(0), (1000, sampler.candidates, 2))
    actions = jax.vmap(lambda noise, sampler=sampler: sampler(velocity, value, noise))(noise)
    left, right = (jnp.sum(jnp.linalg.norm(actions - mode, axis=1) < 3 * SPREAD) / 1000 for mode in MODES)
    print(f"{name:<16}  left {left:6.1%}  right {right:6.1%}  neither {abs(1 - left - right):6.1%}")
    panel.scatter(*actions.T, s=2, alpha=0.3)
    panel.set(title=f"{name}\n{right:.0%} right", xlim=(-1, 1), ylim=(-0.7, 0.7), xticks=[], yticks=[], aspect="equal")
if out:
    figure.savefig(out, dpi=150, bbox_inches="tight")
