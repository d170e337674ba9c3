"""A policy as an ONNX graph, for machines without JAX: one row, by jax2onnx from a program that is traced already.

Traced first, so that gradients are gone before jax2onnx replaces functions by its own, which cannot be differentiated.
With one candidate the trace is of a batch of one, so that products are of matrices: a vector's would transpose the
weights at each call. With several candidates it is of one row without a batch, because jax2onnx 0.17.1 silently
converts an index by argmax under `jax.vmap` into another one; with images too, because onnxruntime pools no batch of
them as it is converted. So a graph is written only after it was compared.
"""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.extend
import numpy as np
from numpy.typing import NDArray

from guidedflow.errors import InputError
from guidedflow.packing import is_image
from guidedflow.policies.policy import Policy
from guidedflow.serving.extras import needing
from guidedflow.serving.interface import Interface
from guidedflow.serving.manifest import Manifest, entry
from guidedflow.serving.programs import batched, inputs_of, one_row
from guidedflow.serving.tracing import simplified

FILE = "policy.onnx"
OPSET = 23


def write(policy: Policy, interface: Interface, folder: Path, unroll: bool = False) -> dict[str, Any]:
    """Write the graph into `folder` and return its entry; with `unroll` it has no loops, and converts slowly."""
    with needing("ONNX", "onnx"):
        import jax2onnx
        import onnx
        import onnxruntime
    specs = inputs_of(interface, 1)
    names = [each["name"] for each in interface.inputs]
    program = batched(policy, interface)
    if interface.candidates > 1 or any(is_image(tuple(each["shape"][1:])) for each in interface.seen):
        specs = tuple(jax.ShapeDtypeStruct(spec.shape[1:], spec.dtype) for spec in specs)
        program = one_row(policy, interface)
    traced = jax.extend.core.jaxpr_as_fun(simplified(jax.make_jaxpr(program)(*specs), unroll))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("jax2onnx").setLevel(logging.ERROR)
        model = jax2onnx.to_onnx(
            lambda *inputs: traced(*inputs)[0],
            inputs=list(specs),
            input_names=names,
            output_names=["actions"],
            opset=OPSET,
        )
    onnx.checker.check_model(model)
    data = model.SerializeToString()
    (folder / FILE).write_bytes(data)
    shapes = {name: list(spec.shape) for name, spec in zip(names, specs, strict=True)}
    kept = [each.name for each in model.graph.input]
    return entry(
        data,
        FILE,
        opset=OPSET,
        inputs={name: shapes[name] for name in kept},
        versions={each.__name__: each.__version__ for each in (onnx, onnxruntime)},
        call=[
            "import onnxruntime",
            f"session = onnxruntime.InferenceSession({FILE!r}, providers=['CPUExecutionProvider'])",
            f"(actions,) = session.run(None, {{{', '.join(f'{name!r}: {name}' for name in kept)}}})",
        ],
        limits=[
            "one row a call, of the shapes in inputs",
            "float32",
            "slower than JAX where a critic is differentiated",
        ],
    )


def load(manifest: Manifest) -> Callable[..., NDArray[np.float32]]:
    """The graph over rows, run by onnxruntime. Raises `InputError` for a damaged file."""
    with needing("ONNX", "onnx"):
        import onnxruntime
    artifact = manifest.artifact("onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1  # of one row, more threads wait for each other
    try:
        session = onnxruntime.InferenceSession(manifest.content(artifact), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class for each way to fail
        raise InputError(f"{manifest.folder / FILE} cannot be read by onnxruntime ({_told(error)}).") from error
    shapes, names = artifact["inputs"], [each["name"] for each in manifest.interface.inputs]

    def program(*inputs: Any) -> NDArray[np.float32]:
        rows = []
        for row in zip(*map(np.asarray, inputs), strict=True):
            named = dict(zip(names, row, strict=True))
            given = {name: np.asarray(named[name]).reshape(shape) for name, shape in shapes.items()}
            try:
                rows.append(session.run(None, given)[0].reshape(manifest.interface.chunk, -1))
            except Exception as error:
                raise InputError(f"{manifest.folder / FILE} cannot be run by onnxruntime ({_told(error)}).") from error
        return np.stack(rows)

    return program


def _told(error: Exception) -> str:
    """What a library says, in one line of moderate length."""
    return " ".join(str(error).split())[:200]
