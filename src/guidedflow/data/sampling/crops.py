"""Random crops: the images of a batch moved by a few pixels, inside the compiled update.

    image    padded by 3 pixels that repeat its edge, and cut to its size again at a random place
    batch    all of it is cropped, with a given probability, or none of it; all observations of a transition alike

As published with FQL (arXiv 2502.02538) and GFP (arXiv 2512.03973), with probability 0.5. This module does not know
where a batch comes from, nor who learns from it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, Shaped

from guidedflow.types import Scalar, Transition

PADDING = 3
"""The farthest that an image is moved, in pixels."""

_KEY = 0xC409  # so that the same transitions are drawn with crops and without


def crop_batch(batch: Transition, key: PRNGKeyArray, probability: float | Scalar) -> Transition:
    """The batch that `key` drew, with its images cropped with this probability."""
    size = len(batch.reward)
    coin_key, place_key = jax.random.split(jax.random.fold_in(key, _KEY))
    images = {name: image for name, image in batch._asdict().items() if "observation" in name and image is not None}

    def cropped() -> dict[str, Any]:
        places = jax.random.randint(place_key, (size, 2), 0, 2 * PADDING + 1)
        # An observation may have vectors beside its images, which stay as they are.
        return jax.tree.map(lambda part: jax.vmap(crop)(part, places) if part.ndim == 4 else part, images)

    seen = jax.lax.cond(jax.random.uniform(coin_key) < probability, cropped, lambda: images)
    return batch._replace(**seen)


def crop(
    image: Shaped[Array, "height width channels"], place: Int[Array, "2"]
) -> Shaped[Array, "height width channels"]:
    """The image in its padded self, from the row and column of `place` on; at (3, 3) it is the image."""
    padded = jnp.pad(image, ((PADDING, PADDING), (PADDING, PADDING), (0, 0)), mode="edge")
    return jax.lax.dynamic_slice(padded, (place[0], place[1], jnp.zeros_like(place[0])), image.shape)
