"""What networks here take as an observation: numbers as float32, or an image as bytes of (height, width, channels).

This module does not know where observations are from.
"""

from typing import Any, Literal

import numpy as np

Fault = Literal["float-images", "channels-first", "no-channels", "deep-observations", "byte-vectors"]
"""Why no network takes an observation."""

CHANNELS = (1, 3, 4)
"""Channels that a camera has."""


def fault(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Fault | None:
    """What is wrong with observations of this shape and type; None where a network takes them."""
    if len(shape) == 3 and dtype != np.uint8:
        return "float-images"
    if len(shape) == 3 and shape[0] in CHANNELS and shape[2] > 12:
        return "channels-first"
    if len(shape) == 2 and dtype == np.uint8:
        return "no-channels"
    if len(shape) not in (1, 3):
        return "deep-observations"
    return "byte-vectors" if len(shape) == 1 and dtype == np.uint8 else None
