"""An exported policy is the policy: in every format, at once and later, and without this package."""

import dataclasses
import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import safetensors.numpy
from tiny_data import line
from untaught import begun

from guidedflow import BC, CFGRL, FQL, DenoisedGradient, GradientAscent, Plan, RolloutGradient, Sampler
from guidedflow.algorithms import ALGORITHMS
from guidedflow.algorithms.contract import Algorithm
from guidedflow.cli import main
from guidedflow.errors import InputError
from guidedflow.normalization import ActionScale, ObservationScale
from guidedflow.policies.policy import Policy
from guidedflow.policies.rescaled import Rescaled
from guidedflow.runs.trained import Trained
from guidedflow.serving import export, stablehlo
from guidedflow.serving.export import FORMATS, check_export, write_export
from guidedflow.serving.manifest import MANIFEST, Manifest
from guidedflow.serving.programs import batched, interface_of, one_by_one
from guidedflow.serving.recorded import leads, record
from guidedflow.serving.tracing import simplified
from guidedflow.types import Transition


def policy(run: Path, name: str = "flow", **sampler: Any) -> Policy:
    return Trained.open(run).policy(name).with_sampler(Sampler(steps=3, **sampler))


def untrained(algorithm: Algorithm[Any], name: str, numbers: int = 2) -> Policy:
    observation, action, zero = np.zeros(3, np.float32), np.zeros(numbers, np.float32), np.zeros((), np.float32)
    example = Transition(*map(jax.numpy.asarray, (observation, action, zero, zero, observation, action)))
    return algorithm.policies(algorithm.init(example, jax.random.key(0)))[name]


def test_the_program_is_the_compiled_policy_bit_for_bit_at_any_batch(run: Path, tmp_path: Path) -> None:
    chosen = policy(run, guidance=DenoisedGradient(0.3), candidates=2)
    interface = interface_of(chosen)
    manifest = write_export(chosen, interface, tmp_path / "export")
    program, original = stablehlo.load(manifest), jax.jit(batched(chosen, interface))
    for rows in (1, 5):
        inputs = record(chosen, interface, rows=20, seed=rows).inputs
        inputs = tuple(each[:rows] for each in inputs)
        assert np.array_equal(program(*inputs), original(*inputs))
    np.testing.assert_allclose(program(*inputs), one_by_one(chosen, interface)(*inputs), atol=1e-6)


def test_the_weight_is_an_input(run: Path, tmp_path: Path) -> None:
    chosen = policy(run, guidance=DenoisedGradient(0.3))
    manifest = write_export(chosen, interface_of(chosen), tmp_path / "export")
    assert [each["name"] for each in manifest.contents["inputs"]] == ["observation", "noise", "weight"]
    assert manifest.contents["inputs"][2]["default"] == pytest.approx(0.3)
    program, x, z = stablehlo.load(manifest), np.ones((2, 3), np.float32), np.zeros((2, 1, 2), np.float32)
    unguided = one_by_one(policy(run), interface_of(policy(run)))(x, z)
    found = np.asarray(program(x, z, np.array([0.0, 2.0], np.float32)))
    np.testing.assert_allclose(found[0], unguided[0], atol=1e-6)
    assert not np.allclose(found[1], unguided[1], atol=1e-4)


QUICK = ("cfgrl", "dqc", "gfp", "iql", "qgf")
"""Whose policies stand for each kind; those of the others are traced by the slow tests."""


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in sorted(ALGORITHMS)]
)
def test_every_policy_of_every_algorithm_can_be_recorded_and_traced(name: str) -> None:
    """One row of the program of each policy agrees with the policy, traced and simplified."""
    algorithm = dataclasses.replace(ALGORITHMS[name](), hidden=(4,))
    for chosen in algorithm.policies(algorithm.init(example(), jax.random.key(0))).values():
        interface = interface_of(chosen)
        recorded = record(chosen, interface, rows=4)
        closed = simplified(jax.make_jaxpr(batched(chosen, interface))(*recorded.inputs))
        (found,) = jax.extend.core.jaxpr_as_fun(closed)(*recorded.inputs)
        np.testing.assert_allclose(found, recorded.actions, atol=1e-5)


def example() -> Transition:
    zero, action = jax.numpy.zeros(()), jax.numpy.zeros(5)  # which DQC divides by five
    return Transition(jax.numpy.zeros(3), action, zero, zero, jax.numpy.zeros(3), action)


