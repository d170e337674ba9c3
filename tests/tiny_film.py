"""Short films that lose nothing, for tests of what decodes them."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray


def encode(path: Path, pictures: NDArray[np.uint8], fps: int = 10, gap: int = 0) -> None:
    """A film without loss, an intact picture every third frame; `gap` frames are left out before the last one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264rgb", rate=fps, options={"crf": "0", "preset": "ultrafast", "g": "3"})
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = "rgb24"
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number + (gap if number == len(pictures) - 1 else 0)
            frame.time_base = Fraction(1, fps)
            film.mux(stream.encode(frame))
        film.mux(stream.encode())
