"""A policy of images and vectors, exported and served: each part of an observation by its name."""

from pathlib import Path

import jax
import numpy as np
import pytest
from serving_helpers import listening
from tiny_camera import camera

from guidedflow.algorithms import FQL
from guidedflow.data.sampling.cutting import Cutting, observation_scale
from guidedflow.errors import InputError
from guidedflow.packing import PartShapes
from guidedflow.policies.rescaled import in_units
from guidedflow.serving.client import Client
from guidedflow.serving.export import write_export
from guidedflow.serving.interface import Interface
from guidedflow.serving.programs import Acting, interface_of
from guidedflow.serving.refusals import Refusal
from guidedflow.serving.sources import ExportSource, Opened, Source
from guidedflow.settings import from_plain, to_plain

OBSERVATION = {"image": np.full((6, 5, 2), 9, np.uint8), "state": np.array([100, 7, -50], np.float32)}


@pytest.fixture(scope="module")
def policy():
    scale = observation_scale(camera())
    example = Cutting(observation_scale=scale).of(camera()).example()
    algorithm = FQL(hidden=(8,), flow_steps=2)
    return in_units(algorithm.policies(algorithm.init(example, jax.random.key(0)))["actor"], None, scale)


def test_an_interface_names_each_part(policy) -> None:
    interface = interface_of(policy)
    assert interface.observation_shape == PartShapes.of({"image": (6, 5, 2), "state": (3,)})
    told = {each["name"]: (each["shape"], each["dtype"]) for each in interface.inputs}
    assert told == {
        "image": (["b", 6, 5, 2], "uint8"), "state": (["b", 3], "float32"), "noise": (["b", 1, 2], "float32"),
    }  # fmt: skip
    assert from_plain(Interface, to_plain(interface)) == interface
    with pytest.raises(InputError, match="have named parts already"):
        interface_of(policy, parts=("image=3",))


class OfPolicy(Source):
    def __init__(self, policy) -> None:
        self.policy = policy

    def version(self) -> str:
        return "1"

    def open(self) -> Opened:
        interface = interface_of(self.policy)
        return Opened(interface, "1", {1: Acting(self.policy, interface)}, {})


def test_a_request_gives_the_parts_by_name(policy) -> None:
    with listening({"actor": OfPolicy(policy)}) as server, Client(port=server.port, timeout=100) as client:
        found = client.act(OBSERVATION, seed=3)
        np.testing.assert_array_equal(found[0], policy(OBSERVATION, jax.random.key(3)))
        np.testing.assert_array_equal(client.act({"observation": OBSERVATION}, seed=3), found)
        for observation, told in (
            ({"image": OBSERVATION["image"]}, "lacks 'state'"),
            (OBSERVATION | {"image": OBSERVATION["image"] / 255}, "image must be an image in bytes"),
            (OBSERVATION | {"state": np.full(3, np.nan)}, "state must be finite"),
            (np.zeros(3), "observation must be a map of its parts"),
        ):
            with pytest.raises(Refusal, match=told):
                client.act(observation)


@pytest.mark.slow
def test_an_export_acts_as_the_policy(policy, tmp_path: Path) -> None:
    interface, seen = interface_of(policy), camera().observations
    manifest = write_export(policy, interface, tmp_path / "export", ["stablehlo"], observations=seen[:4])
    assert manifest.interface == interface
    program = ExportSource(tmp_path / "export").open().programs[1]
    found = program(seen[:2], np.array([0, 3], np.uint32), np.zeros((2, 0), np.float32))
    first = {name: seen[name][1] for name in ("image", "state")}
    np.testing.assert_allclose(found[1][0], policy(first, jax.random.key(3)), atol=1e-5)


def test_numpy_gets_no_parts_and_nothing_is_left(policy, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds policies of states; export one of images or of several parts as"):
        write_export(policy, interface_of(policy), tmp_path / "export", ["numpy"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_onnx_graph_takes_each_part_by_its_name(policy, tmp_path: Path) -> None:
    """With the packages of the extra `onnx`, which are too large for everybody."""
    pytest.importorskip("jax2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    seen = camera().observations[:4]
    manifest = write_export(policy, interface_of(policy), tmp_path / "export", ["onnx"], observations=seen)
    assert manifest.contents["check"]["largest_difference"]["onnx"] < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "export/policy.onnx", providers=["CPUExecutionProvider"])
    key = jax.random.key(3)
    rows = {
        "image": seen["image"][:1],
        "state": seen["state"][:1],
        "noise": np.asarray(jax.random.normal(key, policy.noise_shape))[None],
    }
    (actions,) = session.run(None, rows)
    expected = policy({name: seen[name][0] for name in ("image", "state")}, key)
    np.testing.assert_allclose(actions.ravel(), expected, atol=1e-5)
