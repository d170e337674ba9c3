"""Frames of video files, decoded by PyAV, one at a time.

Only the container of mp4 is opened, never a playlist that names other files. This module does not know which recording
a film belongs to.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from guidedflow.data.formats.arrays import needing, words

_CONTAINER = "mp4"  # PyAV's name of the demuxer; a playlist would be another one


class Undecodable(ValueError):
    """A video that is damaged, or holds no video."""


class Span(NamedTuple):
    """A part of a film, from `begin` to before `end`, in seconds."""

    begin: float
    end: float


class Frame(NamedTuple):
    """One picture of a film: in which span it lies, when it is shown (seconds), and its pixels."""

    span: int
    time: float
    pixels: UInt8[np.ndarray, "height width 3"]


def frames(path: Path, spans: Sequence[Span]) -> Iterator[Frame]:
    """The frames in spans that follow each other, in the order in which they are shown; what lies before is skipped.

    Raises `InputError` where PyAV is not installed, and `Undecodable` for a file that cannot be decoded.
    """
    with needing("av", path, "video"):
        import av
    current = 0
    try:
        with av.open(str(path), format=_CONTAINER, metadata_errors="ignore") as film:
            if not film.streams.video:
                raise Undecodable(f"{path} holds no video")
            stream = film.streams.video[0]
            stream.thread_type = "AUTO"
            stream.codec_context.options = {"err_detect": "explode"}  # else damage is painted over
            if spans[0].begin > 0 and stream.time_base:
                film.seek(int(spans[0].begin / stream.time_base), stream=stream)
            for frame in film.decode(stream):
                time = frame.time if frame.pts is not None else None
                if time is None or frame.is_corrupt:
                    raise Undecodable(f"{path} has a frame that is damaged, or without a time")
                while current < len(spans) and time >= spans[current].end:
                    current += 1
                if current == len(spans):
                    return
                if time >= spans[current].begin:
                    yield Frame(current, time, frame.to_ndarray(format="rgb24"))
    except av.FFmpegError as error:
        raise Undecodable(f"{path} cannot be decoded: {words(error)}") from error
