"""Data of your own, in the formats that robots log: which column is what is said once, and what is missing is asked."""

import json
import sys

import h5py
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from guidedflow.data.convert import convert
from guidedflow.data.formats.columns import Columns, dataset_of, keep, kept, place
from guidedflow.data.load import load_dataset, open_dataset, read_dataset, read_parts
from guidedflow.data.sampling.cutting import Cutting
from guidedflow.data.validation import validate
from guidedflow.errors import InputError

WORDS = "observations=obs actions=act rewards=pay terminals=solved episodes=run"
COLUMNS = Columns.parse(WORDS.split())


def log():
    """Two runs of three steps, the first of which ends solved."""
    steps = np.arange(6)
    return {
        "obs": np.stack([steps, 10 * steps], 1).astype(np.float64),
        "act": (steps / 10)[:, None],
        "pay": steps.astype(np.float32),
        "solved": steps == 2,
        "run": np.array([4, 4, 4, 7, 7, 7]),
    }


def save(path, columns):
    if path.suffix == ".npz":
        np.savez(path, **columns)
    elif path.suffix == ".hdf5":
        with h5py.File(path, "w") as file:
            for name, column in columns.items():
                file[name] = column
    else:
        arrays = {k: list(v) if v.ndim > 1 else v for k, v in columns.items()}
        parquet.write_table(pyarrow.table(arrays), path, row_group_size=2)
    return path


