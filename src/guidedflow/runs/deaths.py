"""Seeds of a run whose numbers are no longer finite: `dead.json` names the update and the tensor of each.

    {"dead": [{"seed": 1, "update": 1234, "metrics": ["critic_loss"], "tensor": "the gradient of critic.network..."}]}

A checkpoint of a later step holds the last finite state of such a seed, and whoever reads it leaves the seed out. This
module does not know how a fault is found.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from guidedflow import files
from guidedflow.errors import InputError

NAME = "dead.json"


@dataclass(frozen=True)
class Death:
    """A seed that is no longer finite."""

    seed: int
    update: int
    """The number of updates after which it is not finite."""
    metrics: tuple[str, ...]
    """Metrics of that update that are not finite."""
    tensor: str | None
    """The first tensor that is not finite after it; None where only a metric is not."""

    @property
    def sentence(self) -> str:
        """What is no longer finite, since when."""
        told = self.metrics[0] if self.metrics else self.tensor or "the mean of a metric"
        beside = f" (first tensor: {self.tensor})" if self.metrics and self.tensor else ""
        return f"{told}{beside} is no longer finite after update {self.update:,} of seed {self.seed}"

    def plain(self) -> dict[str, Any]:
        """As JSON's own types."""
        return {**asdict(self), "metrics": list(self.metrics)}


def read(run: Path) -> list[Death]:
    """The dead seeds of a run folder; none where nothing is recorded. Raises `InputError` for another content."""
    try:
        plain = json.loads((run / NAME).read_bytes())
        return [
            Death(int(each["seed"]), int(each["update"]), tuple(map(str, each["metrics"])), each["tensor"])
            for each in plain["dead"]
        ]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{run / NAME} cannot be read: {files.reason(error)}.") from error
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(
            f"{run / NAME} is no list of dead seeds; restore it, or remove it to read every seed."
        ) from None


def write(run: Path, deaths: Iterable[Death]) -> None:
    """Make these the dead seeds of a run folder; no file where there are none."""
    found = [each.plain() for each in sorted(deaths, key=lambda each: each.seed)]
    if found:
        files.write_json(run / NAME, {"dead": found})
    else:
        (run / NAME).unlink(missing_ok=True)


def at(deaths: Iterable[Death], step: int) -> dict[int, Death]:
    """Those that happened up to a step, by their seeds."""
    return {each.seed: each for each in deaths if each.update <= step}


def survivors(seeds: Sequence[int], state: Any, dead: Collection[int]) -> tuple[list[int], Any]:
    """The seeds that are not dead, and their rows of the state; all rows where none is left."""
    alive = healthy(seeds, dead)
    left = jax.tree.map(lambda leaf: leaf[jnp.asarray(alive)], state) if dead and alive else state
    return [seeds[row] for row in alive], left


def healthy(seeds: Sequence[int], dead: Iterable[int]) -> list[int]:
    """The rows of the seeds that are not dead."""
    gone = set(dead)
    return [row for row, seed in enumerate(seeds) if seed not in gone]
