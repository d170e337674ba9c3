"""A run folder belongs to one process at a time, is not lost by accident, and is resumed with the same mathematics."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import guidedflow
from guidedflow import files
from guidedflow.errors import InputError
from guidedflow.runs.run import Run

CONFIG = {
    "command": ["train", "gfp"],
    "task": "cube-single-noisy-singletask-task1-v0",
    "dataset": {"name": "cube-single-noisy", "fingerprint": "abc"},
    "algorithm": {"name": "gfp", "settings": {"alpha": 1.0, "hidden": (256, 256), "steps": 10}},
    "steps": 1000,
    "log_interval": 100,
    "versions": {"jax": "0.10.2"},
}


def changed(**changes: Any) -> dict[str, Any]:
    return {**CONFIG, **changes}


def create(path: Path, config: dict[str, Any], **modes: Any) -> Run:
    """A run that has begun; where it cannot, the lock is let go."""
    run = Run.claim(path, config, **modes)
    try:
        return run.begin()
    except BaseException:
        run.close()
        raise


def make(path: Path) -> Path:
    with create(path, CONFIG) as run:
        run.checkpoints.mkdir()
        run.metrics.write_text("{}\n")
    return path


def test_a_run_can_be_opened_by_its_path(tmp_path: Path) -> None:
    make(tmp_path / "runs" / "gfp")
    run = Run.open(tmp_path / "runs" / "gfp")
    assert run.config["algorithm"]["settings"] == {"alpha": 1.0, "hidden": [256, 256], "steps": 10}
    assert run.evaluations == tmp_path / "runs" / "gfp" / "evaluations.jsonl"


@pytest.mark.parametrize("contents", [None, "not JSON", "[]", '{"model_type": "bert"}'])
def test_what_is_not_a_run_is_told_in_one_sentence(tmp_path: Path, contents: str | None) -> None:
    if contents is not None:
        (tmp_path / "config.json").write_text(contents)
    with pytest.raises(InputError, match="is not a run of guidedflow"):
        Run.open(tmp_path)


def test_a_run_that_is_not_there_has_a_neighbour(tmp_path: Path) -> None:
    make(tmp_path / "gfp-cube")
    with pytest.raises(InputError, match=r"no run at .*gfp-cub \(did you mean 'gfp-cube'\?\)"):
        Run.open(tmp_path / "gfp-cub")


def test_a_run_of_a_later_format_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "gfp") / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "guidedflow_run": 2}))
    with pytest.raises(InputError, match="run of format 2; this version of guidedflow reads 1"):
        Run.open(path.parent)


def test_an_existing_run_is_an_error_that_names_the_ways_out(tmp_path: Path) -> None:
    make(tmp_path / "gfp")
    with pytest.raises(InputError, match="--resume to continue it, --overwrite to replace it, or choose another --out"):
        create(tmp_path / "gfp", CONFIG)
    assert Run.open(tmp_path / "gfp").metrics.exists()


@pytest.mark.parametrize("name", ["a" * 300, "nothing\0"])
def test_a_name_that_no_folder_can_have_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be a run folder: "):
        Run.claim(tmp_path / name, CONFIG)


def test_an_empty_folder_is_free(tmp_path: Path) -> None:
    create(tmp_path, CONFIG).close()
    assert Run.open(tmp_path).config["task"] == CONFIG["task"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "gfp").write_text("")
    for path in (tmp_path / "gfp", tmp_path / "gfp" / "below"):
        with pytest.raises(InputError, match=r"is a file|cannot be a run folder: Not a directory"):
            create(path, CONFIG, overwrite=True)


def test_overwriting_leaves_nothing_of_the_old_run(tmp_path: Path) -> None:
    make(tmp_path / "gfp")
    with create(tmp_path / "gfp", changed(task="other"), overwrite=True) as run:
        assert {entry.name for entry in run.path.iterdir()} == {"config.json", ".lock"}
    assert Run.open(tmp_path / "gfp").config["task"] == "other"


@pytest.mark.parametrize("mode", ["resume", "overwrite"])
@pytest.mark.parametrize("config", [None, '{"model_type": "bert"}'])
def test_a_folder_that_is_not_a_run_is_never_touched(tmp_path: Path, mode: str, config: str | None) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    before = {entry.name: entry.read_text() for entry in tmp_path.iterdir()}
    with pytest.raises(InputError, match="is not a run of guidedflow"):
        create(tmp_path, CONFIG, **{mode: True})
    assert {entry.name: entry.read_text() for entry in tmp_path.iterdir()} == before


def test_overwriting_takes_no_other_run_with_it(tmp_path: Path) -> None:
    make(tmp_path / "runs")
    make(tmp_path / "runs" / "mine" / "gfp")
    with pytest.raises(InputError, match=r"runs holds another run, mine/gfp, which --overwrite would remove too"):
        create(tmp_path / "runs", CONFIG, overwrite=True)
    assert Run.open(tmp_path / "runs" / "mine" / "gfp").metrics.exists()


def test_overwriting_does_not_follow_links_out_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "precious").write_text("")
    (make(tmp_path / "gfp") / "link").symlink_to(tmp_path / "data")
    create(tmp_path / "gfp", CONFIG, overwrite=True).close()
    assert (tmp_path / "data" / "precious").exists()


def test_overwriting_that_was_cut_off_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "gfp")
    monkeypatch.setattr("shutil.rmtree", lambda path: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(InputError, match="could not be overwritten: Input/output error"):
        create(tmp_path / "gfp", CONFIG, overwrite=True)
    monkeypatch.undo()
    with create(tmp_path / "gfp", CONFIG, overwrite=True) as run:
        assert not run.checkpoints.exists()


# Resuming


def test_resuming_with_the_same_settings_keeps_everything(tmp_path: Path) -> None:
    make(tmp_path / "gfp")
    with create(tmp_path / "gfp", changed(command=["train", "gfp", "--resume"]), resume=True) as run:
        assert run.metrics.exists()
        assert run.config["command"][-1] == "--resume"


def test_resuming_what_is_not_there_starts_afresh(tmp_path: Path) -> None:
    with create(tmp_path / "new", CONFIG, resume=True) as run:
        assert (run.path / "config.json").exists()


def test_resuming_on_another_dataset_is_an_error(tmp_path: Path) -> None:
    make(tmp_path / "gfp")
    with pytest.raises(InputError, match=r"trained on another dataset \(fingerprint abc, now xyz\)"):
        create(tmp_path / "gfp", changed(dataset={"name": "mine", "fingerprint": "xyz"}), resume=True)


def test_settings_of_the_mathematics_must_stay_each_is_named(tmp_path: Path) -> None:
    make(tmp_path / "gfp")
    # The algorithm's own "steps" is mathematics, although the number of updates, of the same name, is not.
    algorithm = {"name": "gfp", "settings": {"alpha": 10.0, "hidden": (256, 256), "steps": 20}}
    expected = r"\(algorithm.settings.alpha 1.0 -> 10.0; algorithm.settings.steps 10 -> 20; tau \(not set\) -> 0.005\)"
    with pytest.raises(InputError, match=expected):
        create(tmp_path / "gfp", changed(algorithm=algorithm, tau=0.005), resume=True)
    assert Run.open(tmp_path / "gfp").config["algorithm"]["settings"]["alpha"] == 1.0
    create(tmp_path / "gfp", CONFIG, resume=True).close()  # the refusal let go of the lock


def test_a_setting_that_came_later_was_at_its_default(tmp_path: Path) -> None:
    make(tmp_path / "gfp")
    defaults = {"frame_stack": 1, "algorithm": {"name": "gfp", "settings": {"eta": 0.5}}}
    algorithm = {"name": "gfp", "settings": {**CONFIG["algorithm"]["settings"], "eta": 0.5}}
    create(tmp_path / "gfp", changed(algorithm=algorithm, frame_stack=1), resume=True, defaults=defaults).close()
    make(tmp_path / "other")
    with pytest.raises(InputError, match=r"\(frame_stack 1 -> 3\)"):
        create(tmp_path / "other", changed(frame_stack=3), resume=True, defaults=defaults)


def test_other_settings_may_change_one_warning_lists_them(tmp_path: Path) -> None:
    make(tmp_path / "gfp")
    with pytest.warns(UserWarning, match=r"steps 1000 -> 2000; versions.jax \"0.10.2\" -> \"0.11.0\"") as warned:
        create(tmp_path / "gfp", changed(steps=2000, versions={"jax": "0.11.0"}), resume=True).close()
    assert len(warned) == 1
    assert Run.open(tmp_path / "gfp").config["steps"] == 2000


def test_resume_and_overwrite_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not both"):
        create(tmp_path / "gfp", CONFIG, resume=True, overwrite=True)


# One process at a time

HOLD = """
import sys, time
from pathlib import Path
from guidedflow.runs.run import Run