@pytest.mark.parametrize("name", ["log.npz", "log.hdf5", "log.parquet"])
def test_a_log_becomes_episodes_without_an_invented_transition(tmp_path, name):
    dataset = load_dataset("my-arm", save(tmp_path / name, log()), columns=COLUMNS)
    assert (dataset.name, dataset.episodes, len(dataset)) == ("my-arm", 2, 5)
    # The first run ends solved: all three steps count, and the last leads to a row that holds the place.
    # The second was cut off: its last row is the final observation of the step before it.
    np.testing.assert_array_equal(dataset.observations[:, 0], [0, 1, 2, 2, 3, 4, 5])
    np.testing.assert_array_equal(dataset.last, [0, 0, 0, 1, 0, 0, 1])
    starts = ~dataset.last
    np.testing.assert_array_equal(dataset.rewards[starts], [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(dataset.masks[starts], [1, 1, 0, 1, 1])


def test_a_log_is_for_reaching_what_its_columns_say(tmp_path):
    """Goals need neither rewards nor terminals; they come back from the formats that have a place for them."""
    path = save(tmp_path / "log.npz", log() | {"tip": 100 * log()["obs"][:, :1]})
    told = Columns.parse(["observations=obs,actions=act,episodes=run,goals=obs"])
    whole = load_dataset("my-arm", path, columns=told)
    assert whole.goal_conditioned
    assert whole.goals is whole.observations
    assert len(whole) == 4  # nothing says that the first run was solved
    assert whole.masks[~whole.last].all()
    tips = load_dataset("my-arm", path, columns=Columns(**(told.told() | {"goals": "tip", "terminals": "solved"})))
    np.testing.assert_array_equal(tips.goals[~tips.last, 0], 100 * tips.observations[~tips.last, 0])
    assert Cutting().of(tips).example().observation.shape == (3,)
    for number, dataset in enumerate((whole, tips)):
        for suffix in ("npz", "hdf5"):
            back = read_dataset("my-arm", convert(dataset, tmp_path / f"{number}.{suffix}"))
            assert back.fingerprint == dataset.fingerprint
            assert (back.goals is back.observations) == (number == 0)
        with pytest.raises(InputError, match="goals of 'my-arm' have no place in the format mapped; convert to npz"):
            convert(dataset, tmp_path / "log.mapped")


def test_recorded_successors_are_used(tmp_path):
    then = np.concatenate([log()["obs"][1:], log()["obs"][-1:]])
    then[[2, 5]] = log()["obs"][[2, 5]] + 0.5
    columns = log() | {"then": then}
    told = COLUMNS.over(Columns(next_observations="then"))
    dataset = load_dataset("my-arm", save(tmp_path / "log.npz", columns), columns=told)
    assert len(dataset) == 6
    np.testing.assert_array_equal(dataset.observations[:, 0], [0, 1, 2, 2.5, 3, 4, 5, 5.5])


def test_a_next_observation_that_is_not_the_next_row_ends_an_episode(tmp_path):
    """Also where no flag says so, as when somebody cut a piece out of a run."""
    seen = log()["obs"]
    then = np.concatenate([seen[1:], seen[-1:] + 1])
    then[1] += 7  # a step led elsewhere than the row after it
    path = save(tmp_path / "log.npz", log() | {"then": then})
    told = Columns.parse(["observations=obs", "actions=act", "rewards=pay", "terminals=none", "next_observations=then"])
    dataset = load_dataset("my-arm", path, columns=told)
    assert (dataset.episodes, len(dataset)) == (2, 6)
    np.testing.assert_array_equal(dataset.observations[~dataset.last], seen)
    np.testing.assert_array_equal(dataset.observations[[2, 7]], then[[1, 5]])
    assert [problem.kind for problem in validate(path, columns=told).warnings][:1] == ["next-differs"]


@pytest.mark.parametrize("shuffled", [False, True])
def test_independent_transitions_are_used_as_they_are(tmp_path, shuffled):
    """Each row is one: whatever their order, and although neighbours may follow each other by chance."""
    order = np.random.default_rng(0).permutation(6) if shuffled else np.arange(6)
    columns = {name: column[order] for name, column in (log() | {"then": log()["obs"] + 0.5}).items()}
    words = "observations=obs actions=act rewards=pay terminals=solved next_observations=then transitions=independent"
    path, told = save(tmp_path / "log.npz", columns), Columns.parse(words.split())
    batch = load_dataset("my-arm", path, columns=told).cut(0.5).every()
    for name, column in (("observation", "obs"), ("action", "act"), ("reward", "pay"), ("next_observation", "then")):
        np.testing.assert_array_equal(getattr(batch, name), columns[column].astype(np.float32))
    np.testing.assert_array_equal(batch.discount, np.where(columns["solved"], 0, 0.5).astype(np.float32))
    assert not validate(path, columns=told).errors


def test_what_validation_calls_an_error_is_neither_loaded_nor_converted(tmp_path):
    path = save(tmp_path / "log.npz", log() | {"mode": np.arange(6), "far": log()["act"] + 5})
    shared = Columns(**(COLUMNS.told() | {"actions": "obs"}))
    never = Columns(**(COLUMNS.told() | {"actions": "far"}))
    pixels = save(tmp_path / "see.npz", log() | {"obs": np.zeros((6, 4, 4), np.uint8)})
    for file, told, clip, sentence in (
        (path, shared, True, "'obs' must play one part"),
        (path, never, True, "'far' must lie in .* clipping would leave a constant"),
        (pixels, COLUMNS, False, "must be images of .height, width, channels"),
    ):
        with pytest.raises(InputError, match=sentence):
            load_dataset("my-arm", file, columns=told, clip_actions=clip)
        assert validate(file, columns=told, clip_actions=clip).errors
    for told in (shared, COLUMNS):
        with pytest.raises(InputError):
            read_parts("my-arm", pixels if told is COLUMNS else path, columns=told)


def test_nested_columns_stand_side_by_side_and_a_number_is_a_reward(tmp_path):
    columns = log()
    path = save(tmp_path / "log.hdf5", {f"robot/arm/{name}": column for name, column in columns.items()})
    words = "observations=robot/arm/obs+robot/arm/pay,actions=robot/arm/act rewards=-1 terminals=none"
    told = Columns.parse([*words.split(), "episodes=robot/arm/run"])
    dataset = load_dataset("my-arm", path, columns=told)
    np.testing.assert_array_equal(dataset.observations[:, 2], columns["pay"])
    assert dataset.observations.dtype == np.float32
    assert (dataset.rewards == -1).all()
    assert dataset.masks.all()


@pytest.mark.parametrize("name", ["pos+vel", "pos,vel", "pos, vel"])
def test_a_column_may_be_called_what_else_joins_names(tmp_path, name):
    columns = log()
    path = save(tmp_path / "log.npz", columns | {name: columns["obs"]})
    words = [f"observations={name},actions=act,rewards=pay", "terminals=solved", "episodes=run"]
    told = Columns.parse(words)
    assert told == Columns(**(COLUMNS.told() | {"observations": name}))
    dataset = load_dataset("my-arm", path, columns=told)
    assert dataset.fingerprint == load_dataset("my-arm", path, columns=COLUMNS).fingerprint
    assert not validate(path, columns=told).errors


def test_weights_stay_with_their_steps(tmp_path):
    """Also where a row is added for a final observation."""
    columns = log() | {"q": np.arange(6) / 2}
    dataset = load_dataset("my-arm", save(tmp_path / "log.npz", columns), columns=COLUMNS.over(Columns(weights="q")))
    plain = load_dataset("my-arm", save(tmp_path / "plain.npz", log()), columns=COLUMNS)
    np.testing.assert_array_equal(dataset.observations, plain.observations)
    rows = np.array([np.flatnonzero((log()["obs"] == seen).all(-1))[0] for seen in dataset.observations])
    np.testing.assert_array_equal(dataset.weights[~dataset.last], columns["q"][rows[~dataset.last]])
    assert dataset.fingerprint != plain.fingerprint


def test_ends_may_be_told_by_flags(tmp_path):
    columns = log() | {"over": np.array([0, 0, 1, 0, 0, 1.0])}
    path = save(tmp_path / "log.npz", columns)
    told = Columns.parse([WORDS.replace("episodes=run", "ends=over").replace(" ", ",")])
    expected = load_dataset("my-arm", path, columns=COLUMNS)
    assert load_dataset("my-arm", path, columns=told).fingerprint == expected.fingerprint


def test_the_names_are_kept_beside_the_file(tmp_path):
    path = save(tmp_path / "log.npz", log())
    first = load_dataset("my-arm", path, columns=COLUMNS)
    keep(path, COLUMNS)
    assert json.loads(place(path).read_text())["observations"] == "obs"
    assert kept(path) == COLUMNS
    assert load_dataset("my-arm", path).fingerprint == first.fingerprint
    keep(path, COLUMNS)
    with pytest.raises(InputError, match="names other columns than --columns"):
        keep(path, Columns(observations="act"))
    place(path).write_text('{"observation": "obs"}')
    with pytest.raises(InputError, match=r"no role 'observation' \(did you mean 'observations'\?\)"):
        load_dataset("my-arm", path)
    place(path).write_text("[")
    with pytest.raises(InputError, match="must be a JSON object of column names"):
        load_dataset("my-arm", path)


def test_names_that_are_given_later_join_those_that_are_kept(tmp_path):
    path = save(tmp_path / "log.npz", log() | {"q": np.arange(6) / 2})
    keep(path, COLUMNS)
    later = Columns(weights="q")
    expected = load_dataset("my-arm", path, columns=COLUMNS.over(later)).fingerprint
    assert load_dataset("my-arm", path, columns=later).fingerprint == expected
    assert kept(path) == COLUMNS  # reading keeps nothing
    keep(path, later)
    assert kept(path) == COLUMNS.over(later)
    assert load_dataset("my-arm", path).fingerprint == expected
    for other in (Columns(weights="pay"), Columns(masks="solved"), Columns(last="solved")):
        with pytest.raises(InputError, match="names other columns than --columns"):
            keep(path, other)
    made = convert(load_dataset("my-arm", path), tmp_path / "made.npz")
    keep(made, Columns(weights="weights", goals="observations"))
    assert (dataset_of(made), kept(made).goals) == ("my-arm", "observations")


def test_a_role_replaces_those_that_it_stands_for(tmp_path):
    """Names that are tried need not agree with the kept ones, nor with those that are a suite's own."""
    path = save(tmp_path / "log.npz", log() | {"on": 1 - log()["solved"], "final": np.arange(6) % 3 == 2})
    keep(path, COLUMNS)
    load_dataset("my-arm", path, columns=Columns(masks="on", last="final"))
    assert Columns(terminals="none").over(Columns(masks="on", last="final")) == Columns(terminals="none", last="final")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("obs", "columns are given as ROLE=NAME"),
        ("obs=obs", "there is no role 'obs'"),
        ("actions=act actions=obs", "columns name actions twice"),
        ("actions=act", "has the columns obs, act, pay, solved, run: say which are the observations"),
        ("observations=obs actions=act", "which is the reward, by --columns rewards=NAME, or rewards=0"),
        ("observations=obs actions=act rewards=pay", "where the task itself ended"),
        ("observations=obs actions=act rewards=pay terminals=none", "where episodes end"),
        (f"{WORDS} masks=solved", "terminals or masks, not both"),
        (f"{WORDS} transitions=yes", "transitions must be 'independent', beside next_observations=NAME, found 'yes'"),
        (f"{WORDS} transitions=independent next_observations=obs", "transitions already tells where .* leave episodes"),
        (WORDS.replace("=obs", "=ob"), r"'ob' must be there \(did you mean 'obs'\?\)"),
        (WORDS.replace("=pay", "=much"), "'much' must be there"),
        (WORDS.replace("=solved", "=run"), "'run' must be 0 or 1, found 4 in row 0"),
        (WORDS.replace("=pay", "=obs"), "'obs' must have one number a row"),
        ("observations=obs actions=act rewards=pay masks=solved last=solved ends=solved", "leave ends out"),
        ("observations=obs actions=act rewards=pay masks=solved last=solved", "'solved' must be 1 in the final row"),
    ],
)
def test_what_is_missing_or_wrong_is_one_sentence(tmp_path, words, sentence):
    path = save(tmp_path / "log.npz", log())
    with pytest.raises(InputError, match=sentence) as told:
        load_dataset("my-arm", path, columns=Columns.parse(words.split()))
    assert "\n" not in str(told.value)


