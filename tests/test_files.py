"""A running hash tells which rows of a log are whole, whatever was changed, lost, put elsewhere or torn."""

import json
import os
import random
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from guidedflow import files

ROWS = [{"step": step, "loss": [step / 7, None]} for step in range(8)]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.jsonl"
    files.append_rows(path, ROWS[:3])
    files.append_rows(path, ROWS[3:])
    return path


def read(path: Path) -> tuple[list[dict[str, object]], str]:
    """The rows, and what is warned of."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = files.read_rows(path)
    return found, " ".join(str(warning.message) for warning in told)


def test_rows_come_back_without_their_hash_and_are_plain_json(log: Path) -> None:
    assert read(log) == (ROWS, "")
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(8))


def test_added_rows_have_the_bytes_of_rows_written_at_once(log: Path, tmp_path: Path) -> None:
    files.replace_rows(tmp_path / "whole.jsonl", ROWS)
    assert log.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def swapped(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[3], lines[2], *lines[4:]]


@pytest.mark.parametrize(
    ("damage", "whole", "kept"),
    [
        (lambda lines: [*lines[:4], lines[4].replace(b"0.57", b"0.58"), *lines[5:]], 4, [0, 1, 2, 3, 5, 6, 7]),
        (lambda lines: [*lines[:4], *lines[5:]], 4, [0, 1, 2, 3, 5, 6, 7]),
        (lambda lines: lines[1:], 0, [1, 2, 3, 4, 5, 6, 7]),
        (swapped, 2, [0, 1, 3, 2, 4, 5, 6, 7]),
        (lambda lines: [*lines[:5], lines[1], *lines[5:]], 5, [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
    ids=["changed", "lost", "first lost", "misplaced", "twice"],
)
def test_the_whole_prefix_is_told(
    log: Path, damage: Callable[[list[bytes]], list[bytes]], whole: int, kept: list[int]
) -> None:
    log.write_bytes(b"".join(damage(log.read_bytes().splitlines(keepends=True))))
    found, told = read(log)
    assert [row["step"] for row in found] == kept
    assert f"the first {whole} lines are whole" in told


def test_no_flipped_bit_of_a_thousand_goes_unseen(log: Path) -> None:
    whole, draw = log.read_bytes(), random.Random(0)
    for _ in range(1000):
        bit = draw.randrange(8 * len(whole))
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << bit % 8
        log.write_bytes(broken)
        found, told = read(log)
        # The last line break alone may go unseen as damage: its line then counts as torn.
        assert told or found == ROWS[:-1], bit
        # What is kept is a row as it was, or one without a hash that has a name which no row of ours has.
        assert all(row in ROWS or set(row) - set(ROWS[0]) for row in found), bit


@pytest.mark.parametrize("size", range(1, 60, 7))
def test_a_torn_line_costs_its_row_alone_and_is_closed(log: Path, size: int) -> None:
    log.write_bytes(log.read_bytes()[:-size])
    assert read(log) == (ROWS[:-1], "")
    files.append_rows(log, [{"step": 8}])
    found, told = read(log)
    assert found == [*(ROWS if size == 1 else ROWS[:-1]), {"step": 8}]
    assert (told == "") == (size == 1)
    assert "lines are whole" not in told


def test_rows_of_earlier_versions_are_read_and_covered_by_the_next_row(tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    path.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in ROWS[:4]))
    assert read(path) == (ROWS[:4], "")
    files.append_rows(path, ROWS[4:])
    assert read(path) == (ROWS, "")
    path.write_bytes(path.read_bytes().replace(b"0.42857", b"0.42858"))
    assert "the first 0 lines are whole" in read(path)[1]


def add(path: str, first: str) -> None:
    for step in range(int(first), int(first) + 20):
        files.append_rows(Path(path), [{"step": step}])


def test_two_processes_add_rows_to_one_file(tmp_path: Path) -> None:
    program = "import sys; from test_files import add; add(*sys.argv[1:])"
    command = [sys.executable, "-c", program, str(tmp_path / "log.jsonl")]
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(files.__file__).parents[1])])
    both = [subprocess.Popen([*command, first], env={**os.environ, "PYTHONPATH": path}) for first in ("0", "100")]
    assert [each.wait(timeout=100) for each in both] == [0, 0]
    found, told = read(tmp_path / "log.jsonl")
    assert sorted(row["step"] for row in found) == [*range(20), *range(100, 120)]  # type: ignore[type-var]
    assert told == ""
