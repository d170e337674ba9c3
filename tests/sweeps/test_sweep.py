"""A sweep: what is left is told by the folders, packs are carried out once, and the rest goes on."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from tiny_data import line
from untaught import begun, untaught

from guidedflow import Trained
from guidedflow.cli import main
from guidedflow.data.convert import convert
from guidedflow.errors import InputError
from guidedflow.keys import Stream
from guidedflow.results import rows
from guidedflow.results.rows import episode
from guidedflow.runs import checkpoint, lock
from guidedflow.sweeps import grid, packs
from guidedflow.sweeps.driver import check_data, claimed, sweep
from guidedflow.sweeps.grid import Planned, Source
from guidedflow.sweeps.left import Judging, left
from guidedflow.sweeps.packs import Outcome, Pack, group
from guidedflow.training.loop import train, train_together
from guidedflow.training.member import Order
from guidedflow.training.plan import Plan

JUDGING = Judging(2)
PLAN = Plan(steps=4, batch_size=4, log_interval=2, seeds=2)
SMALL = {"hidden": [4], "flow_steps": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(line(), tmp_path_factory.mktemp("data") / "line.npz")


def planned(out: Path, data: Path, words: Sequence[str] = ("alpha=0.3,1",), plan: Plan = PLAN) -> list[Planned]:
    source = Source(str(data))
    return grid.expand(["line"], ("gfp", "fql"), grid.parse(words), plan, out, source=source, fixed=SMALL)


@dataclass
class InProcess:
    """Carries packs out here."""

    workers: int = 2
    together: bool = False
    packs: list[Pack] = field(default_factory=list)

    def __call__(self, found: Sequence[Pack], report: Callable[[Outcome], None], watch: Callable[[int], None]) -> None:
        self.packs += found
        for pack in found:
            for outcome in packs.carry_out(pack, self.together):
                report(outcome)


def state(run: Planned) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(Trained.open(run.out).state)]


@pytest.mark.filterwarnings("ignore:.*is resumed with changes. steps")
def test_what_is_done_is_not_repeated_and_what_was_interrupted_goes_on(tmp_path: Path, data: Path) -> None:
    runs = planned(tmp_path / "sweep", data)
    begun(runs[0].algorithm, line(), replace(runs[0].plan, steps=2), out=runs[0].out)  # as if it had been interrupted
    begun(runs[1].algorithm, line(), runs[1].plan, out=runs[1].out)
    before = (runs[1].out / "metrics.jsonl").read_bytes()
    assert [each.kind for each in left(runs, JUDGING)] == ["train", "nothing", *["train"] * 6]
    backend = InProcess()
    with untaught():
        ended = sweep(runs, JUDGING, backend)
    assert (ended.runs, ended.done, ended.already, ended.failed) == (8, 8, 1, {})
    assert (runs[1].out / "metrics.jsonl").read_bytes() == before
    shapes = [{(run.name, run.out.name) for run in pack.runs} for pack in backend.packs]
    assert len(shapes) == 1 + 2 + 2  # the interrupted run, gfp's others and fql's, each for two workers
    alone = begun(runs[0].algorithm, line(), runs[0].plan, out=tmp_path / "alone")
    for mine, other in zip(state(runs[0]), jax.tree.leaves(alone.state), strict=True):
        np.testing.assert_array_equal(mine, other)
    again = InProcess()
    assert sweep(runs, JUDGING, again).already == 8
    assert again.packs == []
    config = json.loads((runs[2].out / "config.json").read_text())
    assert config["command"][:3] == ["guidedflow", "train", "gfp"]


def measured(run: Planned) -> list[dict[str, Any]]:
    """The rows of a run's metrics without its times."""
    found = [json.loads(row) for row in (run.out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("seconds", "steps_per_second", "hash")} for row in found]


