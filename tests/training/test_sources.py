"""Each source of data, from its file to a policy that acts: load, cut, train 200 updates, evaluate an episode."""

import json
import shutil

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from guidedflow.algorithms import GFP, IQL, QGF
from guidedflow.cli import main
from guidedflow.data.convert import convert
from guidedflow.data.load import load_dataset, open_dataset, read_dataset
from guidedflow.environments.vector import open_simulators
from guidedflow.training.loop import train
from guidedflow.training.plan import Plan

DOOR = "door-human-v1"
SIZE = {"hidden": (32, 32), "flow_steps": 2}
PLAN = Plan(steps=200, batch_size=64, log_interval=100)


@pytest.fixture(scope="module")
def simulators():
    """One door for all sources."""
    with open_simulators(DOOR, workers=1, episodes=1) as simulators:
        yield simulators


def lerobot(dataset, folder):
    """The door demonstrations in LeRobot's layout: a row a step, the final observations among them."""
    (folder / "meta/episodes/chunk-000").mkdir(parents=True)
    (folder / "data/chunk-000").mkdir(parents=True)
    path = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    (folder / "meta/info.json").write_text(json.dumps({"codebase_version": "v3.0", "data_path": path}))
    episode = np.cumsum(np.append(0, dataset.last[:-1]))
    columns = {
        "observation.state": list(dataset.observations),
        "action": list(dataset.actions),
        "next.reward": dataset.rewards,
        "next.success": np.zeros(len(episode), bool),
        "episode_index": episode,
    }
    parquet.write_table(pyarrow.table(columns), folder / "data/chunk-000/file-000.parquet")
    places = {"episode_index": np.arange(dataset.episodes)}
    places |= {f"data/{kind}_index": np.zeros(dataset.episodes, int) for kind in ("chunk", "file")}
    parquet.write_table(pyarrow.table(places), folder / "meta/episodes/chunk-000/file-000.parquet")
    return folder


def prepared(source, shared_data, folder):
    """Where the door demonstrations lie, in one of the sources' formats."""
    if source == "d4rl":
        return shared_data / "door-human-v1.hdf5"
    dataset = read_dataset(DOOR, shared_data)
    if source == "lerobot":
        return lerobot(dataset, folder / "door")
    formats = {
        "npz": "door.npz",
        "hdf5": "door.hdf5",
        "minari": "door",
        "minari-arrow": "door",
        "mapped": "door.mapped",
    }
    return convert(dataset, folder / formats[source], source)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["d4rl", "minari", "minari-arrow", "npz", "hdf5", "lerobot", "mapped"])
def test_the_door_demonstrations_become_a_policy(source, shared_data, tmp_path, simulators):
    path = prepared(source, shared_data, tmp_path)
    dataset = load_dataset(DOOR, path, clip_actions=True)
    assert (dataset.episodes, len(dataset)) == (25, 6704)
    assert len(dataset.cut()) == 6704
    from_disk = open_dataset(DOOR, path, clip_actions=True)
    assert from_disk.fingerprint == (read_dataset(DOOR, path) if source == "mapped" else dataset).fingerprint
    trained = train(GFP(**SIZE), from_disk, PLAN, out=tmp_path / "run")
    summary = trained.evaluate("actor", episodes=1, simulators=simulators).summary()
    assert summary["length_mean"] == 200
    assert -150 < summary["return_mean"] < 3000
    assert "MuJoCo 2.1" in summary["differs"]


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [IQL, QGF])
def test_other_algorithms_learn_from_the_door_demonstrations_too(algorithm, shared_data, tmp_path, simulators):
    dataset = load_dataset(DOOR, shared_data, clip_actions=True)
    trained = train(algorithm(hidden=(32, 32)), dataset, PLAN, out=tmp_path / "run")
    summary = trained.evaluate(episodes=1, simulators=simulators).summary()
    assert summary["length_mean"] == 200
    assert -150 < summary["return_mean"] < 3000


@pytest.mark.slow
def test_the_commands_of_the_documentation(shared_data, tmp_path, capsys, monkeypatch):
    """D4RL's file: refused, clipped, evaluated with its score, looked at, converted, read as a file of one's own."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(shared_data / "door-human-v1.hdf5", "door-human-v1.hdf5")
    size = "--hidden 32 32 --flow-steps 2 --batch-size 64 --steps 20 --log-interval 10"

    def run(command):
        main(command.split())
        return capsys.readouterr().out

    with pytest.raises(SystemExit):
        run(f"train gfp --task {DOOR} --dataset door-human-v1.hdf5 --out refused {size}")
    assert "--clip-actions" in capsys.readouterr().err
    assert not (tmp_path / "refused").exists()
    run(f"train gfp --task door-human-v1.hdf5 --rescale-actions --out rescaled {size}")
    assert json.loads(run("evaluate rescaled --episodes 1 --workers 1 --json"))["length_mean"] == 200
    run(f"train gfp --task door-human-v1.hdf5 --clip-actions --out run {size}")
    told = json.loads(run("evaluate run --episodes 1 --workers 1 --json"))
    assert told["task"] == DOOR
    assert told["score"] == pytest.approx(100 * (told["return_mean"] + 56.512833) / (2880.5693087298737 + 56.512833))

    shown = json.loads(run("data show door-human-v1.hdf5 --plot door.png --json"))
    assert (shown["episodes"], shown["transitions"]) == (25, 6704)
    assert "share outside 0.05" in run("data show door-human-v1.hdf5")
    run("data convert door-human-v1.hdf5 door.npz")
    again = json.loads(run(f"data show door.npz --task {DOOR} --json"))
    assert again["fingerprint"] == shown["fingerprint"]

    columns = "observations=observations actions=actions rewards=rewards terminals=terminals ends=timeouts"
    run(f"train gfp --task my-arm --dataset door-human-v1.hdf5 --clip-actions --columns {columns} --out own {size}")
    run(f"train gfp --task my-arm --dataset door-human-v1.hdf5 --clip-actions --out again {size}")
    with pytest.raises(SystemExit) as left:
        run("evaluate own --episodes 1")
    assert left.value.code == 2
    assert "task 'my-arm' has no simulator here" in capsys.readouterr().err
