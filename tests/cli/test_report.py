"""`report` and `plot` from folders to files, and what bad input gets."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
from made_runs import TASK, made

from guidedflow.cli import main


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    told = capsys.readouterr()
    assert (left.value.code, told.out) == (2, "")
    return told.err.splitlines()[-1]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks, three algorithms, a grid of tuning runs, guidance weights; one cell missing, one smaller."""
    folder = tmp_path_factory.mktemp("runs")
    for task in (1, 2):
        name = TASK.format(task)
        made(folder / f"gfp-{task}", task=name, rate=0.9, curve=(500, 1000), alpha=1.0, temperature=1e-3)
        made(
            folder / f"fql-{task}",
            "fql",
            name,
            rate=0.6,
            seeds=(0, 1, 2)[: 4 - task],
            episodes=30 - 10 * task,
            alpha=10.0,
        )
    made(folder / "rebrac", "rebrac", TASK.format(1), rate=0.7)
    for alpha in (1.0, 3.0):
        for temperature in (1e-3, 1e-2):
            made(
                folder / f"tune-{alpha}-{temperature}", seeds=(100, 101), source="selection", rate=alpha / 4,
                alpha=alpha, temperature=temperature,
            )  # fmt: skip
    acting = [{"guidance": "denoised", "weight": weight, "flow_steps": 10} for weight in (0.1, 1.0)]
    made(folder / "qgf", "qgf", policy="flow", rate=0.8, acting=acting)
    return folder


def test_a_report_of_many_runs(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["report", str(runs), "-o", str(tmp_path / "new" / "report.html")])
    told = capsys.readouterr()
    assert told.out == ""
    assert "tune-1.0-0.001 and 3 other runs: episodes of tuning alone" in told.err
    page = (tmp_path / "new" / "report.html").read_text()
    for text in (
        "Tasks of ogbench", "Beside the best known", "Performance profile", "Probability of improvement",
        "Learning curves", "weight of guidance", "gfp actor (one step) over alpha and temperature", "Tuning budget",
        "Settings that differ", "updates/s", "2 cores", "guidedflow train gfp --task",
        "GFP, arXiv 2512.03973", "GFP, published", "–",
    ):  # fmt: skip
        assert text in page
    assert page.count("<svg") == 6
    assert not re.search(r"(?:src|href|action)=[\"'](?!#|data:)", page)
    assert "url(" not in page.replace("url(#", "")


def test_one_report_twice_is_the_same_file(runs: Path, tmp_path: Path) -> None:
    pages = []
    for name in ("a.html", "b.html"):
        main(["report", str(runs / "gfp-1"), "-o", str(tmp_path / name)])
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1]


def test_tables_carry_seeds_episodes_intervals_and_settings_tried(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["report", str(runs), "--json"])
    told = json.loads(capsys.readouterr().out)
    cells = {(cell["task"], cell["method"]): cell for cell in told["cells"]}
    gfp = cells[TASK.format(1), "gfp actor"]
    assert (gfp["seeds"], gfp["episodes"], gfp["tried"]) == (3, 20, 4)
    assert gfp["low"] < gfp["mean"] < gfp["high"]
    assert gfp["by_seed"].keys() == {"0", "1", "2"}
    fql = cells[TASK.format(2), "fql actor"]
    assert (fql["seeds"], fql["episodes"], fql["low"], fql["tried"]) == (2, 10, None, 1)
    assert told["published"][TASK.format(1)][3]["method"] == "GFP"
    assert len(told["left_out"]) == 1

    main(["report", str(runs), "--csv"])
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(table) == len(cells) == 7
    assert {row["seeds"] for row in table} == {"2", "3"}

    main(["report", str(runs), "--markdown"])
    page = capsys.readouterr().out
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {TASK.format(2)} |")]
    assert " – |" in line  # ReBRAC was not run there
    assert re.search(r"\d† each [\d.]+ [\d.]+, 2 × 10, tried 1 \|", line)
    assert re.search(r"\d \[[\d.]+, [\d.]+\], 3 × 20, tried 1 \|", line)

    main(["report", str(runs), "--latex"])
    page = capsys.readouterr().out
    assert page.count(r"\begin{tabular}") == page.count(r"\end{tabular}") == page.count(r"\toprule") >= 4
    assert r"$\pm$" in page