def test_columns_may_be_a_mapping(tmp_path):
    path = save(tmp_path / "log.npz", log())
    whole = load_dataset("my-arm", path, columns=COLUMNS)
    assert load_dataset("my-arm", path, columns=COLUMNS.told()).fingerprint == whole.fingerprint
    assert str(validate(path, columns=COLUMNS.told())) == str(validate(path, columns=COLUMNS))
    with pytest.raises(InputError, match=r"columns: there is no role 'reward' \(did you mean 'rewards'\?\)"):
        load_dataset("my-arm", path, columns={"reward": "pay"})


def test_a_file_stands_for_its_task(tmp_path, monkeypatch):
    path = save(tmp_path / "log.npz", log())
    whole = load_dataset(path, columns=COLUMNS)
    assert whole.name == "log"
    keep(path, COLUMNS)
    monkeypatch.chdir(tmp_path)
    for same in ("log.npz", str(path), path):
        assert load_dataset(same).fingerprint == whole.fingerprint
    made = convert(whole, tmp_path / "made.mapped")
    assert open_dataset(made).name == load_dataset(made).name == "log"
    for missing in ("logs.npz", "logs/log", tmp_path / "logs"):
        with pytest.raises(InputError, match=f"there is no file or folder {missing}, nor a task of that name"):
            load_dataset(missing)


