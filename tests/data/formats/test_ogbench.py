"""OGBench's files are read as OGBench reads them, and a file that cannot be is told apart in one sentence."""

import functools
import shutil
import tracemalloc
import zipfile

import numpy as np
import pytest

from guidedflow import environments
from guidedflow.data.actions import ACTION_LIMIT
from guidedflow.data.convert import convert
from guidedflow.data.formats import ogbench
from guidedflow.data.load import open_dataset, read_dataset, read_parts
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.errors import InputError

TASK = "cube-single-noisy-singletask-task1-v0"
FILE = "cube-single-noisy-v0.npz"


@pytest.fixture(scope="module", autouse=True)
def one_simulator():
    """Each environment is made once, since reading a file takes no time beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(environments, "make", functools.cache(environments.make))
        yield


@pytest.fixture(scope="module")
def columns():
    """Two episodes of three actions, of the right shapes, far from any goal."""
    rng = np.random.default_rng(0)
    shapes = {"observations": 28, "actions": 5, "qpos": 21, "qvel": 20}
    made = {key: rng.uniform(-1, 1, (8, width)).astype(np.float32) for key, width in shapes.items()}
    return made | {"terminals": np.array([0, 0, 0, 1, 0, 0, 0, 1], bool)}


@pytest.fixture
def write(tmp_path):
    """Stores columns as a file."""

    def write(columns):
        np.savez(tmp_path / FILE, **columns)
        return tmp_path / FILE

    return write


def complaint(path, task=TASK):
    with pytest.raises(InputError) as caught:
        read_dataset(task, path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_rows_rewards_and_masks_are_those_of_ogbench(shared_data, tmp_path):
    import ogbench as reference

    for name in (FILE, "cube-single-noisy-v0-val.npz"):
        shutil.copy(shared_data / "cube-single-noisy-v0-val.npz", tmp_path / name)
    for number in (1, 3):
        task = f"cube-single-noisy-singletask-task{number}-v0"
        dataset = read_dataset(task, shared_data / "cube-single-noisy-v0-val.npz")
        published, _ = reference.make_env_and_datasets(
            task, dataset_path=str(tmp_path / FILE), dataset_only=True, cur_env=environments.make(task)
        )
        starts = np.flatnonzero(~dataset.last)
        assert (len(dataset), dataset.episodes, len(dataset.last)) == (20_000, 20, 20_020)
        np.testing.assert_array_equal(dataset.observations[starts], published["observations"])
        np.testing.assert_array_equal(dataset.observations[starts + 1], published["next_observations"])
        np.testing.assert_array_equal(dataset.rewards[starts], published["rewards"])
        np.testing.assert_array_equal(dataset.masks[starts], published["masks"])
        np.testing.assert_array_equal(dataset.actions[starts], published["actions"].clip(-0.99999, 0.99999))
        assert 0 < np.mean(dataset.masks == 0) < 0.1


def test_columns_are_single_precision_and_actions_inside_the_box(columns, write):
    columns = columns | {"observations": columns["observations"].astype(np.float64), "actions": np.ones((8, 5))}
    dataset = read_dataset(TASK, write(columns))
    assert {column.dtype.str for column in (dataset.observations, dataset.actions, dataset.rewards)} == {"<f4"}
    assert (dataset.actions == ACTION_LIMIT).all()
    assert ACTION_LIMIT < 1
    np.testing.assert_array_equal(dataset.rewards, -1)
    assert dataset.name == TASK


def test_a_folder_and_ogbenchs_own_folder_stand_for_the_file_in_them(columns, write, tmp_path, monkeypatch):
    path = write(columns)
    monkeypatch.setattr(ogbench, "FOLDER", tmp_path)
    assert len({read_dataset(TASK, place).fingerprint for place in (path, tmp_path, None)}) == 1


def test_loading_takes_little_more_memory_than_the_dataset(columns, write):
    rows = 100_000
    large = {key: np.resize(column, (rows, *column.shape[1:])) for key, column in columns.items()}
    path = write(large)
    read_dataset(TASK, path)  # what importing a simulator takes is not the question
    tracemalloc.start()
    dataset = read_dataset(TASK, path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    held = (dataset.observations, dataset.actions, dataset.rewards, dataset.masks, dataset.last)
    assert peak < 1.3 * sum(column.nbytes for column in held)


def test_a_missing_file_names_both_ways_to_get_it(tmp_path):
    told = complaint(tmp_path / "nothing.npz")
    assert "nothing.npz does not exist" in told
    assert f"guidedflow data collect cube-single-noisy-v0 --out {tmp_path / 'nothing.npz'}" in told
    assert "`guidedflow data download cube-single-noisy-v0 --out " in told


def test_a_name_without_a_task_is_goal_conditioned_and_needs_no_states(columns, write):
    path = write({name: columns[name] for name in ("observations", "actions", "terminals")})
    dataset = read_dataset("cube-single-noisy-v0", path)
    assert dataset.goals is dataset.observations
    assert (dataset.rewards == 0).all()
    assert (dataset.masks == 1).all()
    assert "'qpos' must be there" in complaint(path, "cube-single-noisy-oraclerep-v0")


def test_oracle_goals_are_those_of_ogbench(shared_data, tmp_path):
    import ogbench as reference

    for name in (FILE, "cube-single-noisy-v0-val.npz"):
        shutil.copy(shared_data / "cube-single-noisy-v0-val.npz", tmp_path / name)
    task = "cube-single-noisy-oraclerep-v0"
    dataset = read_dataset(task, tmp_path / FILE)
    env = environments.make(task)
    published, _ = reference.make_env_and_datasets(
        task, dataset_path=str(tmp_path / FILE), dataset_only=True, cur_env=env
    )
    np.testing.assert_array_equal(dataset.goals[~dataset.last], published["oracle_reps"])
    np.testing.assert_array_equal(dataset.observations[~dataset.last], published["observations"])
    assert env.observation_space.shape[0] == dataset.observations.shape[1] + dataset.goals.shape[1]


@pytest.mark.parametrize("key", ["observations", "actions", "terminals", "qpos"])
def test_a_missing_column_is_named(columns, write, key):
    told = complaint(write({name: column for name, column in columns.items() if name != key}))
    assert f"{FILE}: {key!r} must be there" in told
    assert "found only" in told
    assert ("OGBench computes rewards from it" in told) == (key == "qpos")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"observations": np.zeros((8, 37), np.float32)},
            r"'observations' must have the shape \(rows, 28\), found \(8, 37\)",
        ),
        ({"actions": np.zeros(8, np.float32)}, r"'actions' must have the shape \(rows, 5\), found \(8,\)"),
        ({"actions": np.zeros((7, 5), np.float32)}, r"'actions' must have 8 rows as 'observations' has, found 7"),
        ({"actions": np.zeros((8, 5), np.int64)}, r"'actions' must be of type float, found int64"),
        ({"actions": np.array([[None] * 5] * 8)}, r"'actions' must be numbers, found pickled objects"),
        ({"terminals": np.array(["no"] * 8)}, r"'terminals' must be of type boolean, found <U2"),
        ({"terminals": np.zeros(8, bool)}, r"'terminals' must be 1 in the last row of each episode, found 0 in all 8"),
        ({"terminals": np.eye(8, dtype=bool)[3]}, r"'terminals' must be 1 in the final row, found 0"),
        ({"terminals": np.full(8, 2)}, r"'terminals' must be 0 or 1, found 2"),
        (
            {"observations": np.full((8, 28), np.nan, np.float32)},
            r"'observations' must be finite, found NaN .* in row 0",
        ),
        ({"qpos": np.full((8, 21), np.inf, np.float32)}, r"'qpos' must be finite, found NaN or infinity in row 0"),
    ],
)
def test_a_wrong_column_is_told_by_file_key_expected_and_found(columns, write, changes, sentence):
    with pytest.raises(InputError, match=f"{FILE}: {sentence}"):
        read_dataset(TASK, write(columns | changes))


def test_a_file_without_rows_is_refused(columns, write):
    assert "must have some rows" in complaint(write({key: column[:0] for key, column in columns.items()}))


def test_a_file_that_is_cut_off_or_damaged_is_told(columns, write):
    path = write(columns)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "must be a complete .npz archive, found one that is cut off" in complaint(path)
    with zipfile.ZipFile(write(columns)) as archive:
        begin = archive.getinfo("actions.npy").header_offset
    path.write_bytes(whole[: begin + 250] + b"\xff" + whole[begin + 251 :])
    assert "'actions' must be a readable array, found damage" in complaint(path)


@pytest.mark.parametrize("contents", [b"", b"\x93NUMPY", b"\x80\x04K\x01."])
def test_a_file_that_is_no_archive_is_told(tmp_path, contents):
    (tmp_path / FILE).write_bytes(contents)
    assert "must be an .npz archive of arrays, found a file that begins with" in complaint(tmp_path / FILE)


def test_scenes_need_the_states_of_their_buttons(tmp_path):
    shapes = {"observations": 40, "actions": 5, "qpos": 25}
    columns = {key: np.zeros((2, width), np.float32) for key, width in shapes.items()}
    np.savez(tmp_path / "scene-play-v0.npz", **columns, terminals=np.array([False, True]))
    assert "'button_states' must be there" in complaint(tmp_path, "scene-play-singletask-task1-v0")
    np.savez(
        tmp_path / "scene-play-v0.npz",
        **columns,
        terminals=np.array([False, True]),
        button_states=np.zeros((2, 2), int),
    )
    assert len(read_dataset("scene-play-singletask-task1-v0", tmp_path)) == 1


def test_shards_are_converted_one_after_the_other(columns, write, tmp_path):
    whole = read_dataset(TASK, write({key: np.concatenate([column] * 3) for key, column in columns.items()}))
    folder = tmp_path / "cube-single-noisy-100m-v0"
    folder.mkdir()
    for number in range(3):
        np.savez(folder / f"cube-single-noisy-v0-00{number}.npz", **columns | {"qvel": columns["qvel"] + number})
        np.savez(folder / f"cube-single-noisy-v0-00{number}-val.npz", **columns)
    twice = folder / "cube-single-noisy-v0-003.npz"
    shutil.copy(folder / "cube-single-noisy-v0-000.npz", twice)
    with pytest.raises(InputError, match="must differ from all other slices"):
        read_parts(TASK, folder)
    twice.unlink()
    path = convert(read_parts(TASK, folder), tmp_path / "made.mapped", source=str(folder))
    opened = open_dataset(TASK, path)
    assert isinstance(opened, Mapped)
    assert opened.fingerprint == whole.fingerprint
    assert opened.manifest["source"] == str(folder)
    with pytest.raises(InputError, match=r"converted for cube-single-noisy-singletask-task1-v0, whose rewards are not"):
        open_dataset(TASK.replace("task1", "task2"), path)
    with pytest.raises(InputError, match=r"holds the shards .* `guidedflow data convert .* --to mapped`"):
        open_dataset(TASK, folder)
    with pytest.raises(InputError, match="data in parts becomes a mapped folder, not npz"):
        convert(read_parts(TASK, folder), tmp_path / "made.npz")
    (folder / "cube-single-noisy-v0-002.npz").write_bytes(b"PK")  # told when its turn comes, and then nothing is left
    with pytest.raises(InputError, match=r"v0-002.npz must be a complete .npz archive"):
        convert(read_parts(TASK, folder), tmp_path / "broken.mapped")
    assert not [entry for entry in tmp_path.iterdir() if "broken" in entry.name]
    (folder / "cube-single-noisy-v0-001.npz").unlink()
    with pytest.raises(InputError, match=r"lacks shard 001: after 1 of them comes cube-single-noisy-v0-002.npz"):
        read_parts(TASK, folder)
