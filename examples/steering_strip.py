"""Draw the README's picture: one flow from noise to actions, alone and steered by a value; nothing is trained.

python examples/steering_strip.py [--out steering.png] [--samples 1000]
"""

# %% A flow between two modes of the data, and the value of an action
import argparse

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from guidedflow import DenoisedGradient, Unguided

MODES, SPREAD, STEPS, SHOWN = jnp.array([[-0.55, 0.0], [0.55, 0.0]]), 0.1, 20, (0, 5, 10, 15, 20)
GOOD, BAD = "#228833", "#888888"


def velocity(a, t):  # exact for a mixture of two Gaussians: (E[end of the path through a] - a) / (1 - t)
    variance = (1 - t) ** 2 + (t * SPREAD) ** 2
    offsets = a[None] - t * MODES
    shares = jax.nn.softmax(-jnp.sum(offsets**2, axis=1) / (2 * variance))
    return (shares @ (MODES + t * SPREAD**2 / variance * offsets) - a) / (1 - t)


def value(a, t):  # the chance that an action succeeds
    return jax.nn.sigmoid(8 * a[0])


# %% Where 1,000 samples are at each step of the flow
parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--out", default="steering.png")
parser.add_argument("--samples", type=int, default=1000)
options = parser.parse_args()
noise = jax.random.normal(jax.random.key(0), (options.samples, 2))
paths = {}
for name, guidance in {"copies the data": Unguided(), "the same, steered": DenoisedGradient(0.7)}.items():
    steered, points = jax.vmap(guidance(velocity, value), (0, None)), [noise]
    for step in range(STEPS):
        points.append(points[-1] + steered(points[-1], step / STEPS) / STEPS)
    paths[name] = np.stack(points)

# %% The picture
figure, panels = plt.subplots(2, len(SHOWN), figsize=(10, 4.2), layout="constrained")
grid = np.linspace(-1, 1, 100)
for (name, points), row in zip(paths.items(), panels, strict=True):
    good = points[-1, :, 0] > 0
    print(f"{name}: {good.mean():.0%} of the actions succeed")
    for step, panel in zip(SHOWN, row, strict=True):
        shade = np.tile(np.asarray(jax.nn.sigmoid(8 * grid)), (2, 1))
        panel.imshow(shade, extent=(-2.2, 2.2, -1.6, 1.6), cmap="Greens", vmin=0, vmax=5, aspect="auto")
        panel.scatter(*points[step].T, s=3, c=np.where(good, GOOD, BAD), alpha=0.6, lw=0)
        panel.set(xlim=(-2.2, 2.2), ylim=(-1.6, 1.6), xticks=[], yticks=[])
    row[0].set_ylabel(name, fontsize=13)
    row[-1].set_xlabel(f"{good.mean():.0%} succeed", fontsize=13, color=GOOD, weight="bold")
for panel, title in zip(panels[0], ("noise", "", "halfway", "", "actions"), strict=True):
    panel.set_title(title, fontsize=13)
figure.savefig(options.out, dpi=100)