@pytest.mark.parametrize("unroll", [False, True])
def test_a_simplified_program_computes_the_same_with_fewer_or_no_loops(run: Path, unroll: bool) -> None:
    chosen = Trained.open(run).policy("flow")
    chosen = chosen.with_sampler(Sampler(steps=2, guidance=RolloutGradient(0.3, steps=2)))
    interface = interface_of(chosen)
    recorded = record(chosen, interface, rows=4)
    closed = jax.make_jaxpr(batched(chosen, interface))(*recorded.inputs)
    found = simplified(closed, unroll)
    assert ("scan[" in str(found)) is not unroll
    if unroll:
        assert " sin " not in str(found)
    np.testing.assert_allclose(jax.extend.core.jaxpr_as_fun(found)(*recorded.inputs)[0], recorded.actions, atol=1e-5)


NUMPY = {
    "one-step actor": lambda: untrained(FQL(hidden=(4, 4)), "actor"),
    "flow": lambda: untrained(FQL(hidden=(4, 4)), "flow"),
    "conditional flow": lambda: untrained(CFGRL(hidden=(4, 4)), "conditional"),
    "squashed mean": lambda: untrained(dataclasses.replace(ALGORITHMS["rebrac"](), hidden=(4, 4)), "actor"),
    "chunk in units of the data": lambda: Rescaled(
        untrained(FQL(hidden=(4, 4)), "flow", 4),
        ActionScale((-2.0, 0.0), (3.0, 0.5)),
        ObservationScale((100.0, 0.0, -3.0), (0.01, 1.0, 5.0)),
    ),
}


@pytest.mark.parametrize("name", NUMPY)
def test_numpy_alone_acts_as_the_policy(name: str, tmp_path: Path) -> None:
    chosen = NUMPY[name]()
    interface = interface_of(chosen, chunk=2 if "chunk" in name else 1)
    manifest = write_export(chosen, interface, tmp_path / "export", ("numpy",))
    assert manifest.contents["check"]["largest_difference"]["numpy"] < 3e-6
    assert manifest.artifacts["numpy"]["code"]["bytes"] < 10_000


