"""The films of a LeRobot folder as columns of images: for each row the frame that was recorded with it.

Frames and rows must agree: an episode has as many frames as rows, and each frame is shown at its row's time, to half a
frame. This module does not know what is in other columns.
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from guidedflow.data.formats import video
from guidedflow.data.formats.arrays import ColumnError, LeftOut
from guidedflow.data.formats.lerobot_layout import Clip, Info, Listing
from guidedflow.data.formats.pictures import resized
from guidedflow.data.formats.video import Span
from guidedflow.errors import InputError
from guidedflow.processes import free_memory


class Episode(NamedTuple):
    """The rows of one episode, from `start` to before `stop`."""

    number: int
    start: int
    stop: int


class Films:
    """The films that a folder's metadata name; those of depths, whose pixels are no colours, are left out."""

    def __init__(self, path: Path, info: Info, listing: Listing) -> None:
        self.path, self._info, self._listing = path, info, listing
        told = info.get("features")
        features = told if isinstance(told, dict) else {}
        films = {
            name: each for name, each in features.items() if isinstance(each, dict) and each.get("dtype") == "video"
        }
        depths = [name for name, each in films.items() if _is_depth(each)]
        self._shapes: dict[str, Any] = {name: each.get("shape") for name, each in films.items() if name not in depths}
        self.left_out = {
            name: LeftOut("foreign-member", "a video of depths (export it as a column)") for name in depths
        }

    @property
    def names(self) -> list[str]:
        """The films that are columns."""
        return list(self._shapes)

    def __contains__(self, name: str) -> bool:
        return name in self._shapes

    @property
    def fps(self) -> float:
        """Frames a second. Raises `InputError` where the metadata do not say."""
        found = self._info.get("fps")
        if not isinstance(found, int | float) or not 0 < found < np.inf:
            raise InputError(f"{self.path}/meta/info.json must say fps, the frames a second, found {found!r}")
        return float(found)

    def first(self, name: str, episode: Episode) -> NDArray[np.uint8]:
        """The first frame of an episode, decoded alone."""
        for frame in video.frames(*self._placed(self._listing.clip(name, episode.number))):
            self._check_shape(name, frame.pixels.shape)
            return frame.pixels
        raise self._complaint(name, f"no frame for the {episode.stop - episode.start} rows of episode {episode.number}")

    def read(
        self, name: str, episodes: Sequence[Episode], times: NDArray[np.float64], size: tuple[int, int] | None
    ) -> NDArray[np.uint8]:
        """The frames of episodes that lie end to end, given when each row was in its episode, in seconds.

        Images get the `size`, (height, width), one by one. Raises `ColumnError` where frames and rows do not agree,
        and `InputError` for more of them than memory is free.
        """
        begin = episodes[0].start
        made, shown = None, np.full(len(times), np.nan)
        clips = sorted((self._listing.clip(name, episode.number), episode) for episode in episodes)
        for path, group in groupby(clips, key=lambda clip: clip[0].path):
            held = list(group)
            counts = [0] * len(held)
            for number, time, pixels in video.frames(path, [_span(clip, self.fps) for clip, _ in held]):
                clip, episode = held[number]
                row = episode.start + counts[number] - begin
                counts[number] += 1
                if row >= episode.stop - begin:
                    continue  # counted alone
                if made is None:
                    self._check_shape(name, pixels.shape)
                    made = self._room(name, (len(times), *(size or pixels.shape[:2]), pixels.shape[2]))
                made[row] = pixels if size is None else resized(pixels, size)
                shown[row] = time - clip.begin
            for (_, episode), count in zip(held, counts, strict=True):
                if count != (rows := episode.stop - episode.start):
                    raise self._complaint(
                        name, f"{count} frames for the {rows} rows of episode {episode.number} in {path}"
                    )
        self._check_times(name, shown, times, begin)
        assert made is not None  # an episode has a row, hence a frame
        return made

    def _placed(self, clip: Clip) -> tuple[Path, list[Span]]:
        return clip.path, [_span(clip, self.fps)]

    def _room(self, name: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Where images will lie."""
        size, free = int(np.prod(shape, dtype=np.int64)), free_memory()
        if free is not None and size > free:
            raise InputError(
                f"{self.path}: the images of {name!r} are {size / 2**30:.1f} GiB once they are decoded, but only "
                f"{free / 2**30:.1f} GiB of memory are free; decode them in pieces into a folder, by 'guidedflow data "
                "convert' with --to mapped, or make them smaller by --columns resize=96x96"
            )
        return np.empty(shape, np.uint8)

    def _check_shape(self, name: str, found: tuple[int, ...]) -> None:
        """Raise `ColumnError` for frames of another shape than the metadata say, channels first or last."""
        said = self._shapes[name]
        if isinstance(said, list) and said not in ([*found], [found[2], *found[:2]]):
            raise ColumnError(self.path, name, f"have the shape that meta/info.json says, {said}", f"{[*found]}")

    def _check_times(self, name: str, shown: NDArray[np.float64], times: NDArray[np.float64], begin: int) -> None:
        """Raise `ColumnError` for a frame that is shown at another time than its row's, by more than half a frame."""
        far = ~(np.abs(shown - times) <= 0.5 / self.fps)
        if far.any():
            row = int(np.argmax(far))
            found = f"its frame at {shown[row]:.4g} s and its timestamp at {times[row]:.4g} s, in row {begin + row}"
            raise self._complaint(name, found)

    def _complaint(self, name: str, found: str) -> ColumnError:
        return ColumnError(self.path, name, "have a frame for each row, at the row's time", found, "frames")


def _span(clip: Clip, fps: float) -> Span:
    """Where the frames of a clip lie; half a frame earlier than is said, so that rounded times count on its side."""
    return Span(clip.begin - 0.5 / fps if clip.begin > 0 else -np.inf, clip.end - 0.5 / fps)


def _is_depth(feature: dict[str, Any]) -> bool:
    told = feature.get("info")
    return isinstance(told, dict) and bool(told.get("video.is_depth_map") or told.get("is_depth_map"))
