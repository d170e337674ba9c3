"""Films of LeRobot's folders: the pixels that were encoded, each in its row, in both layouts; and what does not fit."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from tiny_film import encode

from guidedflow.cli import main
from guidedflow.data.formats import lerobot as folders
from guidedflow.data.formats import lerobot_films
from guidedflow.data.formats.columns import Columns
from guidedflow.data.formats.pictures import resized
from guidedflow.data.load import load_dataset, open_dataset, read_parts
from guidedflow.data.validation import validate
from guidedflow.errors import InputError
from guidedflow.packing import unpacked
from guidedflow.runs.trained import Trained

LENGTHS, FPS, SHAPE = (4, 6, 5), 10, (16, 24, 3)
ROWS = sum(LENGTHS)
FILM = "observation.images.top"
SEEN = ("observations=observation.state+observation.images.top", "rewards=0", "terminals=none")
RUN = np.repeat(np.arange(3), LENGTHS)
STEP = np.concatenate([np.arange(length) for length in LENGTHS])


@pytest.fixture(scope="module")
def pictures() -> Any:
    return np.random.default_rng(0).integers(0, 256, (ROWS, *SHAPE), np.uint8)


def columns() -> dict[str, Any]:
    random = np.random.default_rng(1)
    return {
        "observation.state": list(random.normal(size=(ROWS, 2)).astype(np.float32)),
        "action": list(random.uniform(-0.9, 0.9, (ROWS, 2)).astype(np.float32)),
        "episode_index": RUN,
        "frame_index": STEP,
        "timestamp": (STEP / FPS).astype(np.float32),
        "index": np.arange(ROWS),
    }


def info(version: str, **names: str) -> dict[str, Any]:
    features = {FILM: {"dtype": "video", "shape": list(SHAPE), "names": ["height", "width", "channels"]}}
    return {
        "codebase_version": version, "fps": FPS, "total_frames": ROWS, "total_episodes": len(LENGTHS),
        "features": features, **names,
    }  # fmt: skip


def by_episode(folder: Path, pictures: Any) -> Path:
    """Format v2.1: a Parquet file and a film an episode."""
    (folder / "meta").mkdir(parents=True)
    names = {
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    }
    (folder / "meta/info.json").write_text(json.dumps(info("v2.1", chunks_size=2, **names)))  # type: ignore[arg-type]
    lines = [json.dumps({"episode_index": run, "length": length}) for run, length in enumerate(LENGTHS)]
    (folder / "meta/episodes.jsonl").write_text("\n".join(lines) + "\n")
    table = pyarrow.table(columns())
    for run in range(len(LENGTHS)):
        path = folder / f"data/chunk-{run // 2:03d}/episode_{run:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(table.filter(pyarrow.array(run == RUN)), path)
        encode(folder / f"videos/chunk-{run // 2:03d}/{FILM}/episode_{run:06d}.mp4", pictures[run == RUN])
    return folder


def shared(folder: Path, pictures: Any, **changes: Any) -> Path:
    """Format v3.0: one Parquet file; the first two episodes share a film."""
    for path in (folder / "meta/episodes/chunk-000", folder / "data/chunk-000"):
        path.mkdir(parents=True)
    names = {
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }
    (folder / "meta/info.json").write_text(json.dumps(info("v3.0", **names)))
    parquet.write_table(pyarrow.table(columns()), folder / "data/chunk-000/file-000.parquet")
    listed = {
        "episode_index": np.arange(3), "data/chunk_index": np.zeros(3, int), "data/file_index": np.zeros(3, int),
        f"videos/{FILM}/chunk_index": np.zeros(3, int), f"videos/{FILM}/file_index": np.array([0, 0, 1]),
        f"videos/{FILM}/from_timestamp": np.array([0, 0.4, 0]), f"videos/{FILM}/to_timestamp": np.array([0.4, 1, 0.5]),
    } | changes  # fmt: skip
    parquet.write_table(pyarrow.table(listed), folder / "meta/episodes/chunk-000/file-000.parquet")
    for number, own in enumerate((RUN < 2, RUN == 2)):
        encode(folder / f"videos/{FILM}/chunk-000/file-{number:03d}.mp4", pictures[own])
    return folder


LAYOUTS = [by_episode, shared]


@pytest.mark.parametrize("write", LAYOUTS)
def test_each_row_has_the_frame_that_was_recorded_with_it(write: Any, pictures: Any, tmp_path: Path) -> None:
    folder = write(tmp_path / "arm", pictures)
    dataset = load_dataset("arm", folder, columns=Columns.parse(SEEN))
    parts = unpacked(dataset.observations)
    np.testing.assert_array_equal(parts[FILM], pictures)
    np.testing.assert_array_equal(parts["observation.state"], np.stack(columns()["observation.state"]))
    assert (dataset.episodes, len(dataset)) == (3, ROWS - 3)
    problems = validate(folder, columns=Columns.parse(SEEN))
    assert not problems.errors, [str(problem) for problem in problems.errors]
    alone = load_dataset("arm", folder, columns=Columns.parse([f"observations={FILM}", *SEEN[1:]]))
    np.testing.assert_array_equal(alone.observations, pictures)


@pytest.mark.parametrize("write", LAYOUTS)
def test_a_folder_is_converted_in_pieces(write: Any, pictures: Any, tmp_path: Path, monkeypatch: Any) -> None:
    folder = write(tmp_path / "arm", pictures)
    whole = load_dataset("arm", folder, columns=Columns.parse(SEEN))
    monkeypatch.setattr(folders, "PIECE", 1)
    pieces = read_parts("arm", folder, columns=Columns.parse(SEEN), to_disk=True)
    assert [len(piece.last) for piece in pieces] == list(LENGTHS)  # type: ignore[union-attr]
    main(["data", "convert", str(folder), str(tmp_path / "there.mapped"), "--task", "arm", "--columns", *SEEN])
    assert open_dataset("arm", tmp_path / "there.mapped").fingerprint == whole.fingerprint


def test_images_are_resized_where_it_is_said_and_the_size_is_kept(pictures: Any, tmp_path: Path) -> None:
    folder = shared(tmp_path / "arm", pictures)
    told = Columns.parse([*SEEN, "resize=8x6"])
    found = unpacked(load_dataset("arm", folder, columns=told).observations)[FILM]
    np.testing.assert_array_equal(found, resized(pictures, (8, 6)))
    means = pictures.reshape(ROWS, 8, 2, 6, 4, 3).mean((2, 4))
    assert np.abs(found - means).max() <= 0.5 + 1e-6 + 1  # rounded twice, once along each axis
    assert not validate(folder, columns=told).errors
    with pytest.raises(InputError, match="resize must be the height and width"):
        Columns.parse([*SEEN, "resize=8"])


def test_show_lists_a_film_by_its_first_frame(pictures: Any, tmp_path: Path, capsys: Any) -> None:
    folder = shared(tmp_path / "arm", pictures)
    main(["data", "show", str(folder), "--json"])
    told = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)["columns"]}
    assert told[FILM]["shape"] == [ROWS, *SHAPE]
    assert told[FILM]["type"] == "uint8"
    assert told[FILM]["first"].startswith(", ".join(map(str, pictures[0].ravel()[:4])))
    main(["data", "show", str(folder), "--json", "--columns", *SEEN])
    assert json.loads(capsys.readouterr().out)["observations"][FILM]["shape"] == list(SHAPE)


def cut_off(folder: Path) -> None:
    film = folder / f"videos/{FILM}/chunk-000/file-001.mp4"
    film.write_bytes(film.read_bytes()[:1000])


def damaged(folder: Path) -> None:
    film = folder / f"videos/{FILM}/chunk-000/file-000.mp4"
    data = bytearray(film.read_bytes())
    for place in range(data.find(b"mdat") + 3000, data.find(b"mdat") + 3040):
        data[place] ^= 255
    film.write_bytes(data)


def too_short(folder: Path) -> None:
    encode(folder / f"videos/{FILM}/chunk-000/file-001.mp4", np.zeros((4, *SHAPE), np.uint8))


def too_late(folder: Path) -> None:
    encode(folder / f"videos/{FILM}/chunk-000/file-001.mp4", np.zeros((5, *SHAPE), np.uint8), gap=1)
    listing = folder / "meta/episodes/chunk-000/file-000.parquet"
    told = parquet.read_table(listing).to_pydict()
    told[f"videos/{FILM}/to_timestamp"][2] = 9.0
    parquet.write_table(pyarrow.table(told), listing)


def narrower(folder: Path) -> None:
    encode(folder / f"videos/{FILM}/chunk-000/file-001.mp4", np.zeros((5, 16, 16, 3), np.uint8))
    encode(folder / f"videos/{FILM}/chunk-000/file-000.mp4", np.zeros((10, 16, 16, 3), np.uint8))


def gone(folder: Path) -> None:
    (folder / f"videos/{FILM}/chunk-000/file-001.mp4").unlink()


def no_film(folder: Path) -> None:
    (folder / f"videos/{FILM}/chunk-000/file-001.mp4").write_text("#EXTM3U\n#EXTINF:1\nfile:///etc/hostname\n")


def renamed(name: str, value: Any) -> Any:
    def change(folder: Path) -> None:
        told = json.loads((folder / "meta/info.json").read_text()) | {name: value}
        (folder / "meta/info.json").write_text(json.dumps(told))

    return change


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (cut_off, "'observation.images.top' must be a readable array, found damage .*file-001.mp4 cannot be decoded"),
        (
            damaged,
            "must be a readable array, found damage .*file-000.mp4 (cannot|has a frame that is damaged)",
        ),
        (no_film, "must be a readable array, found damage .*file-001.mp4 cannot be decoded"),
        (too_short, "must have a frame for each row, .* found 4 frames for the 5 rows of episode 2 in "),
        (
            too_late,
            "must have a frame for each row, at the row's time, found its frame at 0.5 s and its timestamp at 0.4",
        ),
        (narrower, r"must have the shape that meta/info.json says, \[16, 24, 3\], found \[16, 16, 3\]"),
        (gone, "file-001.mp4 must be there"),
        (renamed("video_path", None), "must say video_path"),
        (renamed("video_path", "../{video_key}.mp4"), "must name files inside its folder, found video_path"),
        (renamed("video_path", "videos/{episode_chunk}.mp4"), "video_path names {episode_chunk}"),
        (renamed("fps", 0), "must say fps"),
    ],
)
def test_a_film_that_does_not_fit_is_one_sentence(
    spoil: Any, told: str, pictures: Any, tmp_path: Path, capsys: Any
) -> None:
    folder = shared(tmp_path / "arm", pictures)
    spoil(folder)
    with pytest.raises(InputError, match=told):
        load_dataset("arm", folder, columns=Columns.parse(SEEN))
    for command in (
        ["validate", str(folder)],
        ["convert", str(folder), str(tmp_path / "there.mapped"), "--task", "arm"],
    ):
        with pytest.raises(SystemExit) as end:
            main(["data", *command, "--columns", *SEEN])
        assert end.value.code == 2
    assert not (tmp_path / "there.mapped").exists()
    assert "Traceback" not in capsys.readouterr().err
    states = load_dataset("arm", folder, columns=Columns.parse(["rewards=0", "terminals=none"]))
    assert len(states) == ROWS - 3  # what is not read need not be there


@pytest.mark.parametrize("end", ["from", "to"])
def test_times_of_an_episode_that_cannot_be_are_one_sentence(end: str, pictures: Any, tmp_path: Path) -> None:
    folder = shared(tmp_path / "arm", pictures, **{f"videos/{FILM}/{end}_timestamp": np.array([np.nan, 0.4, 0.1])})
    with pytest.raises(InputError, match="must say from when to when episode 0 is shown"):
        load_dataset("arm", folder, columns=Columns.parse(SEEN))


def test_a_missing_decoder_is_one_sentence_and_is_not_needed_for_states(
    pictures: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    folder = by_episode(tmp_path / "arm", pictures)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"needs av to be read .* pip install 'guidedflow\[video\]'"):
        load_dataset("arm", folder, columns=Columns.parse(SEEN))
    with pytest.raises(InputError, match=r"guidedflow\[video\]"):
        validate(folder, columns=Columns.parse(SEEN))
    assert len(load_dataset("arm", folder, columns=Columns.parse(["rewards=0", "terminals=none"]))) == ROWS - 3


def test_more_images_than_memory_are_refused_before_they_are_decoded(
    pictures: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    folder = shared(tmp_path / "arm", pictures)
    monkeypatch.setattr(lerobot_films, "free_memory", lambda: ROWS * 16 * 24 * 3 - 1)
    with pytest.raises(InputError, match="decode them in pieces into a folder"):
        load_dataset("arm", folder, columns=Columns.parse(SEEN))


@pytest.mark.slow
def test_a_run_is_trained_on_a_film_and_on_its_folder_on_disk(pictures: Any, tmp_path: Path) -> None:
    folder = shared(tmp_path / "arm", pictures)
    told = ["--columns", f"observations={FILM}", *SEEN[1:], "resize=6x6"]
    main(["data", "convert", str(folder), str(tmp_path / "arm.mapped"), "--task", "arm", *told])
    common = "--task arm --hidden 4 --flow-steps 1 --steps 2 --batch-size 2 --log-interval 2"
    for data, out, named in ((folder, "memory", told), (tmp_path / "arm.mapped", "disk", [])):
        main(["train", "bc", *common.split(), "--dataset", str(data), "--out", str(tmp_path / out), *named])
    shapes = [Trained.open(tmp_path / name).policy().observation_shape for name in ("memory", "disk")]
    assert shapes == [(6, 6, 3)] * 2