run = Run.claim(Path(sys.argv[1]), {"task": "t"}).begin()
print("held", flush=True)
time.sleep(100)
"""


def test_a_second_process_stops_and_names_the_first_until_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "gfp"
    environment = {**os.environ, "PYTHONPATH": str(Path(guidedflow.__file__).parents[1])}
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], env=environment, stdout=subprocess.PIPE)
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        for mode in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(InputError, match=f"in use by process {first.pid}; wait until it ends"):
                create(path, {"task": "t"}, **mode)
        assert Run.open(path).config["task"] == "t"  # reading asks for no lock
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
        first.stdout.close()  # type: ignore[union-attr]
    create(path, {"task": "t"}, resume=True).close()


def test_one_process_cannot_take_a_run_twice(tmp_path: Path) -> None:
    with (
        create(tmp_path / "gfp", CONFIG),
        pytest.raises(InputError, match=f"in use by process {os.getpid()}"),
    ):
        create(tmp_path / "gfp", CONFIG, resume=True)
    create(tmp_path / "gfp", CONFIG, resume=True).close()


def test_a_file_system_without_locks_gets_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.warns(UserWarning, match="cannot be locked: Function not implemented"):
        create(tmp_path / "gfp", CONFIG).close()


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_configuration_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def refuse(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(InputError, match=r"config.json could not be written: No space left on device"):
        create(tmp_path / "gfp", CONFIG)
    monkeypatch.undo()
    assert not (tmp_path / "gfp").exists()
    create(tmp_path / "gfp", CONFIG).close()


@pytest.mark.parametrize("call", ["ftruncate", "pwrite"])
def test_a_disk_that_refuses_the_name_in_the_lock_leaves_the_run_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    make(tmp_path / "gfp")

    def refuse(*args: object) -> None:
        raise OSError(28, "No space left on device")

    held = Run.claim(tmp_path / "gfp", CONFIG, resume=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        held.close()
        with pytest.raises(InputError, match="cannot be a run folder: No space left on device"):
            Run.claim(tmp_path / "gfp", CONFIG, resume=True)
    Run.claim(tmp_path / "gfp", CONFIG, resume=True).close()


def test_a_claim_changes_nothing_before_it_begins(tmp_path: Path) -> None:
    make(tmp_path / "gfp")
    before = sorted(entry.name for entry in (tmp_path / "gfp").iterdir())
    Run.claim(tmp_path / "gfp", changed(task="other"), overwrite=True).close()
    assert sorted(entry.name for entry in (tmp_path / "gfp").iterdir()) == before
    assert Run.open(tmp_path / "gfp").config["task"] == CONFIG["task"]
    Run.claim(tmp_path / "new", CONFIG).close()
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    Run.claim(tmp_path / "empty", CONFIG).close()
    create(tmp_path / "empty", CONFIG).close()  # what a failed start leaves is free


def test_files_that_cannot_grow_are_told_before_there_is_anything_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.check_appendable(tmp_path / "evaluations.jsonl")
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(InputError, match="read-only; copy the run to a place of your own"):
        files.check_appendable(tmp_path / "evaluations.jsonl")


def test_two_processes_may_replace_a_shared_file_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, name = files.write_synced, tmp_path / "names.json"

    def interrupted(part: Path, data: bytes) -> None:
        write(part, data)
        monkeypatch.undo()
        monkeypatch.setattr("os.getpid", lambda: 1)
        files.replace(name, b"theirs", shared=True)

    monkeypatch.setattr(files, "write_synced", interrupted)
    files.replace(name, b"ours", shared=True)
    assert name.read_bytes() == b"ours"
    assert [entry.name for entry in tmp_path.iterdir()] == ["names.json"]