def test_a_file_without_names_is_asked_about(tmp_path):
    path = save(tmp_path / "log.npz", log())
    with pytest.raises(InputError, match="has the columns obs, act, pay, solved, run: say which is what by --columns"):
        load_dataset("my-arm", path)
    with pytest.raises(InputError, match="needs a file: name it by --dataset"):
        load_dataset("my-arm", columns=COLUMNS)
    with pytest.raises(InputError, match=r"unknown task 'my-arm'.*, and data of your own is named by --dataset FILE"):
        load_dataset("my-arm")


def test_pickled_objects_are_never_loaded(tmp_path):
    columns = {name: column.astype(object) if name == "act" else column for name, column in log().items()}
    with pytest.raises(InputError, match="'act' must be a readable array"):
        load_dataset("my-arm", save(tmp_path / "log.npz", columns), columns=COLUMNS)


@pytest.mark.parametrize(
    ("name", "package", "extra"), [("log.hdf5", "h5py", "hdf5"), ("log.parquet", "pyarrow", "parquet")]
)
def test_a_package_that_is_not_installed_is_named_with_its_extra(tmp_path, monkeypatch, name, package, extra):
    path = save(tmp_path / name, log())
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"needs {package} to be read .* pip install 'guidedflow\[{extra}\]'"):
        load_dataset("my-arm", path, columns=COLUMNS)


