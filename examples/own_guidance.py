"""A guidance of your own: QGF whose pull has a limited length, and a fence that no sample may cross.

python examples/own_guidance.py
"""

# %% A guidance is a function from a velocity field and a value to a velocity field
import jax
import jax.numpy as jnp

from guidedflow import Sampler, hyperparameters


@hyperparameters
class Fenced:
    """QGF's gradient, no longer than `limit`, and a push back where the predicted action lies beyond the fence."""

    weight: float = 0.7
    """Weight of the value's gradient, in action per value."""
    limit: float = 1.0
    """Longest pull by the value."""
    fence: float = 0.5
    """Largest second number of an action."""

    def __call__(self, velocity, value):
        def guided(point, t):
            speed = velocity(point, t)
            predicted = jnp.clip(point + (1 - t) * speed, -1, 1)
            pull = self.weight * jax.grad(value)(predicted, 1.0)
            pull = pull * jnp.minimum(1, self.limit / jnp.maximum(jnp.linalg.norm(pull), 1e-6))
            beyond = jnp.maximum(predicted[1] - self.fence, 0)
            return speed + pull - jnp.array([0.0, 4.0]) * beyond

        return guided


# %% Any velocity and any value will do: here a flow that ends uniformly spread, and a value that rises to the right
def velocity(a, t):
    return -a * (1 - t) / ((1 - t) ** 2 + t**2 / 3) + a * t / 3 / ((1 - t) ** 2 + t**2 / 3)


def value(a, t):
    return jax.nn.sigmoid(8 * a[0])


noise = jax.random.normal(jax.random.key(0), (1000, 1, 2))
for name, sampler in {"unguided": Sampler(), "fenced": Sampler(guidance=Fenced())}.items():
    actions = jax.vmap(lambda noise, sampler=sampler: sampler(velocity, value, noise))(noise)
    right, above = jnp.mean(actions[:, 0] > 0), jnp.mean(actions[:, 1] > 0.6)
    print(f"{name:<9} right {right:6.1%}  beyond the fence {above:6.1%}")

# %% A trained policy takes it in the same way:
#     load_policy("runs/qgf", "flow").with_sampler(Sampler(guidance=Fenced(weight=0.1)))
