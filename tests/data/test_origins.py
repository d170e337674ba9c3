"""Which source data are from is one row of a table, and one training asks each question about its data once."""

import numpy as np
import pytest

from guidedflow.cli import main
from guidedflow.data import dataset as datasets
from guidedflow.data import sources
from guidedflow.data.formats.columns import Columns
from guidedflow.data.load import load_dataset
from guidedflow.data.sources import SOURCES, locate
from guidedflow.errors import InputError
from guidedflow.training.plan import Plan

WORDS = ("observations=obs", "actions=act", "rewards=pay", "terminals=none", "episodes=run")


@pytest.fixture
def log(tmp_path):
    """Five runs of ten steps, as a file of one's own."""
    random, steps = np.random.default_rng(0), np.arange(50)
    columns = {"obs": random.normal(size=(50, 3)), "act": random.uniform(-0.9, 0.9, (50, 2)).astype(np.float32)}
    np.savez(tmp_path / "log.npz", **columns, pay=random.normal(size=50), run=steps // 10)
    return tmp_path / "log.npz"


def counting(monkeypatch, owner, name, counted):
    """Count the calls of a function by its name."""
    function = getattr(owner, name)

    def call(*arguments, **named):
        counted.append((name, arguments))
        return function(*arguments, **named)

    monkeypatch.setattr(owner, name, call)


def test_a_training_asks_once_where_its_data_are_from_and_scans_each_column_once(log, tmp_path, monkeypatch):
    counted = []
    counting(monkeypatch, sources, "_source", counted)
    counting(monkeypatch, datasets, "first_unfinite_row", counted)
    size = ["--hidden", "4", "--flow-steps", "2", "--steps", "2", "--log-interval", "1", "--batch-size", "4"]
    main(
        ["train", "bc", "--task", "arm", "--dataset", str(log), "--columns", *WORDS, "--out", f"{tmp_path}/run", *size]
    )
    asked = [arguments for name, arguments in counted if name == "_source"]
    assert [arguments[0] for arguments in asked] == ["arm"]
    scanned = [arguments[0].shape for name, arguments in counted if name == "first_unfinite_row"]
    rows = 50
    assert sorted(scanned) == sorted([(rows, 3), (rows, 2), (rows,), (rows,), (rows,)])


def test_what_was_located_is_read_without_another_look(log, monkeypatch):
    origin = locate("arm", log, Columns.parse(WORDS))
    assert (origin.task, origin.path, origin.source, origin.mapped) == ("arm", log, SOURCES["own"], False)
    expected = load_dataset("arm", log, columns=Columns.parse(WORDS)).fingerprint
    monkeypatch.setattr(sources, "_source", lambda *_: pytest.fail("asked again"))
    assert load_dataset(origin).fingerprint == expected


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("cube-single-noisy-singletask-task1-v0", "ogbench"),
        ("visual-cube-single-play-v0", "ogbench"),
        ("door-human-v1", "d4rl"),
        ("hopper-medium-v2", "d4rl"),
        ("D4RL/door/human-v2", "minari"),
    ],
)
def test_a_name_alone_tells_its_source(name, source, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path))
    assert locate(name).source is SOURCES[source]


def test_a_plan_and_a_dataset_that_were_changed_are_not_scanned_again(log, monkeypatch):
    data = load_dataset("arm", log, columns=Columns.parse(WORDS))
    monkeypatch.setattr(datasets, "first_unfinite_row", lambda *_: pytest.fail("scanned again"))
    goals = data.with_goals(itself=True)
    assert goals.goals is data.observations
    assert goals.with_goals(itself=False).fingerprint == data.fingerprint
    assert goals.fingerprint != data.fingerprint
    assert Plan().cutting.of(data).goals is None


def test_an_unknown_row_of_the_table_is_one_sentence(log):
    with pytest.raises(InputError, match=r"there is no source 'minary' \(did you mean 'minari'\?\)"):
        locate("arm", log, source="minary")
