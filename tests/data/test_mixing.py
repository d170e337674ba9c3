"""Mixtures of collections: whole episodes, exact shares, and a record of both in the file."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_data import episodes, line

from guidedflow.cli import main
from guidedflow.data.convert import convert
from guidedflow.data.formats import making
from guidedflow.data.load import load_dataset
from guidedflow.data.mixing import Part, mix
from guidedflow.data.obtain import oracles
from guidedflow.errors import InputError

NAME = "cube-single-noisy-v0"


def part(name: str, count: int, length: int = 3) -> Part:
    """Episodes whose every row tells its source and number."""
    rows = np.repeat(np.arange(count), length + 1)
    last = np.arange(len(rows)) % (length + 1) == length
    return Part(name, {"number": rows.astype(np.float32), "step": np.arange(len(rows))}, last)


def counts(record: dict[str, object]) -> list[int]:
    return [each["episodes"] for each in record["parts"]]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("sizes", "shares", "expected"),
    [
        ((100, 100), (0.9, 0.1), [99, 11]),
        ((100, 5), (0.9, 0.1), [45, 5]),
        ((5, 5), (0.8, 0.2), [4, 1]),
        ((10, 10), (1.0, 0.0), [10, 0]),
        ((30, 30, 30), (0.5, 0.25, 0.25), [30, 15, 15]),
    ],
)
def test_shares_are_exact_and_no_episode_is_repeated(
    sizes: tuple[int, ...], shares: tuple[float, ...], expected: list[int]
) -> None:
    columns, record = mix([part(str(i), size) for i, size in enumerate(sizes)], shares)
    assert counts(record) == expected
    assert len(np.unique(columns["step"][: 4 * expected[0]])) == 4 * expected[0]
    assert (np.diff(columns["step"].reshape(-1, 4), axis=1) == 1).all()  # whole episodes


def test_the_seed_chooses_and_a_larger_share_contains_a_smaller_one() -> None:
    parts = [part("a", 20), part("b", 20)]

    def chosen(share: float, seed: int) -> set[float]:
        columns, record = mix(parts, (1 - share, share), seed, episodes=20)
        return set(columns["number"][4 * counts(record)[0] :].tolist())

    assert chosen(0.2, 0) < chosen(0.5, 0)
    assert chosen(0.5, 0) == chosen(0.5, 0) != chosen(0.5, 1)


def test_shares_of_transitions_are_recorded_where_episodes_differ_in_length() -> None:
    _, record = mix([part("short", 4, 1), part("long", 4, 3)], (0.5, 0.5))
    assert [each["share_transitions"] for each in record["parts"]] == [0.25, 0.75]


@pytest.mark.parametrize(
    ("shares", "sentence"),
    [
        ((0.5, 0.6), "must add up to 1, but add up to 1.1"),
        ((1.5, -0.5), "must be between 0 and 1, but is 1.5"),
        ((1.0,), "a share for each of two or more sources, but has 1 for 2"),
    ],
)
def test_shares_that_are_none(shares: tuple[float, ...], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        mix([part("a", 2), part("b", 2)], shares)


def test_data_of_other_sizes_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [convert(data, tmp_path / f"{data.name}.npz") for data in (line(), episodes([3, 4]))]
    with pytest.raises(SystemExit) as left:
        main(["data", "convert", *map(str, paths), str(tmp_path / "out.npz"), "--mix", "0.5", "0.5"])
    assert left.value.code == 2
    told = capsys.readouterr().err
    assert "needs data of one size, but observations is float32[rows, 3]" in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out.npz").exists()


def test_own_data_are_mixed_and_the_file_tells_how(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        convert(line(seed=number), tmp_path / str(number) / "line.npz", record={"by": "hand", "number": number})
    sources = [str(tmp_path / str(number) / "line.npz") for number in range(2)]
    main(["data", "convert", *sources, str(tmp_path / "line.npz"), "--mix", "0.75", "0.25", "--seed", "3"])
    capsys.readouterr()
    main(["data", "show", str(tmp_path / "line.npz"), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["episodes"] == 8
    assert told["made"]["seed"] == 3
    assert [(each["episodes"], each["made"]["number"]) for each in told["made"]["parts"]] == [(6, 0), (2, 1)]
    mixed, first = load_dataset(tmp_path / "line.npz"), line(seed=0)
    np.testing.assert_array_equal(mixed.observations[: len(first.last)], first.observations)


def collection(path: Path, random_actions: float, seed: int) -> Path:
    """A file in OGBench's layout, with as much noise as its record says."""
    random = np.random.default_rng(seed)
    path.parent.mkdir()
    rows = 4 * 11
    sizes = {"observations": 28, "actions": 5, "qpos": 21, "qvel": 20}
    columns = {name: random.uniform(-1, 1, (rows, size)).astype(np.float32) for name, size in sizes.items()}
    np.savez(path, **columns, terminals=np.arange(rows) % 11 == 10)
    making.write(path, oracles.recipe(NAME).dialled(random_actions, None).record())
    return path


