"""What an export costs and how exact it is: the policy, StableHLO, ONNX and NumPy in one run.

    python benchmarks/export.py [--json] [--dataset FILE --steps 1000] [--layers 4x512] [--random 1000] [--data 100]

Rows: a one-step actor (FQL), a flow, a guided flow, best of 4 and a chunk of 5 (QGF), trained for `--steps` updates on
the dataset, or as they are drawn without one. A difference is the largest between the numbers of an action and those of
`policy.act_from`, compiled for one row, over random and data observations; each guided row has a weight of its own.
"same" is StableHLO against the compiled policy at its own batch. Rows whose best candidate leads by less than 1e-4 of
the spread of values are counted apart, since rounding may choose another. Latencies are medians of calls that take
turns; ONNX and NumPy take a row a call. ONNX is left out where the extra `onnx` is not installed.
"""

import argparse
import importlib.util
import json
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from guidedflow import FQL, QGF, DenoisedGradient, Plan, Sampler, load_dataset, train
from guidedflow.policies.policy import Policy
from guidedflow.results import tables
from guidedflow.serving.export import FORMATS, write_export
from guidedflow.serving.interface import Interface
from guidedflow.serving.programs import batched, interface_of, one_by_one
from guidedflow.serving.recorded import CLEAR, leads
from guidedflow.studies.clock import milliseconds
from guidedflow.types import Transition

TASK = "cube-single-noisy-singletask-task1-v0"
OBSERVATION, ACTION, CHUNK = 28, 5, 5
Inputs = tuple[NDArray[Any], ...]


def policies(dataset: Any, steps: int, hidden: tuple[int, ...]) -> Iterator[tuple[str, Policy, int]]:
    """The policies of the table, with the steps of their chunks."""
    learned = partial(_learned, dataset, steps)
    yield "one-step actor", learned(FQL(hidden=hidden), "actor", 1), 1
    flow = learned(QGF(hidden=hidden), "flow", 1)
    yield "flow", flow, 1
    yield "guided flow", flow.with_sampler(Sampler(guidance=DenoisedGradient(0.1))), 1
    yield "best of 4", flow.with_sampler(Sampler(candidates=4)), 1
    yield "guided, best of 4", flow.with_sampler(Sampler(guidance=DenoisedGradient(0.1), candidates=4)), 1
    yield "chunk of 5", learned(QGF(hidden=hidden), "flow", CHUNK), CHUNK


def _learned(dataset: Any, steps: int, algorithm: Any, name: str, chunk: int) -> Policy:
    if dataset is None:
        seen, action, number = jnp.zeros(OBSERVATION), jnp.zeros(ACTION * chunk), jnp.zeros(())
        state = algorithm.init(Transition(seen, action, number, number, seen, action), jax.random.key(0))
        return algorithm.policies(state)[name]
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(steps, log_interval=min(steps, 500), horizon=chunk, chunk=chunk > 1)
        return train(algorithm, dataset, plan, out=Path(folder) / "run").policy(name)


def inputs(interface: Interface, random: int, seen: NDArray[Any] | None) -> Inputs:
    """Random observations, then those of the data, with noise and weights."""
    draw = np.random.default_rng(0)
    shape, _ = interface.observation_layout
    observations = draw.standard_normal((random, *shape)).astype(np.float32)
    if seen is not None:
        observations = np.concatenate([observations, seen])
    noise = draw.standard_normal((len(observations), *interface.noise_shape)).astype(np.float32)
    weights = [draw.uniform(0, 1, len(observations)).astype(np.float32) for _ in interface.weights]
    return (observations, noise, *weights)


def measure(
    policy: Policy, chunk: int, formats: list[str], random: int, seen: NDArray[Any] | None, repeats: int
) -> list[dict[str, Any]]:
    """One row a format, that of the policy first."""
    interface = interface_of(policy, chunk)
    given = inputs(interface, random, seen)
    expected = one_by_one(policy, interface)(*given)
    clear = np.ones(len(expected), bool)
    if interface.candidates > 1:
        clear = leads(policy, interface, given) > CLEAR
    original = jax.jit(batched(policy, interface))
    programs: dict[str, Callable[..., Any]] = {"policy": original}
    rows: dict[str, dict[str, Any]] = {"policy": {"difference": 0.0}}
    with tempfile.TemporaryDirectory() as folder:
        for name in formats:
            manifest = write_export(policy, interface, Path(folder) / name, (name,))
            programs[name] = FORMATS[name].load(manifest)
            apart = np.abs(np.asarray(programs[name](*given)) - expected).reshape(len(expected), -1).max(axis=1)
            rows[name] = {"difference": float(apart[clear].max()), "unclear": int((~clear).sum())}
            rows[name] |= {"bytes": manifest.artifacts[name]["bytes"]}
        if "stablehlo" in programs:
            same = np.abs(np.asarray(programs["stablehlo"](*given)) - np.asarray(original(*given)))
            rows["stablehlo"]["same"] = float(same.max())
        for batch in (1, 64):
            some = tuple(each[:batch] for each in given)
            taken = milliseconds({name: partial(call, *some) for name, call in programs.items()}, repeats)
            for name, ms in taken.items():
                rows[name][f"ms_{batch}"] = ms
    return [{"format": name, **row} for name, row in rows.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description="Exactness, size and latency of exported policies.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--dataset", type=Path, help=f"dataset of {TASK}")
    parser.add_argument("--steps", type=int, default=1000, help="updates on it")
    parser.add_argument("--layers", default="4x512", help="depth x width of every network")
    parser.add_argument("--random", type=int, default=1000, help="random observations")
    parser.add_argument("--data", type=int, default=100, help="observations of the dataset")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    depth, width = map(int, options.layers.split("x"))
    dataset = None if options.dataset is None else load_dataset(TASK, options.dataset)
    seen = None
    if dataset is not None:
        places = np.random.default_rng(1).choice(len(dataset.observations), options.data, replace=False)
        seen = dataset.observations[places]
    has_onnx = all(importlib.util.find_spec(package) for package in ("jax2onnx", "onnxruntime"))
    rows = []
    for name, policy, chunk in policies(dataset, options.steps, (width,) * depth):
        critic = policy.sampler.asks
        formats = ["stablehlo", *(["onnx"] if has_onnx else []), *([] if critic else ["numpy"])]
        found = measure(policy, chunk, formats, options.random, seen, options.repeats)
        rows += [{"policy": name, **row} for row in found]
    told = {"device": jax.devices()[0].device_kind, "layers": options.layers, "rows": rows}
    if options.json:
        print(json.dumps(told))
        return
    lines = [
        (
            f"{row['policy']}: {row['format']}",
            f"{row['difference']:.1e}" if "bytes" in row else "",
            f"{row['same']:.0e}" if "same" in row else "",
            str(row.get("unclear", "")),
            f"{row['bytes'] / 1e6:.2f}" if "bytes" in row else "",
            f"{row['ms_1']:.2f}",
            f"{row['ms_64']:.2f}",
        )
        for row in rows
    ]
    headers = ("", "largest difference", "same", "unclear", "MB", "ms, batch 1", "ms, batch 64")
    Console().print(tables.table(headers, lines, f"{options.layers}, {told['device']}"))


if __name__ == "__main__":
    main()
