"""Images brought to another size.

This module does not know where images are from.
"""

import numpy as np
from numpy.typing import NDArray


def resized(images: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Images of (..., height, width, channels) at another (height, width): each pixel is the mean of an area."""
    from PIL import Image

    if images.shape[-3:-1] == size:
        return images
    flat = images.reshape(-1, *images.shape[-3:])
    made = np.empty((len(flat), *size, images.shape[-1]), np.uint8)
    for image, place in zip(flat, made, strict=True):
        for channel in range(images.shape[-1]):
            plane = Image.fromarray(np.ascontiguousarray(image[..., channel]))
            place[..., channel] = np.asarray(plane.resize(size[::-1], Image.Resampling.BOX))
    return made.reshape(*images.shape[:-3], *size, images.shape[-1])
