"""What a user of a cluster gets wrong is one sentence; here Ray is a stand-in that carries tasks out at once."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_data import line

from guidedflow.cli import main
from guidedflow.data.convert import convert
from guidedflow.errors import InputError
from guidedflow.sweeps import cluster, grid
from guidedflow.sweeps.grid import Source
from guidedflow.sweeps.left import Judging
from guidedflow.sweeps.packs import Outcome, Pack
from guidedflow.training.plan import Plan


class Ray:
    """Answers with `error` when it is to connect, and prints as Ray does."""

    exceptions = SimpleNamespace(RayError=type("RayError", (Exception,), {}))

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.up = error, False

    def is_initialized(self) -> bool:
        return self.up

    def init(self, **_: Any) -> None:
        print("(raylet) Raylet is terminated.")
        if self.error is not None:
            raise self.error
        self.up = True

    def shutdown(self) -> None:
        self.up = False

    def remote(self, **_: Any) -> Callable[[Callable[..., Any]], Any]:
        return lambda work: SimpleNamespace(remote=lambda *arguments: SimpleTask(work(*arguments)))

    def wait(self, tasks: Sequence[Any], **_: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        return tasks[:1], tasks[1:]

    def get(self, task: "SimpleTask") -> Any:
        return task.result


class SimpleTask:
    """A task that has ended."""

    def __init__(self, result: Any) -> None:
        self.result = result


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Ray:
    found = Ray()
    monkeypatch.setitem(sys.modules, "ray", found)  # type: ignore[arg-type]
    return found


def packs(out: Path) -> list[Pack]:
    plan = Plan(steps=4, batch_size=4, log_interval=2, seeds=2)
    runs = grid.expand(["line"], ("bc",), {}, plan, out, source=Source("line.npz"), fixed={"hidden": [4]})
    return [Pack((run,), Judging(0)) for run in runs]


def listening() -> socket.socket:
    found = socket.socket()
    found.bind(("127.0.0.1", 0))
    found.listen()
    return found


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("127.0.0.1:1", "No Ray cluster answers at 127.0.0.1:1: Connection refused."),
        ("ray://127.0.0.1:1", "No Ray cluster answers at ray://127.0.0.1:1: Connection refused."),
        ("127.0.0.1:99999", "No Ray cluster answers at 127.0.0.1:99999: "),
        ("auto", "No Ray cluster answers at auto: Could not find any running Ray instance."),
    ],
)
def test_a_cluster_that_does_not_answer_is_one_sentence(
    ray: Ray, tmp_path: Path, capsys: pytest.CaptureFixture[str], address: str, sentence: str
) -> None:
    ray.error = ConnectionError("Could not find any running Ray instance. Please specify the one to connect to.\nMore.")
    data = convert(line(), tmp_path / "line.npz")
    words = f"sweep --tasks line --dataset {data} --algorithms bc --steps 4 --out {tmp_path}/sweep --address {address}"
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (2, "")
    assert f"guidedflow: {sentence}" in printed.err
    assert "Traceback" not in printed.err


@pytest.mark.parametrize("error", [RuntimeError("no answer"), TimeoutError(), ValueError("what is that?")])
def test_whatever_ray_says_when_it_cannot_connect_is_one_sentence(ray: Ray, error: Exception) -> None:
    ray.error = error
    with pytest.raises(InputError, match=r"No Ray cluster answers here: .+[.?]$"), cluster.connected(None):
        pass


def test_a_package_that_is_missing_is_named(ray: Ray, monkeypatch: pytest.MonkeyPatch) -> None:
    ray.error = ImportError("No module named 'grpc'")
    hint = r"install it: pip install 'guidedflow\[ray\]'"
    with listening() as server:
        address = f"ray://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(InputError, match=rf"package ray\[client\] .*{hint}"), cluster.connected(address):
            pass
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=rf"package ray .*{hint}"), cluster.connected(None):
        pass


def test_what_ray_prints_is_no_part_of_standard_output(ray: Ray, capsys: pytest.CaptureFixture[str]) -> None:
    with cluster.connected(None) as connected:
        assert connected.is_initialized()
    assert not ray.up
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "(raylet) Raylet is terminated.\n")
    ray.up = True  # by the program around, which goes on with it
    with cluster.connected(None):
        pass
    assert ray.up


def test_a_machine_that_does_not_share_the_disk_carries_nothing_out(
    ray: Ray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"  # as another machine sees it
    monkeypatch.setattr(cluster, "Path", lambda path: Path(str(path).replace(str(tmp_path / "out"), str(other))))
    made = cluster.Shared(str(tmp_path), str(tmp_path / "out" / ".cluster"), "1")
    assert not cluster._sees(made)
    other.mkdir()
    (other / ".cluster").write_text("2")  # a copy
    assert not cluster._sees(made)
    (other / ".cluster").write_text("1")
    assert cluster._sees(made)
    assert not cluster._sees(replace(made, folder=str(tmp_path / "nowhere")))
    monkeypatch.undo()

    monkeypatch.setitem(sys.modules, "ray", ray)  # type: ignore[arg-type]
    monkeypatch.setattr(cluster, "_sees", lambda disk: False)
    told: list[Outcome] = []
    with pytest.raises(
        InputError, match=r"does not see the runs in .*/out/line/bc; share that folder with all machines"
    ):
        cluster.carry_out(packs(tmp_path / "out"), None, told.append)
    assert (told, ray.up) == ([], False)


def test_a_pack_is_a_process_in_the_drivers_folder_whose_outcomes_are_reported(
    ray: Ray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    started: list[Any] = []

    def run(command: Sequence[str], **how: Any) -> Any:
        pack = Pack.of(json.loads(Path(command[3]).read_text()))
        started.append((command[:3], how["cwd"], how["env"]["XLA_CLIENT_MEM_FRACTION"]))
        if len(started) == 1:
            printed = json.dumps({"out": str(pack.runs[0].out), "error": None})
            return subprocess.CompletedProcess(command, 0, printed.encode(), b"")
        return subprocess.CompletedProcess(command, 1, b"", b"Traceback\nMemoryError")

    monkeypatch.setattr(cluster, "subprocess", SimpleNamespace(run=run))
    told: list[Outcome] = []
    cluster.carry_out(packs(Path("out")), None, told.append, gpus=0.5)
    assert started == 2 * [([sys.executable, "-m", "guidedflow.sweeps.worker"], str(tmp_path), "0.450")]
    assert told == [
        Outcome("out/line/bc/seed-0"),
        Outcome("out/line/bc/seed-1", "its process ended with status 1: MemoryError"),
    ]
    assert not list(Path("out").rglob(".cluster"))