def test_collections_keep_the_states_of_the_simulator(tmp_path: Path) -> None:
    paths = [collection(tmp_path / str(q) / f"{NAME}.npz", q, i) for i, q in enumerate((0.1, 0.9))]
    out = tmp_path / f"{NAME}.npz"
    main(["data", "convert", *map(str, paths), str(out), "--mix", "0.75", "0.25"])
    with np.load(out) as made, np.load(paths[0]) as first:
        assert made.files == first.files
        assert int(made["terminals"].sum()) == 4
        known = {row.tobytes() for row in first["qpos"]}
        assert [row.tobytes() in known for row in made["qpos"]] == [True] * 33 + [False] * 11
    record = making.read(out)
    assert record is not None
    assert [each["made"]["random_actions"] for each in record["parts"]] == [0.1, 0.9]


def test_other_environments_and_existing_files_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = collection(tmp_path / "a" / f"{NAME}.npz", 0.1, 0)
    other = collection(tmp_path / "b" / "cube-double-play-v0.npz", 0.1, 0)
    for words, sentence in (
        ([str(other), str(tmp_path / "out.npz")], "needs collections of one environment"),
        ([str(one), str(tmp_path / "out.mapped")], "is written as npz"),
        ([str(one), str(one)], "exists: remove it"),
        ([str(one)], "takes 2 SRC and a DST, since --mix has 2 shares, but got 2 places"),
    ):
        with pytest.raises(SystemExit) as left:
            main(["data", "convert", str(one), *words, "--mix", "0.5", "0.5"])
        assert left.value.code == 2
        assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--random-actions", "1.1"], "random-actions must be between 0 and 1, but is 1.1"),
        (["--noise", "-0.1"], "noise must be between 0 and 1, but is -0.1"),
    ],
)
def test_a_quality_outside_its_range(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["data", "collect", NAME, "--out", str(tmp_path / "new"), *words])
    assert left.value.code == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_the_dial_turns_one_oracle_and_leaves_the_published_data_as_they_were() -> None:
    published = oracles.recipe(NAME)
    assert published.dialled(None, None) == published
    assert (published.record()["random_actions"], published.record()["noise"]) == (0.1, 0.1)
    assert oracles.recipe("pointmaze-medium-navigate-v0").record()["noise"] == 0.5
    turned = published.dialled(0.9, 0.3)
    assert (turned.record()["random_actions"], turned.record()["noise"], turned.name) == (0.9, 0.3, NAME)


def test_random_actions_of_a_point_are_as_many_as_the_dial_says() -> None:
    found = {}
    for share in (0.0, 1.0):
        recipe = oracles.recipe("pointmaze-medium-stitch-v0").dialled(share, 0.0)
        found[share] = oracles.collector(recipe)(np.random.SeedSequence(3))["actions"][:-1]
    assert np.mean(np.linalg.norm(found[0.0], axis=1) > 0.98) > 0.9  # the direction of the way
    assert abs(np.mean(np.abs(found[1.0])) - 0.5) < 0.05  # uniform


def test_a_file_without_a_record_has_none(tmp_path: Path) -> None:
    assert making.read(convert(line(), tmp_path / "line.npz")) is None
    assert making.read(tmp_path) is None
    (tmp_path / "word").write_text("nothing")
    assert making.read(tmp_path / "word") is None
