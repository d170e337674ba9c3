"""What the environments of all suites share: float32 observations, resets that repeat, frames, a graphics library.

This module does not know of any suite.
"""

import contextlib
import ctypes.util
import io
import math
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from guidedflow.errors import InputError
from guidedflow.packing import PartShapes, dtype_of, flat, is_image


class Repeatable(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Float32 observations, and one seed for both sources of randomness.

    OGBench's mazes draw their start noise, and where a teleporter leads, from NumPy's global generator, which
    `reset(seed=...)` leaves alone. So each environment has one of its own, which takes the global one's place while it
    resets or steps: environments of one process do not disturb each other.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        # OGBench's manipulation environments build their spaces anew at each access; these stay.
        self.action_space = env.action_space
        self.observation_space = _single_precision(env.observation_space)
        self._dtype = self.observation_space.dtype
        self.generator = np.random.MT19937()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start an episode; the same seed gives the same episode, whatever happened before."""
        with quiet(), drawing_as(self):
            if seed is not None:
                np.random.seed(seed % 2**32)  # noqa: NPY002
            observation, info = self.env.reset(seed=seed, options=options)
        return observation.astype(self._dtype, copy=False), info

    def step(self, action: NDArray[Any]) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """One step of the simulator."""
        with drawing_as(self):
            observation, reward, terminated, truncated, info = self.env.step(action)
        # Some simulators give their reward and success as arrays of one number.
        if "success" in info:
            info["success"] = bool(np.all(info["success"]))
        reward = reward.item() if isinstance(reward, np.ndarray) else float(reward)
        return observation.astype(self._dtype, copy=False), reward, bool(terminated), bool(truncated), info


@contextmanager
def drawing_as(env: gymnasium.Env[Any, Any]) -> Iterator[None]:
    """Within it, `np.random.uniform` and its like draw from the generator of a `Repeatable` environment."""
    assert isinstance(env, Repeatable)
    before = np.random.get_bit_generator()  # type: ignore[attr-defined]
    if before is env.generator:  # to put it there again would forget the second of a pair of normal numbers
        yield
        return
    np.random.set_bit_generator(env.generator)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        np.random.set_bit_generator(before)  # type: ignore[attr-defined]


@contextmanager
def installed(task: str, extra: str) -> Iterator[None]:
    """Within it, a package that cannot be imported is an `InputError` that names the extra to install."""
    try:
        with quiet():
            yield
    except ImportError as error:
        raise InputError(
            f"the simulator of {task!r} cannot be imported ({error}): install it by pip install 'guidedflow[{extra}]', "
            "or, if this is its graphics library, set MUJOCO_GL to egl, osmesa or off"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings that importing MuJoCo and reading OGBench's action spaces give each time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def silent() -> Iterator[None]:
    """Without what gymnasium-robotics prints when it is imported, and the log file that MuJoCo leaves of old models."""
    import mujoco

    warned = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        mujoco.set_mju_user_warning(warned)


def choose_graphics(needed: bool) -> None:
    """Name a headless graphics library; MuJoCo reads the choice once, when it is first imported."""
    if sys.platform == "linux" and not os.environ.keys() & {"MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"}:
        libraries = {"egl": "EGL", "osmesa": "OSMesa"}
        os.environ["MUJOCO_GL"] = next((k for k, v in libraries.items() if ctypes.util.find_library(v)), "off")
    if needed and os.environ.get("MUJOCO_GL", "").lower() in ("off", "disable", "disabled", "false", "0"):
        raise InputError(
            "pictures need a graphics library and none is in use: install libegl1 (or libosmesa6), "
            "and set MUJOCO_GL to egl (or osmesa) before the program starts"
        )


@contextmanager
def drawing(task: str) -> Iterator[None]:
    """Within it, a graphics library that does not draw is an `InputError`, however it fails."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # each library raises errors of its own
        raise InputError(
            f"the pictures of {task!r} cannot be drawn with MUJOCO_GL={os.environ.get('MUJOCO_GL', '')} "
            f"({type(error).__name__}: {error}): install libegl1 (or libosmesa6), and set MUJOCO_GL to egl (or osmesa)"
        ) from error


def stacked(env: gymnasium.Env[Any, Any], number: int) -> gymnasium.Env[Any, Any]:
    """The last `number` observations as one, the oldest first, along the last axis; a reset fills all places."""
    space = env.observation_space
    frames = gymnasium.wrappers.FrameStackObservation(env, number, padding_type="reset")
    if isinstance(space, gymnasium.spaces.Dict):
        boxes: dict[str, gymnasium.Space[Any]] = {name: _repeated(box, number) for name, box in space.spaces.items()}
        return gymnasium.wrappers.TransformObservation(
            frames,
            lambda parts: {name: np.concatenate(part, axis=-1) for name, part in parts.items()},
            gymnasium.spaces.Dict(boxes),
        )
    return gymnasium.wrappers.TransformObservation(
        frames, lambda frames: np.concatenate(frames, axis=-1), _repeated(space, number)
    )


def _repeated(space: gymnasium.Space[Any], number: int) -> gymnasium.spaces.Box:
    """A box with its last axis repeated."""
    assert isinstance(space, gymnasium.spaces.Box)
    low, high = (np.concatenate([bound] * number, axis=-1) for bound in (space.low, space.high))
    return gymnasium.spaces.Box(low, high, dtype=space.dtype.type)


def in_parts(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    """An environment whose observations are one dictionary of boxes, vectors in single precision.

    Parts of inner dictionaries are called OUTER/INNER. Raises `InputError` for spaces that are neither images in bytes
    nor numbers.
    """
    found: dict[str, gymnasium.Space[Any]] = {}
    for name, box in _boxes(env.observation_space).items():
        if isinstance(box, gymnasium.spaces.Box) and box.dtype == np.uint8 and is_image(box.shape):
            found[name] = box
        elif isinstance(box, gymnasium.spaces.Box) and box.dtype != np.uint8 and len(box.shape) <= 1:
            found[name] = gymnasium.spaces.Box(-np.inf, np.inf, (math.prod(box.shape),), np.float32)
        else:
            raise InputError(
                f"the part {name!r} of an environment's observations must be numbers, or an image in bytes (uint8, "
                f"height, width, channels), but its space is {box}"
            )

    def transformed(observation: Any) -> dict[str, NDArray[Any]]:
        told = flat(observation)
        return {name: np.asarray(told[name], box.dtype).reshape(box.shape or ()) for name, box in found.items()}

    return gymnasium.wrappers.TransformObservation(env, transformed, gymnasium.spaces.Dict(found))


def has_images(space: gymnasium.Space[Any]) -> bool:
    """Whether a space is an image in bytes, or nested dictionaries with one inside."""
    return any(box.dtype == np.uint8 and is_image(box.shape or ()) for box in _boxes(space).values())


def _boxes(space: gymnasium.Space[Any], prefix: str = "") -> dict[str, gymnasium.Space[Any]]:
    """The spaces of nested dictionaries by name."""
    if not isinstance(space, gymnasium.spaces.Dict):
        return {prefix: space}
    found: dict[str, gymnasium.Space[Any]] = {}
    for name, inner in space.spaces.items():
        found |= _boxes(inner, f"{prefix}/{name}" if prefix else name)
    return found


def layout(space: gymnasium.Space[Any]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the array that holds one observation: of a dictionary, one structured number."""
    if isinstance(space, gymnasium.spaces.Dict):
        return (), dtype_of(PartShapes.of({name: box.shape for name, box in space.spaces.items()}))  # type: ignore[misc]
    assert isinstance(space, gymnasium.spaces.Box)
    return space.shape, np.dtype(space.dtype)


def _single_precision(space: gymnasium.Space[Any]) -> gymnasium.spaces.Box:
    if not isinstance(space, gymnasium.spaces.Box):
        raise InputError(f"observations must be one array, not {space}")
    if space.dtype == np.uint8:
        return space
    return gymnasium.spaces.Box(-np.inf, np.inf, space.shape, np.float32)
