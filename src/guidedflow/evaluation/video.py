"""Films of a policy: the same episodes that `evaluate` rolls out, drawn and written as MP4 or GIF.

MuJoCo chooses its graphics library once, when it is imported; so pictures are drawn in a fresh worker, with EGL or else
OSMesa, and never in this process. This module does not know what is on the pictures.
"""

import contextlib
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree, UInt8
from numpy.typing import NDArray

from guidedflow import files
from guidedflow.environments.vector import Simulators
from guidedflow.errors import InputError
from guidedflow.evaluation.rollout import Evaluation, evaluate
from guidedflow.keys import Stream

_SUFFIXES = (".mp4", ".gif")


def record(
    policy: PyTree,
    factory: Callable[[], gymnasium.Env[Any, Any]],
    path: Path | str,
    *,
    task: str,
    seeds: Sequence[int],
    episodes: int = 1,
    seed: int = 0,
    stream: Stream = Stream.REPORTING_EPISODES,
    every: int = 3,
    frames_per_second: int = 15,
    replan: int | None = None,
    delay: int | None = None,
    realtime: bool = False,
    task_ids: Sequence[int] = (),
) -> Evaluation:
    """Film the first `episodes` episodes of the first of `seeds`, every `every`-th step, and return their rows.

    Where there are `task_ids`, so many of each.

    `factory` makes an environment whose `render()` gives uint8 pictures [height, width, 3]. Raises `InputError` where
    `path` ends in neither .mp4 nor .gif, or no graphics library draws.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(f"video: expected a file name that ends in .mp4 or .gif, found {str(path)!r}")
    first = jax.tree.map(lambda leaf: leaf[:1] if jnp.ndim(leaf) else leaf, policy)
    frames: list[NDArray[np.uint8]] = []
    with drawing_simulator(factory) as simulators:
        shots = iter(range(10**9))

        def watch() -> None:
            if next(shots) % every == 0:
                frames.extend(simulators.render())

        evaluation = evaluate(
            first,
            simulators,
            task=task,
            seeds=seeds[:1],
            episodes=episodes,
            seed=seed,
            stream=stream,
            watch=watch,
            replan=replan,
            delay=delay,
            realtime=realtime,
            task_ids=task_ids,
        )
    write(path, frames, frames_per_second)
    return evaluation


def drawing_simulator(factory: Callable[[], gymnasium.Env[Any, Any]]) -> Simulators:
    """One environment in a worker that draws, with `MUJOCO_GL` as it is set, else egl, else osmesa.

    Raises `InputError` where none of them gives a picture.
    """
    chosen = os.environ.get("MUJOCO_GL")
    failures: dict[str, str] = {}
    for graphics in [chosen] if chosen else ["egl", "osmesa"]:
        try:
            simulators = Simulators(factory, 1, 1, graphics=graphics)
            simulators.reset(seed=0)
            if simulators.render()[0] is not None:
                return simulators
            simulators.close()
            failures[graphics] = "render() gave no picture"
        except (InputError, RuntimeError) as error:
            failures[graphics] = str(error)
    reasons = "; ".join(f"{graphics}: {reason}" for graphics, reason in failures.items())
    raise InputError(
        f"video: no graphics library draws here ({reasons}); install libegl1 or libosmesa6, or leave the video out"
    )


def write(path: Path, frames: Sequence[UInt8[np.ndarray, "height width 3"]], frames_per_second: int) -> None:
    """Write a film beside `path`, then put it in its place; an MP4 loses an odd last row or column."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path, suffix=path.suffix) as part:
        (_write_mp4 if path.suffix.lower() == ".mp4" else _write_gif)(part, frames, frames_per_second)


def _write_mp4(path: Path, frames: Sequence[UInt8[np.ndarray, "height width 3"]], frames_per_second: int) -> None:
    # Its own Python writer runs code between fork and exec, which JAX's threads forbid; so the program is called here.
    import imageio_ffmpeg

    height, width = (size // 2 * 2 for size in frames[0].shape[:2])  # As the colours of H.264 want it.
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    target = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(path)]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *source, "-r", f"{frames_per_second}", "-i", "-"]
    with subprocess.Popen([*command, *target], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as ffmpeg:
        assert ffmpeg.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it says why on its own
            for frame in frames:
                ffmpeg.stdin.write(frame[:height, :width].tobytes())
        _, told = ffmpeg.communicate()
    if ffmpeg.returncode:
        raise RuntimeError(f"video: ffmpeg failed: {told.decode(errors='replace').strip()}")


def _write_gif(path: Path, frames: Sequence[UInt8[np.ndarray, "height width 3"]], frames_per_second: int) -> None:
    import imageio.v2 as imageio

    imageio.mimwrite(path, list(frames), duration=1000 / frames_per_second, loop=0)