@pytest.mark.parametrize(
    ("words", "horizon"), [("alpha=0.3,1", 1), pytest.param("discount=0.5,0.99", 3, marks=pytest.mark.slow)]
)
def test_members_of_a_pack_equal_each_alone_byte_for_byte(tmp_path: Path, data: Path, words: str, horizon: int) -> None:
    plan = replace(PLAN, horizon=horizon)
    turns, rows_ = (planned(tmp_path / name, data, (words,), plan) for name in ("turns", "rows"))
    sweep(turns, JUDGING, InProcess(together=False))
    backend = InProcess(workers=1, together=True)
    sweep(rows_, JUDGING, backend)
    assert [len(pack.runs) for pack in backend.packs] == [4, 4]
    for one, other in zip(turns, rows_, strict=True):
        tensors = [run.out / "checkpoints" / "4" / "state.safetensors" for run in (one, other)]
        assert tensors[0].read_bytes() == tensors[1].read_bytes()
        assert measured(one) == measured(other)
    assert len({(run.out / "checkpoints" / "4" / "state.safetensors").read_bytes() for run in rows_}) == len(rows_)


def test_runs_of_several_discounts_on_goals_are_programs_of_their_own(data: Path, tmp_path: Path) -> None:
    runs = planned(tmp_path, data, ("discount=0.5,0.99",), replace(PLAN, seeds=1))[:2]
    goals = replace(line(), goals=line().observations)
    (_, apart), (_, shared) = (packs._groups(runs, JUDGING, dataset, True) for dataset in (goals, line()))
    assert ([len(each) for each in apart], [len(each) for each in shared]) == ([1, 1], [2])
    orders = [Order(run.algorithm, run.plan, run.out) for run in runs]
    with pytest.raises(InputError, match="must have one discount to train as one program"):
        train_together(orders, goals)
    assert not any(run.out.exists() for run in runs)


def test_a_run_that_fails_does_not_stop_the_others_and_is_tried_again(tmp_path: Path, data: Path) -> None:
    runs = planned(tmp_path / "sweep", data, ["learning_rate=1e-3,1e30"], replace(PLAN, seeds=1))
    ended = sweep(runs, JUDGING, InProcess())
    assert (ended.runs, ended.done, len(ended.failed)) == (4, 2, 2)
    assert all("no longer finite" in sentence for sentence in ended.failed.values())
    assert [each.kind for each in left(runs, JUDGING)] == ["nothing", "train", "nothing", "train"]


