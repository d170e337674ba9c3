"""Random crops: the images of a batch moved by a few pixels, inside the compiled update.

    image    padded by 3 pixels that repeat its edge, and cut to its size again at a random place
    batch    all of it is cropped, with a given probability, or none of it; all observations of a transition alike

As published with FQL (arXiv 2502.02538) and GFP (arXiv 2512.03973), with probability 0.5. This module does not know
where its batches come from, nor who learns from them.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, Shaped

from guidedflow.data.transitions import Batches
from guidedflow.types import Scalar, Transition

PADDING = 3
"""The farthest that an image is moved, in pixels."""

_KEY = 0xC409  # so that the same transitions are drawn with crops and without


class Cropped(eqx.Module):
    """Batches whose images are cropped with this probability."""

    batches: Batches
    probability: float | Scalar

    def example(self) -> Transition:
        """A transition without a batch axis."""
        return self.batches.example()

    def sample(self, key: PRNGKeyArray, batch_size: int) -> Transition:
        """The batch that the same key draws without crops, cropped or not."""
        batch = self.batches.sample(key, batch_size)
        coin_key, place_key = jax.random.split(jax.random.fold_in(key, _KEY))
        images = {name: image for name, image in batch._asdict().items() if "observation" in name and image is not None}

        def cropped() -> dict[str, Array]:
            places = jax.random.randint(place_key, (batch_size, 2), 0, 2 * PADDING + 1)
            return {name: jax.vmap(crop)(image, places) for name, image in images.items()}

        seen = jax.lax.cond(jax.random.uniform(coin_key) < self.probability, cropped, lambda: images)
        return batch._replace(**seen)


def crop(
    image: Shaped[Array, "height width channels"], place: Int[Array, "2"]
) -> Shaped[Array, "height width channels"]:
    """The image in its padded self, from the row and column of `place` on; at (3, 3) it is the image."""
    padded = jnp.pad(image, ((PADDING, PADDING), (PADDING, PADDING), (0, 0)), mode="edge")
    return jax.lax.dynamic_slice(padded, (place[0], place[1], jnp.zeros_like(place[0])), image.shape)
