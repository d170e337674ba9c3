"""Open a run at one of its checkpoints: its algorithm, what it has learned, and how it was configured."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from guidedflow.algorithms.contract import Algorithm, initial_state
from guidedflow.errors import InputError
from guidedflow.runs import checkpoint
from guidedflow.runs.configuration import Configuration, algorithm_of, name_of
from guidedflow.runs.mark import CONFIG
from guidedflow.runs.run import Run
from guidedflow.settings import to_plain


class Opened(NamedTuple):
    """A run at a checkpoint; every array of `state` has a leading axis of seeds."""

    run: Run
    algorithm: Algorithm[Any]
    state: Any
    step: int
    configuration: Configuration


def opened(path: Path | str, step: int | None, algorithm: Algorithm[Any] | type[Algorithm[Any]] | None) -> Opened:
    """The run at `path`, at `step` or at its newest checkpoint; what cannot be read is an `InputError`.

    An `algorithm` is its class, which takes its settings from the run, or as it was trained.
    """
    path, named = Run.locate(Path(path).expanduser())
    step = named if step is None else step
    run = Run.open(path)
    given = algorithm if isinstance(algorithm, type) else None
    algorithm = None if isinstance(algorithm, type) else algorithm
    if algorithm is not None:
        saved, told = run.config.get("algorithm"), {"name": name_of(algorithm), **to_plain(algorithm)}
        if saved != json.loads(json.dumps(told)):
            raise InputError(f"{run.path} was trained by {saved}, not by {told}.")
    try:
        algorithm, configuration = algorithm or algorithm_of(run.config, given), Configuration.read(run.config)
    except InputError as error:
        raise InputError(f"{run.path / CONFIG} cannot be used: {error}") from None
    with jax.enable_x64(False):  # checkpoints are of single precision
        example, seeds = configuration.transition.example(), jnp.asarray(configuration.each_seed)
        like = jax.eval_shape(initial_state, algorithm, example, seeds)
        step, state = checkpoint.load(run.checkpoints, step, like)
    return Opened(run, algorithm, state, step, configuration)
