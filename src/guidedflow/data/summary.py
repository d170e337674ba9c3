"""What is in a dataset, in numbers and in a picture.

This module does not know where a dataset is from, nor what is trained on it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidedflow.data.dataset import Dataset
from guidedflow.data.formats.arrays import Arrays
from guidedflow.errors import InputError
from guidedflow.files import reason
from guidedflow.packing import unpacked
from guidedflow.results.counts import plural

_MOST = 200
"""Dimensions that are told one by one."""


def summarize(dataset: Dataset) -> dict[str, Any]:
    """Sizes, ranges, lengths and returns of episodes (undiscounted), and shares between 0 and 1, for JSON.

    Ranges of observations are over all rows, those of actions and rewards over transitions.
    """
    steps = ~dataset.last
    actions, rewards, masks = dataset.actions[steps], dataset.rewards[steps], dataset.masks[steps]
    lengths, returns = episodes(dataset)
    share, row, _ = dataset.actions_outside
    return {
        "name": dataset.name,
        "fingerprint": dataset.fingerprint,
        "episodes": dataset.episodes,
        "transitions": len(dataset),
        "observations": _observations(dataset.observations),
        **({} if dataset.goals is None else {"goals": {"shape": list(dataset.goals.shape[1:])}}),
        "actions": {
            "size": int(dataset.actions.shape[1]),
            **_range(actions),
            **_dimensions(actions),
            "mean_size": float(np.abs(actions).mean()) if len(actions) else None,
            "constant": np.flatnonzero(np.ptp(actions, axis=0) == 0).tolist() if len(actions) else [],
            "share_outside": share,
            "first_outside_row": row,
        },
        "rewards": {**_range(rewards), "mean": float(rewards.mean()) if len(rewards) else None},
        "episode_lengths": spread(lengths),
        "returns": spread(returns),
        "share_terminations": float((masks == 0).mean()) if len(masks) else 0.0,
        "share_terminated_episodes": _terminated(dataset),
    }


def described(path: Path, open_file: Callable[[Path], Arrays]) -> list[dict[str, Any]]:
    """Name, shape, type and first values of each column of a file, for JSON; what cannot be read says why."""
    found: list[dict[str, Any]] = []
    with open_file(path) as file:
        for name in file.names:
            try:
                shape, column = file.glimpse(name)
            except InputError as error:
                found.append({"name": name, "shape": None, "type": None, "first": str(error)})
                continue
            words = [
                f"{value:.4g}" if isinstance(value, float) else str(value) for value in column.ravel()[:4].tolist()
            ]
            first = ", ".join(words) + (", ..." if np.prod(shape) > 4 else "")
            found.append({"name": name, "shape": list(shape), "type": str(column.dtype), "first": first})
    return found


def episodes(dataset: Dataset) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Steps and return of each episode."""
    ends = np.flatnonzero(dataset.last)
    begins = np.concatenate([[0], ends[:-1] + 1])
    sums = np.concatenate([[0.0], np.cumsum(np.where(dataset.last, 0, dataset.rewards), dtype=np.float64)])
    return ends - begins, sums[ends] - sums[begins]


def lines(told: dict[str, Any]) -> dict[str, str]:
    """A summary as one line an entry, for people."""

    def line(entry: Any) -> str:
        if isinstance(entry, dict):
            return "  ".join(f"{key.replace('_', ' ')} {line(value)}" for key, value in entry.items())
        return f"{entry:.4g}" if isinstance(entry, float) else str(entry)

    return {key.replace("_", " "): line(entry) for key, entry in told.items()}


def draw(dataset: Dataset, out: Path) -> Path:
    """A picture of the returns, of the actions' range in each dimension, and of how large their numbers are."""
    from matplotlib.figure import Figure

    _, returns = episodes(dataset)
    actions = dataset.actions[~dataset.last]
    figure = Figure(figsize=(11, 3.6), dpi=150, layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    left.hist(returns, bins=min(50, max(5, len(returns) // 2)), color="#4477AA")
    left.set(title="returns", xlabel="return of an episode", ylabel="episodes")
    dimensions = np.arange(actions.shape[1])
    low, first, median, third, high = np.percentile(actions, [0, 25, 50, 75, 100], axis=0)
    middle.vlines(dimensions, low, high, color="#66CCEE", lw=1.5)
    middle.vlines(dimensions, first, third, color="#4477AA", lw=4)
    middle.plot(dimensions, median, "o", color="white", markersize=2)
    middle.set(title="actions: range and quartiles", xlabel="dimension")
    right.hist(actions.ravel(), bins=80, color="#4477AA", log=True)
    right.set(title="actions: all numbers", xlabel="action", ylabel="how many")
    middle.axhspan(-1, 1, color="#228833", alpha=0.1, lw=0)
    right.axvspan(-1, 1, color="#228833", alpha=0.1, lw=0)
    figure.suptitle(
        f"{dataset.name}: {plural(dataset.episodes, 'episode')}, {plural(len(dataset), 'transition')}", fontsize=10
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {reason(error)}") from error
    except ValueError as error:
        raise InputError(f"{out} cannot be drawn: {error}; end its name with .png, .pdf or .svg") from error
    return out


def _observations(column: NDArray[Any]) -> dict[str, Any]:
    """Shape, type and range, also of each of several parts."""
    if column.dtype.names is not None:
        return {name: _observations(part) for name, part in unpacked(column).items()}
    return {"shape": list(column.shape[1:]), "type": str(column.dtype), **_range(column), **_dimensions(column)}


def _range(column: NDArray[Any]) -> dict[str, float | None]:
    if not column.size:
        return {"least": None, "greatest": None}
    return {"least": float(column.min()), "greatest": float(column.max())}


def _dimensions(column: NDArray[Any]) -> dict[str, list[dict[str, float]]]:
    """Range, mean and deviation of each number, where there are not too many to be read."""
    if column.ndim != 2 or not column.size or column.shape[1] > _MOST:
        return {}
    found = {
        "least": column.min(0),
        "greatest": column.max(0),
        "mean": column.mean(0, dtype=np.float64),
        "deviation": column.std(0, dtype=np.float64),
    }
    rows = zip(*found.values(), strict=True)
    return {"dimensions": [dict(zip(found, map(float, row), strict=True)) for row in rows]}


def spread(numbers: NDArray[Any]) -> dict[str, float]:
    """Of numbers, one an episode."""
    told = {"least": numbers.min(), "median": np.median(numbers), "mean": numbers.mean(), "greatest": numbers.max()}
    return {key: float(value) for key, value in told.items()}


def _terminated(dataset: Dataset) -> float:
    """Share of the episodes with a step whose last step does not bootstrap."""
    ends = np.flatnonzero(dataset.last)
    closing = ends[(ends > 0) & ~dataset.last[ends - 1]] - 1
    return float((dataset.masks[closing] == 0).mean()) if len(closing) else 0.0