@pytest.fixture
def lerobot(tmp_path):
    """A folder of LeRobot's third format: three episodes of four steps in two files, and what lists them."""
    folder = tmp_path / "reach"
    (folder / "meta/episodes/chunk-000").mkdir(parents=True)
    info = {
        "codebase_version": "v3.0",
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "features": {},
    }
    (folder / "meta/info.json").write_text(json.dumps(info))
    for file, episodes in ((0, [0, 1]), (1, [2])):
        rows = [(episode, step) for episode in episodes for step in range(4)]
        path = folder / f"data/chunk-000/file-{file:03d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        table = {
            "observation.state": pyarrow.array(
                [list(map(float, row)) for row in rows], pyarrow.list_(pyarrow.float32(), 2)
            ),
            "action": pyarrow.array([[step / 8] for _, step in rows], pyarrow.list_(pyarrow.float32())),
            "next.reward": np.array([step for _, step in rows], np.float32),
            "next.success": np.array([row == (1, 3) for row in rows]),
            "next.done": np.array([step == 3 for _, step in rows]),
            "episode_index": np.array([episode for episode, _ in rows]),
        }
        parquet.write_table(pyarrow.table(table), path)
    listed = {"episode_index": [0, 1, 2], "data/chunk_index": [0, 0, 0], "data/file_index": [0, 0, 1]}
    parquet.write_table(pyarrow.table(listed), folder / "meta/episodes/chunk-000/file-000.parquet")
    return folder


def test_a_folder_of_lerobots_needs_no_names(lerobot):
    dataset = load_dataset("reach", lerobot)
    np.testing.assert_array_equal(dataset.observations[:, 0], [0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2])
    np.testing.assert_array_equal(np.flatnonzero(dataset.last), [3, 8, 12])
    starts = ~dataset.last
    np.testing.assert_array_equal(dataset.rewards[starts], [0, 1, 2, 0, 1, 2, 3, 0, 1, 2])
    np.testing.assert_array_equal(np.flatnonzero(dataset.masks[starts] == 0), [6])
    told = Columns(terminals="none", rewards="0")
    assert load_dataset("reach", lerobot, columns=told).masks.all()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda info: info.update(codebase_version="v1.6"),
            "must be of LeRobot's format v2.0, v2.1 or v3.0, found v1.6",
        ),
        (lambda info: info.update(data_path="../{file_index}.parquet"), "must name files inside its folder"),
        (
            lambda info: info.update(data_path="data/{file_index}.parquet"),
            "must be there, since meta/episodes lists it",
        ),
        (lambda info: info.pop("data_path"), "must say data_path"),
    ],
)
def test_a_folder_that_is_not_whole_is_one_sentence(lerobot, spoil, sentence):
    info = json.loads((lerobot / "meta/info.json").read_text())
    spoil(info)
    (lerobot / "meta/info.json").write_text(json.dumps(info))
    with pytest.raises(InputError, match=sentence):
        read_dataset("reach", lerobot)


def test_a_recording_without_a_footer_is_one_sentence(lerobot):
    file = lerobot / "data/chunk-000/file-001.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match="has no footer"):
        read_dataset("reach", lerobot)


@pytest.mark.parametrize("lists", [[[1.0, 2, 3], [4, 5], [6], [7, 8]], [[1.0, 2], None, [3, 4], [5, 6]]])
def test_lists_of_different_lengths_are_no_matrix(tmp_path, lists):
    """Even where their numbers could be dealt out evenly."""
    table = {"obs": pyarrow.array(lists), "act": [[0.0]] * 4, "pay": [0.0] * 4, "solved": [False] * 4, "run": [1] * 4}
    parquet.write_table(pyarrow.table(table), tmp_path / "log.parquet")
    with pytest.raises(InputError, match="its lists are of different lengths"):
        load_dataset("my-arm", tmp_path / "log.parquet", columns=COLUMNS)
