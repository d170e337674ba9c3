"""What is typed wrongly, and the sentence that it gets: status 2, one line, and no file touched."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tiny_data import line

from guidedflow.cli import main
from guidedflow.cli.train import Train

NAMED = "--columns observations=observations actions=actions rewards=rewards terminals=terminals ends=ends"
LOG = f"--task mine --dataset log.npz {NAMED} --out run"
EVALUATED = f"{LOG} --eval-interval 1000"

WRONG = [
    # commands and names
    ("trian gfp", "unknown command 'trian' (did you mean 'train'?); see 'guidedflow --help'."),
    ("trai", "unknown command 'trai' (did you mean 'train'?)"),
    ("train", "missing argument --task; see 'guidedflow train --help'."),
    (f"train gpf {LOG}", "unknown algorithm 'gpf' (did you mean 'gfp'?)"),
    ("study toyy", "unknown argument 'toyy' (did you mean 'toy'?)"),
    ("tasks cube-singel-play", "'cube-singel-play' is none of the 144 tasks (did you mean 'cube-single-play-"),
    ("explain", "missing argument SETTING"),
    ("explain alhpa", "there is no setting 'alhpa' (did you mean 'alpha'?)."),
    ("explain alpha gpf", "there is no algorithm 'gpf' (did you mean 'gfp'?)"),
    (f"train gfp {LOG} --lr 1e-3", "unknown argument '--lr' (did you mean '--learning-rate'?)"),
    (f"train gfp {LOG} --gamma 0.9", "unknown argument '--gamma' (did you mean '--discount'?)"),
    (f"train gfp {LOG} --recipe publised", "gfp has no recipe 'publised' (did you mean 'published'?)"),
    ("train gfp --task mine --dataset log.npz --columns obs=observations --out run", "(did you mean 'observations'?)"),
    # numbers
    (
        f"train gfp {LOG} --steps 1.5",
        "--steps must be a whole number, but is '1.5'; see 'guidedflow train gfp --help'.",
    ),
    (f"train gfp {LOG} --steps 1e400", "--steps must be a whole number, but is '1e400'"),
    (f"train gfp {LOG} --steps many", "--steps must be a whole number, but is 'many'"),
    (f"train gfp {LOG} --alpha 1,5", "--alpha must be a number or auto, but is '1,5'"),
    (f"train gfp {LOG} --hidden 64,x", "--hidden must be a whole number, but is 'x'"),
    (f"train gfp {LOG} --hidden", "hidden must have at least one number, but is empty."),
    (
        f"train gfp {LOG} --learning-rate 0",
        "learning-rate must be greater than 0, but is 0.0; nothing would be learned",
    ),
    (f"train gfp {LOG} --discount 1.5", "discount must be between 0 and 1, but is 1.5."),
    (f"train gfp {LOG} --seeds 0", "seeds must be at least 1, but is 0."),
    (f"train gfp {LOG} --seed -1", "seed must be between 0 and 2147483647, but is -1."),
    (f"train gfp {LOG} --checkpoint-interval -1", "checkpoint-interval must be at least 0, but is -1."),
    (f"train gfp {LOG} --seeds --steps 3", "Missing value for argument '--seeds'"),
    ("evaluate runs/a --weight x", "--weight must be a number, but is 'x'"),
    ("demo --steps 0", "steps must be at least 1, but is 0."),
    # code of the user's own
    (f"train nomodule:Method {LOG}", "the module 'nomodule' of 'nomodule:Method' cannot be imported"),
    (f"train my_code:Nothing {LOG}", "it must have the methods init, update, policies."),
    (f"train my_code:Nothin {LOG}", "'my_code' has no 'Nothin' (did you mean 'Nothing'?)"),
    (f"train gfp {EVALUATED}", "task 'mine' has no simulator here"),
    (f"train gfp {EVALUATED} --env my_code", "expected MODULE:NAME, such as my_robot:make."),
    (f"train gfp {EVALUATED} --env my_code:mak", "'my_code' has no 'mak' (did you mean 'make'?)"),
    (
        f"train gfp {EVALUATED} --env my_code:number",
        "must be a function that makes a gymnasium.Env, but is of type int",
    ),
    (f"train gfp {EVALUATED} --env my_code:make --episode-steps 0", "episode-steps must be at least 1, but is 0."),
    (f"train gfp {EVALUATED} --success sometimes", "invalid choice 'sometimes' for argument '--success'"),
    (f"train gfp {LOG} --env my_code:make", "--env changes nothing without --eval-interval."),
    (f"train gfp {LOG} --success any", "--success changes nothing without --eval-interval."),
    (f"train gfp {LOG} --episode-steps 10", "--episode-steps changes nothing without --env."),
    # folders and files
    (f"train gfp {LOG} --resume --overwrite", "give --resume or --overwrite, not both."),
    (f"train gfp {LOG.replace('run', 'thesis')}", "exists and is not empty; add --resume to continue it"),
    (f"train gfp {LOG.replace('run', 'thesis')} --overwrite", "thesis is not a run of guidedflow"),
    (f"train gfp {LOG.replace('run', 'notes.txt')}", "notes.txt is a file; expected a folder for the run"),
    (f"train gfp {LOG.replace('log', 'nothing')}", "nothing.npz"),
    (f"train gfp {LOG.replace('log.npz', 'notes.txt')}", "notes.txt must be an npz, HDF5"),
    (f"train gfp {LOG.replace('log', 'wide')}", "actions must lie in [-1, 1], but 68 % of their numbers do not"),
    ("train --resume", "train --resume needs the folder of a run; give --out RUN."),
    ("train --resume --out nowhere", "There is no run at nowhere; expected a folder with config.json."),
    ("train --resume --out runs", "it is a folder of runs; name one of them, such as runs/a (a, b)."),
    ("train --resume --out runs/a", "runs/a was trained from Python (script.py), so its data are not known by name"),
    ("train --resume --out runs/a/checkpoints/40", "it is checkpoint 40 of the run runs/a; name that folder."),
    ("train --resume --out runs/b", "was trained by my_code:Method; name it again: guidedflow train my_code:Method"),
    ("train --resume --out broken", "its config.json is not JSON."),
    ("evaluate runs", "it is a folder of runs; name one of them, such as runs/a (a, b)."),
    ("evaluate runs/c", "There is no run at runs/c"),
    ("data show nothing.npz", "there is no file or folder nothing.npz"),
    (f"data split log.npz part.npz part.npz {NAMED}", "part.npz and part.npz are one place"),
    (f"data split log.npz part.npz wide.npz {NAMED}", "wide.npz exists: remove it, or choose another place"),
    (f"data split log.npz part.npz other.foo {NAMED}", "other.foo has no known suffix"),
    (
        f"tune --tasks mine --algorithms fql --dataset log.npz {NAMED} --offline --held-out nothing.npz --out tuned",
        "--held-out: there is no file or folder nothing.npz.",
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a log, runs and what a user may take for either."""
    folder, data = tmp_path_factory.mktemp("work"), line()
    columns = {
        "observations": data.observations, "rewards": data.rewards, "terminals": 1 - data.masks, "ends": data.last
    }  # fmt: skip
    np.savez(folder / "log.npz", actions=data.actions, **columns)
    np.savez(folder / "wide.npz", actions=3 * data.actions, **columns)
    (folder / "notes.txt").write_text("hello")
    (folder / "thesis").mkdir()
    (folder / "thesis" / "thesis.tex").write_text("years of work")
    (folder / "broken").mkdir()
    (folder / "broken" / "config.json").write_text("{")
    (folder / "my_code.py").write_text("number = 3\n\ndef make():\n    return 1\n\nclass Nothing:\n    pass\n")
    for name, command in (("a", ["script.py"]), ("b", ["guidedflow", "train", "my_code:Method", "--task", "mine"])):
        run = folder / "runs" / name
        (run / "checkpoints" / "40").mkdir(parents=True)
        config = {"guidedflow_run": 1, "command": command, "task": "mine", "algorithm": {"name": "Method"}}
        (run / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(autouse=True)
def working(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    yield
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.parametrize(("arguments", "sentence"), WRONG, ids=[arguments for arguments, _ in WRONG])
def test_what_is_typed_wrongly_gets_one_sentence(
    arguments: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments.split())
    told = capsys.readouterr()
    assert (left.value.code, told.out) == (2, "")
    lines = [each for each in told.err.splitlines() if not each.startswith("warning: mine")]
    assert len(lines) == 1
    assert lines[0].startswith("guidedflow: ")
    assert sentence in lines[0]


def test_a_device_that_is_not_there(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(self: object) -> None:
        raise RuntimeError("Unable to initialize backend 'cuda': no such device")

    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(Train, "run", absent)
    monkeypatch.setattr("jax.devices", lambda: absent(None))
    with pytest.raises(SystemExit, match="2"):
        main(f"train gfp {LOG}".split())
    assert "JAX finds no device for JAX_PLATFORMS=cuda" in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a disk that is always full is Linux's")
def test_an_output_that_cannot_be_written(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(SystemExit, match="2"):
            main(["tasks"])
        monkeypatch.undo()
    assert "standard output could not be written: No space left on device" in capsys.readouterr().err