def test_the_numpy_file_needs_nothing_but_numpy(run: Path, tmp_path: Path) -> None:
    write_export(policy(run), interface_of(policy(run)), tmp_path / "export", ("numpy",))
    blocked = "import sys; sys.modules.update(dict.fromkeys(['jax', 'guidedflow', 'safetensors', 'equinox']))\n"
    code = blocked + "import policy, numpy as np; print(policy.Policy('.')(np.zeros(3), rng=np.random.default_rng(0)))"
    script = [sys.executable, "-c", code]
    found = subprocess.run(script, cwd=tmp_path / "export", capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("[[")
    printed = subprocess.run([sys.executable, tmp_path / "export" / "policy.py"], capture_output=True, text=True)
    assert float(printed.stdout.rpartition(":")[2]) < 3e-6


def test_the_stablehlo_file_needs_jax_alone_and_is_called_as_the_manifest_says(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    manifest = write_export(policy(run), interface_of(policy(run)), folder)
    lines = ["import sys; sys.modules['guidedflow'] = sys.modules['equinox'] = None", "import numpy as np"]
    lines += ["observation, noise = np.zeros((3, 3), np.float32), np.zeros((3, 1, 2), np.float32)"]
    lines += [*manifest.artifacts["stablehlo"]["call"], "print(actions.shape)"]
    found = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert found.stdout == "(3, 1, 2)\n", found.stderr


def test_images_are_exported_in_bytes(tmp_path: Path) -> None:
    zero = jax.numpy.zeros(())
    seen = jax.numpy.zeros((6, 5, 2), jax.numpy.uint8)
    algorithm = FQL(hidden=(4,))
    state = algorithm.init(
        Transition(seen, jax.numpy.zeros(2), zero, zero, seen, jax.numpy.zeros(2)), jax.random.key(0)
    )
    chosen = algorithm.policies(state)["actor"]
    manifest = write_export(chosen, interface_of(chosen), tmp_path / "export")
    assert manifest.contents["inputs"][0]["dtype"] == "uint8"
    assert manifest.contents["check"]["largest_difference"]["stablehlo"] < 1e-5
    with pytest.raises(InputError, match="holds policies of states"):
        write_export(chosen, interface_of(chosen), tmp_path / "numpy", ("numpy",))


def test_a_format_that_differs_is_not_written(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ONNX's converter would have it: an action of another candidate."""

    class Wrong:
        write = staticmethod(stablehlo.write)

        @staticmethod
        def load(manifest: Manifest) -> Any:
            return lambda *inputs: np.asarray(stablehlo.load(manifest)(*inputs)) + np.float32(1e-3)

    monkeypatch.setattr(export, "FORMATS", {**FORMATS, "stablehlo": Wrong})
    with pytest.raises(InputError, match=r"differ from the recorded ones by 0.001 in row \d+, more than 1e-05"):
        write_export(policy(run), interface_of(policy(run)), tmp_path / "export")
    assert list(tmp_path.iterdir()) == []


def test_the_best_candidate_leads_at_the_observations_that_the_critic_sees(run: Path) -> None:
    """Recorded are only inputs whose best candidate another rounding would choose too."""
    inner = policy(run, candidates=2)
    chosen = Rescaled(inner, ActionScale((-2.0, 0.0), (3.0, 0.5)), ObservationScale((50.0, 0.0, 0.0), (2.0, 1.0, 1.0)))
    recorded = record(chosen, interface_of(chosen))
    seen, noise = recorded.inputs
    assert abs(seen[:, 0].mean() - 50) < 2
    normal = (seen - np.float32([50, 0, 0])) / np.float32([2, 1, 1])
    assert np.array_equal(
        leads(chosen, interface_of(chosen), (seen, noise)), leads(inner, interface_of(inner), (normal, noise))
    )


def test_a_critic_without_an_opinion_cannot_be_compared(run: Path) -> None:
    chosen = policy(run, candidates=2)
    indifferent = jax.tree.map(np.zeros_like, chosen.critic)
    with pytest.raises(InputError, match="values all candidates alike"):
        record(chosen.with_critic(indifferent, chosen.aggregate), interface_of(chosen))


@pytest.fixture
def exported(run: Path, tmp_path: Path) -> Path:
    write_export(policy(run), interface_of(policy(run)), tmp_path / "export", ("stablehlo", "numpy"))
    return tmp_path / "export"


def rewritten(folder: Path, **changes: Any) -> None:
    """Change entries of the manifest, checksum included."""
    from guidedflow.serving.manifest import _checksum

    told = json.loads((folder / MANIFEST).read_text()) | changes
    (folder / MANIFEST).write_text(json.dumps(told | {"checksum": _checksum(told)}))


def test_a_check_repeats_the_comparison(run: Path, exported: Path) -> None:
    assert set(check_export(exported)) == {"stablehlo", "numpy"}
    assert check_export(exported, policy(run))["policy"] == 0
    with pytest.raises(InputError, match="The policy actions of export differ"):
        check_export(exported, policy(run, refinement=GradientAscent(1.0)))
    with pytest.raises(InputError, match="other shapes"):
        check_export(exported, policy(run, candidates=2))


def test_a_damaged_expired_or_foreign_export_gets_a_sentence(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = json.loads((exported / MANIFEST).read_text())
    Manifest.read(exported).check_date(datetime.date.today())
    with pytest.raises(InputError, match=f"expired on {made['expires']}"):
        Manifest.read(exported).check_date(datetime.date.today() + datetime.timedelta(181))
    (exported / MANIFEST).write_text(json.dumps(made | {"task": "another"}))
    with pytest.raises(InputError, match="does not match its checksum"):
        Manifest.read(exported)
    rewritten(exported, task="line", guidedflow_policy=2)
    with pytest.raises(InputError, match="is an export of format 2, but this version of guidedflow reads 1"):
        Manifest.read(exported)
    rewritten(exported, guidedflow_policy=1)
    artifacts = made["artifacts"]
    rewritten(
        exported, artifacts=artifacts | {"stablehlo": artifacts["stablehlo"] | {"calling_convention_version": 99}}
    )
    with pytest.raises(InputError, match=r"in calling convention 99, but jax .* here reads 9 to \d+"):
        check_export(exported)
    rewritten(exported, artifacts=artifacts | {"stablehlo": artifacts["stablehlo"] | {"file": "../run/config.json"}})
    with pytest.raises(InputError, match="names a file outside its folder"):
        check_export(exported)
    rewritten(exported, artifacts=artifacts)
    data = (exported / "policy.stablehlo").read_bytes()
    (exported / "policy.stablehlo").write_bytes(data[:-1] + b"?")
    with pytest.raises(InputError, match=r"policy.stablehlo does not match its checksum"):
        check_export(exported)
    (exported / MANIFEST).unlink()
    with pytest.raises(InputError, match="is no export of a policy"):
        check_export(exported)


def test_an_export_takes_the_place_of_an_export_alone(run: Path, exported: Path, tmp_path: Path) -> None:
    chosen = policy(run, refinement=GradientAscent(0.1))
    with pytest.raises(InputError, match="exists already"):
        write_export(chosen, interface_of(chosen), exported)
    write_export(chosen, interface_of(chosen), exported, overwrite=True)
    assert set(check_export(exported)) == {"stablehlo"}
    with pytest.raises(InputError, match="exists already"):
        write_export(chosen, interface_of(chosen), run, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


def said(arguments: str, capsys: pytest.CaptureFixture[str]) -> Any:
    main(arguments.split())
    return json.loads(capsys.readouterr().out)


def test_the_command_exports_and_checks(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "export"
    told = said(
        f"export {run} -o {out} --guidance denoised --weight 0.2 --candidates 2 --parts place=1 noise=2 --json", capsys
    )
    assert told["largest_difference"]["stablehlo"] < 1e-5
    written = json.loads((out / MANIFEST).read_text())
    assert written["policy"] == "flow"
    assert written["inputs"][0]["parts"] == [{"name": "place", "shape": [1]}, {"name": "noise", "shape": [2]}]
    assert written["inputs"][1]["shape"] == ["b", 2, 2]
    assert (written["run"]["step"], written["run"]["seed"]) == (4, 0)
    assert written["sampler"]["guidance"] == "denoised"
    checked = said(f"export {run} -o {out} --check --guidance denoised --weight 0.2 --candidates 2 --json", capsys)
    assert checked["largest_difference"]["policy"] == 0
    assert said(f"export {out} --check --json", capsys)["version"] == told["version"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("export RUN", "missing argument -o"),
        ("export RUN -o OUT --weight 1", "--weight changes nothing without a guidance"),
        ("export RUN -o OUT --unroll", "--unroll changes nothing without --format onnx"),
        ("export RUN -o OUT --policy actor", "has no policy 'actor'"),
        (
            "export RUN -o OUT --format numpy --candidates 2 --policy flow",
            "without guidance, refinement and candidates",
        ),
        ("export RUN -o OUT --parts place=1", "--parts have 1 numbers together, but an observation has 3"),
        ("export RUN -o OUT --parts seed=3", "--parts cannot name a piece 'seed'"),
        ("export RUN -o OUT --candidates 2 4", "several --candidates changes nothing"),
        ("export RUN -o OUT --guidance conditional", "has no condition to weigh"),
        ("export RUN --check", "missing argument -o"),
        ("export nowhere -o OUT", "There is no run at nowhere"),
    ],
)
def test_a_mistake_at_the_command_gets_a_sentence(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: str, sentence: str
) -> None:
    with pytest.raises(SystemExit) as left:
        main([word.replace("RUN", str(run)).replace("OUT", str(tmp_path / "o")) for word in arguments.split()])
    told = capsys.readouterr().err
    assert left.value.code == 2
    assert sentence in told
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_guided_export_of_a_run_without_a_critic_gets_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun(BC(hidden=(4,), flow_steps=2), line(), Plan(2, batch_size=4, log_interval=2), out=tmp_path / "bc")
    with pytest.raises(SystemExit):
        main(["export", str(tmp_path / "bc"), "-o", str(tmp_path / "o"), "--guidance", "denoised"])
    assert "need a critic, and this policy was trained without one" in capsys.readouterr().err


def test_recorded_observations_may_come_from_a_dataset(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, columns = line(), ("observations", "actions", "rewards", "masks", "last")
    np.savez(tmp_path / "line.npz", **{name: getattr(data, name) for name in columns})
    named = " ".join(f"{name}={name}" for name in columns)
    told = said(f"export {run} -o {tmp_path}/e --dataset {tmp_path}/line.npz --columns {named} --json", capsys)
    assert told["rows"] == 164
    seen = safetensors.numpy.load_file(tmp_path / "e" / "check.safetensors")["observation"][64:]
    assert all((data.observations == row).all(axis=1).any() for row in seen)


class TestOnnx:
    """With the packages of the extra `onnx`, which are too large for everybody."""

    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        for package in ("jax2onnx", "onnxruntime"):
            pytest.importorskip(package)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "sampler",
        [{}, {"guidance": DenoisedGradient(0.3)}, {"guidance": DenoisedGradient(0.3), "candidates": 4}],
        ids=["flow", "guided", "guided, best of 4"],
    )
    def test_a_graph_acts_as_the_policy(self, run: Path, tmp_path: Path, sampler: dict[str, Any]) -> None:
        chosen = policy(run, **sampler)
        manifest = write_export(chosen, interface_of(chosen), tmp_path / "export", ("onnx",))
        assert manifest.contents["check"]["largest_difference"]["onnx"] < 1e-5

    @pytest.mark.slow
    def test_a_graph_has_no_loop_where_none_is_wanted(self, run: Path, tmp_path: Path) -> None:
        import onnx

        chosen = policy(run, guidance=DenoisedGradient(0.3))
        for unroll in (False, True):
            out = tmp_path / str(unroll)
            write_export(chosen, interface_of(chosen), out, ("onnx",), unroll=unroll)
            kinds = {node.op_type for node in onnx.load(out / "policy.onnx").graph.node}
            assert ("Loop" in kinds) is not unroll