def test_formulas_and_markup_in_the_names_of_runs_stay_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = '=HYPERLINK("x") | `a` [x](javascript:1) <b> \\ & % $ # _ {}\n'
    made(tmp_path / "run", task=evil, algorithm="=1+1")
    main(["report", str(tmp_path), "--csv"])
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["task"].startswith("'=")
    assert row["algorithm"] == "'=1+1"
    main(["report", str(tmp_path), "--markdown"])
    page = capsys.readouterr().out
    assert "<b>" not in page
    assert "](javascript" not in page
    main(["report", str(tmp_path), "--latex"])
    assert r"\& \% \$ \# \_ \{\}" in capsys.readouterr().out


def test_bad_input_gets_one_sentence(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tune = str(runs / "tune-1.0-0.001")
    for arguments, sentence in (
        (["report"], "missing argument RUNS"),
        (["report", str(tmp_path)], f"There is no run in {tmp_path}"),
        (["report", str(runs / "gpf-1")], "(did you mean 'gfp-1'?)"),
        (["report", str(runs), "-o", "page.pdf"], "The page is an HTML file, but got -o page.pdf"),
        (["report", str(runs), "--csv", "--json"], "Only one format is printed at a time, but got --csv and --json."),
        (["report", tune], "None of these runs has reported episodes"),
        (["report", str(runs), "-o", str(runs / "gfp-1" / "config.json" / "x.html")], "cannot be made"),
        (["plot", str(runs)], "missing argument -o"),
        (["plot", str(runs), "-o", "x.jpg"], "A picture is a .png, .svg or .pdf file, but x.jpg is not."),
        (["plot", str(runs), "-o", "x.png"], "The runs have 2 tasks, but a picture shows one; give --task"),
        (["plot", str(runs), "-o", "x.png", "--task", "cube"], "No run has episodes of 'cube'"),
        (["plot", tune, "-o", "x.png"], "None of these runs was evaluated while it trained"),
        (["plot", tune, "-o", "x.png", "--what", "weights"], "evaluated at two weights"),
        (["plot", tune, "-o", "x.png", "--what", "grid"], "exactly two numbers"),
        (["plot", tune, "-o", "x.png", "--what", "budget", "--policy", "atcor"], "No run has a policy 'atcor'"),
        (["plot", tune, "-o", "x.png", "--what", "budget"], "several settings"),
        (["plot", tune, "-o", "x.png", "--what", "budget", "--smoothing", "2"], "--smoothing changes nothing"),
        (["plot", str(runs), "-o", "x.png", "--smoothing", "0"], "smoothing must be at least 1"),
        (["plot", str(runs), "-o", "x.png", "--smothing", "2"], "did you mean '--smoothing'?"),
    ):  # fmt: skip
        assert sentence in refused(arguments, capsys)


@pytest.mark.parametrize(
    ("what", "kind"), [("curves", "png"), ("methods", "svg"), ("weights", "svg"), ("grid", "pdf"), ("budget", "svg")]
)
def test_every_picture_in_every_format(
    what: str, kind: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"picture.{kind}"
    main(["plot", str(runs), "-o", str(out), "--what", what, "--task", TASK.format(1)])
    begin = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[kind]
    assert out.read_bytes().startswith(begin)
    assert f"picture: {out}" in capsys.readouterr().err


def test_smoothing_is_stated_in_the_picture(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "curve.svg"
    main(["plot", str(runs / "gfp-1"), "-o", str(out), "--smoothing", "2", "--title", "One cube"])
    picture = out.read_text()
    assert "mean of 2 consecutive evaluations" in picture
    assert "One cube" in picture


def test_a_report_of_the_rest_says_what_it_left_out(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path / "good")
    log = made(tmp_path / "torn") / "evaluations.jsonl"
    log.write_text("not a row\n" + log.read_text())
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_text('{"guidedflow_run": 1')
    main(["report", str(tmp_path), "-o", str(tmp_path / "report.html")])
    told = capsys.readouterr().err
    page = (tmp_path / "report.html").read_text()
    for sentence in ("line 1 is not a JSON object", "its config.json is not JSON", "seed 0 of gfp actor"):
        assert sentence in told
        assert sentence in page
    assert "<summary>Left out (6)</summary>" in page