def test_a_pack_that_memory_does_not_hold_is_halved(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, sizes = planned(tmp_path / "sweep", data)[:4], []
    original = packs.train_together

    def scarce(orders: Any, *rest: Any, **more: Any) -> Any:
        sizes.append(len(orders))
        if len(orders) > 1:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return original(orders, *rest, **more)

    monkeypatch.setattr(packs, "train_together", scarce)
    with untaught():
        outcomes = list(packs.carry_out(Pack(tuple(runs), JUDGING), together=True))
    assert sizes == [4, 2, 1, 1, 2, 1, 1]
    assert [outcome.error for outcome in outcomes] == [None] * 4


def test_a_pack_that_is_carried_out_again_does_what_is_left(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a cluster does with that of a lost machine."""
    runs, judged = planned(tmp_path / "sweep", data, (), replace(PLAN, seeds=3)), []

    def judge(trained: Trained, judging: Judging, simulators: object) -> None:
        judged.append(trained.run.path)
        shared: dict[str, Any] = {"task": "line", "policy": "flow", "step": 4, "seed": 0, "length": 1, "return": 0.0}
        found = [episode(**shared, episode=i, episode_seed=i, source="evaluate") for i in range(JUDGING.episodes)]
        rows.append(trained.run.evaluations, found)

    monkeypatch.setattr(packs, "judge", judge)
    monkeypatch.setattr(packs, "open_simulators", lambda *_: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr("guidedflow.sweeps.left.environments", SimpleNamespace(known=lambda name: True))
    pack = Pack(tuple(runs[:3]), JUDGING)
    with untaught():
        carrying = packs.carry_out(pack, together=False)
        assert next(carrying) == Outcome(str(runs[0].out))
        carrying.close()  # its worker is lost
        train(runs[1].algorithm, line(), runs[1].plan, out=runs[1].out)
        ended = {outcome.out: outcome.error for outcome in packs.carry_out(pack, together=False)}
    assert ended == {str(run.out): None for run in pack.runs}
    assert sorted(judged) == sorted(run.out for run in pack.runs)


def test_a_run_that_another_process_holds_is_waited_for(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = planned(tmp_path / "sweep", data, (), replace(PLAN, seeds=1))[:1]
    runs[0].out.mkdir(parents=True)
    held, _ = lock.acquire(runs[0].out)
    waited = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            lock.release(held)

    monkeypatch.setattr(packs, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=wait))
    with untaught():
        outcomes = list(packs.carry_out(Pack(tuple(runs), Judging(0)), together=False))
    assert [outcome.error for outcome in outcomes] == [None]
    assert len(waited) == 2


def test_a_run_that_another_process_keeps_is_reported(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = planned(tmp_path / "sweep", data, (), replace(PLAN, seeds=1))[:1]
    runs[0].out.mkdir(parents=True)
    held, _ = lock.acquire(runs[0].out)
    monkeypatch.setattr(packs, "PATIENCE", 0.0)
    (outcome,) = packs.carry_out(Pack(tuple(runs), JUDGING), together=False)
    assert "is in use by process" in str(outcome.error)
    lock.release(held)


def test_a_pack_is_the_same_after_its_way_to_a_worker(tmp_path: Path, data: Path) -> None:
    for pack in group(left(planned(tmp_path, data), JUDGING), JUDGING, 2):
        assert Pack.of(json.loads(json.dumps(pack.plain()))) == pack


def test_a_run_is_evaluated_once_its_training_is_done(tmp_path: Path) -> None:
    task = "cube-single-noisy-singletask-task1-v0"
    (run, *_) = grid.expand([task], ("bc",), {}, replace(PLAN, seeds=1), tmp_path, fixed=SMALL)
    begun(run.algorithm, replace(line(), name=task), run.plan, out=run.out)
    assert [each.kind for each in left([run], JUDGING)] == ["evaluate"]
    shared: dict[str, Any] = {"task": task, "policy": "flow", "step": 4, "seed": 0, "length": 1, "return": 0.0}
    found = [episode(**shared, episode=i, episode_seed=i, source="evaluate") for i in range(2)]
    rows.append(run.out / "evaluations.jsonl", found[:1])
    assert [each.kind for each in left([run], JUDGING)] == ["evaluate"]
    rows.append(run.out / "evaluations.jsonl", found[1:])
    assert [each.kind for each in left([run], JUDGING)] == ["nothing"]
    assert [each.kind for each in left([run], Judging(3))] == ["evaluate"]


def test_two_sweeps_do_not_share_a_folder(tmp_path: Path, data: Path) -> None:
    runs = planned(tmp_path / "sweep", data)

    def claim(runs: Sequence[Planned], judging: Judging = JUDGING) -> None:
        with claimed(tmp_path / "sweep", runs, judging):
            pass

    with claimed(tmp_path / "sweep", runs, JUDGING), pytest.raises(InputError, match="in use by another sweep"):
        claim(runs)
    claim(runs)
    with pytest.raises(InputError, match=r"the folder of another sweep \(8 runs, now 7\)"):
        claim(runs[1:])
    with pytest.raises(InputError, match=r"the folder of another sweep \(evaluation"):
        claim(runs, Judging(9))


def test_from_the_command_line(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"sweep --tasks line --dataset {data} --algorithms bc --grid learning_rate=1e-3,1e-4 --hidden 4 --steps 4"
    words += f" --batch-size 4 --log-interval 2 --out {tmp_path}/sweep"
    main([*words.split(), "--dry-run", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (told["runs"], told["left"]) == (2, 2)
    assert not (tmp_path / "sweep").exists()
    main([*words.split(), "--print-commands"])
    commands = capsys.readouterr().out.splitlines()
    assert len(commands) == 2
    assert commands[0].startswith("guidedflow train bc --task line --out")


def refused(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("command", ["sweep", "tune --offline"])
def test_data_that_are_not_there_are_refused_once_before_any_run(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"{command} --tasks line --dataset {tmp_path}/no.npz --algorithms bc fql --hidden 4 --steps 4"
    told = refused(f"{words} --columns actions=a observations=o --out {tmp_path}/out", capsys)
    assert told.count("no.npz does not exist") == 1
    assert list(tmp_path.iterdir()) == []


def test_datasets_of_a_suite_that_were_not_collected_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    tasks = "cube-single-noisy-singletask-task1-v0 scene-noisy-singletask-task1-v0"
    told = refused(f"sweep --tasks {tasks} --algorithms bc --steps 4 --out {tmp_path}/out", capsys)
    assert "cube-single-noisy-v0.npz does not exist" in told
    assert "2 datasets are missing" in told
    assert list(tmp_path.iterdir()) == []


def test_runs_that_are_done_need_no_data(tmp_path: Path) -> None:
    (run, *_) = grid.expand(["line"], ("bc",), {}, replace(PLAN, seeds=1), tmp_path, fixed=SMALL)
    gone = replace(run, source=grid.Source(str(tmp_path / "gone.npz")))
    with pytest.raises(InputError, match=r"gone\.npz"):
        check_data([gone], JUDGING)
    begun(run.algorithm, line(), run.plan, out=run.out)
    check_data([gone], JUDGING)


@pytest.mark.slow
def test_processes_of_this_machine_each_have_one_core(tmp_path: Path, data: Path) -> None:
    words = f"sweep --tasks line --dataset {data} --algorithms bc fql --grid learning_rate=1e-3,1e-4 --hidden 4"
    words += f" --batch-size 4 --log-interval 2 --out {tmp_path}/sweep --json --steps"
    command = [sys.executable, "-m", "guidedflow", *words.split()]
    ended = subprocess.run([*command, "4"], capture_output=True, check=True)
    assert json.loads(ended.stdout) == {"runs": 4, "done": 4, "already": 0, "failed": {}}
    again = subprocess.run([*command, "4"], capture_output=True, check=True)
    assert json.loads(again.stdout)["already"] == 4
    assert (
        json.loads((tmp_path / "sweep/line/bc-learning_rate=0.001/seed-0/config.json").read_text())["versions"]["cores"]
        == 1
    )
    assert not list((tmp_path / "sweep" / "logs").iterdir())


def test_a_worker_is_asked_to_save_and_end_once_the_process_that_started_it_is_gone() -> None:
    program = "from guidedflow.sweeps import worker; print('ready', flush=True); worker._end_with_starter()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"ready\n"
        process.stdin.write(b"is heard and does not matter")
        process.stdin.close()
        assert process.wait(60) == -signal.SIGTERM


@pytest.mark.slow
def test_a_driver_that_is_killed_leaves_no_worker_and_loses_nothing(tmp_path: Path, data: Path) -> None:
    words = f"sweep --tasks line --dataset {data} --algorithms bc --hidden 4 --batch-size 4 --log-interval 10"
    words += f" --checkpoint-interval 10 --steps 100000000 --out {tmp_path}/sweep --processes 1"
    run = tmp_path / "sweep/line/bc/seed-0"
    driver = subprocess.Popen([sys.executable, "-m", "guidedflow", *words.split()], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while checkpoint.latest(run / "checkpoints") is None and driver.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    driver.kill()
    driver.wait()
    while time.monotonic() < deadline:
        try:
            lock.refuse_in_use(run)
        except lock.InUse:
            time.sleep(0.1)
        else:
            break
    lock.refuse_in_use(run)
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    assert checkpoint.latest(run / "checkpoints") == last > 0


def test_the_commands_of_a_sweep_evaluate_on_the_episodes_that_were_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"sweep --tasks line --algorithms bc --steps 4 --out {tmp_path}/sweep --print-commands --episode-seed 7"
    main(words.split())
    assert capsys.readouterr().out.strip().endswith("--episodes 50 --seed 7 --json")


def test_other_episodes_than_the_reported_ones_count_as_tuning() -> None:
    assert [Judging(5, seed).source for seed in (0, 1)] == ["evaluate", "selection"]
    assert Judging(5, stream=Stream.SELECTION_EPISODES).source == "selection"
