"""What `config.json` records of a run: all that it takes to describe, repeat and resume it."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from guidedflow.algorithms.contract import Algorithm
from guidedflow.data.dataset import Dataset
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.sampling.rebalance import Rebalance
from guidedflow.data.sampling.windows import Window
from guidedflow.processes import available_cores, sums_alike
from guidedflow.runs.configuration import Configuration, name_of
from guidedflow.runs.provenance import commit, versions
from guidedflow.settings import to_plain
from guidedflow.training.plan import Plan


def record(
    algorithm: Algorithm[Any],
    dataset: Dataset | Mapped,
    plan: Plan,
    configuration: Configuration,
    *,
    recipe: Mapping[str, Any] | None = None,
    window: Window | None = None,
    rebalance: Rebalance | None = None,
    command: Sequence[str] | None = None,
) -> dict[str, Any]:
    """The configuration as JSON's own types; what does not apply is left out."""
    settings = to_plain(plan)
    if not dataset.goal_conditioned:
        del settings["goals"]
    optional = {
        "action_scale": to_plain(configuration.action_scale),
        "observation_scale": to_plain(configuration.observation_scale),
        "recipe": recipe,
        "window": to_plain(window),
        "rebalance": to_plain(rebalance),
    }
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]] if command is None else list(command),
        "task": dataset.name,
        "algorithm": {"name": name_of(algorithm), **to_plain(algorithm)},
        **settings,
        "dataset": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "transitions": len(dataset),
            "episodes": dataset.episodes,
        },
        "transition": to_plain(configuration.transition),
        # On a CPU the number of cores is the number of threads, which sums are split over: part of what makes the bits.
        "versions": {
            **versions(),
            "device": jax.devices()[0].device_kind,
            "cores": available_cores(),
            **({"deterministic": "yes"} if sums_alike() else {}),
        },
        "commit": commit(),
        **{name: value for name, value in optional.items() if value is not None},
    }
