"""The replay buffer: its transitions are those of a dataset of the same episodes, and none spans the ring's seam."""

from pathlib import Path

import jax
import numpy as np
import pytest
from tiny_camera import camera
from tiny_data import episodes

from guidedflow.data.dataset import Dataset
from guidedflow.data.replay import Replay, load, save
from guidedflow.data.sampling.cutting import Cutting, observation_scale
from guidedflow.errors import InputError
from guidedflow.parts import Parts
from guidedflow.types import Transition


def filled(
    data: Dataset, capacity: int, cutting: Cutting, folder: Path | None = None, rows: int | None = None
) -> Replay:
    """A buffer that has seen the first rows of a dataset; an episode is in progress where they end within one."""
    replay = Replay(capacity, data.observation_shape, data.actions.shape[1], cutting=cutting, folder=folder)
    replay_rows(replay, data, 0, len(data.last) if rows is None else rows)
    return replay


def replay_rows(replay: Replay, data: Dataset, begin: int, stop: int) -> None:
    for row in range(begin, stop):
        if row == 0 or data.last[row - 1]:
            replay.begin(data.observations[row, ...])
        else:
            before = row - 1
            reward, mask = float(data.rewards[before]), float(data.masks[before])
            replay.add(data.actions[before], reward, mask, data.observations[row, ...])
        if data.last[row]:
            replay.end()


def repeated(data: Dataset) -> Dataset:
    """The final row of each episode repeats its last action, as in a replay buffer."""
    finals = np.flatnonzero(data.last)
    actions = data.actions.copy()
    actions[finals] = actions[finals - 1]
    return Dataset(data.name, data.observations, actions, data.rewards, data.masks, data.last)


def rows_of(batch: Transition) -> list[np.ndarray]:
    return [np.asarray(column) for column in batch if column is not None]


CUTTINGS = [Cutting(0.9), Cutting(0.9, 3), Cutting(0.9, 3, chunk=True)]


@pytest.mark.parametrize("cutting", CUTTINGS, ids=["one-step", "n-step", "chunks"])
@pytest.mark.parametrize("capacity", [200, 17, 8])
def test_whole_episodes_give_the_bits_of_a_dataset(cutting: Cutting, capacity: int) -> None:
    data = repeated(episodes([5, 1, 7, 4, 9]))
    replay = filled(data, capacity, cutting)
    cut = cutting.of(data)
    alive = np.flatnonzero(np.asarray(cut.starts) >= len(data.last) - capacity)
    assert len(replay) == len(alive) > 0
    found, expected = replay.take(np.arange(len(alive))), cut.take(jax.numpy.asarray(alive))
    for ours, theirs in zip(rows_of(found), rows_of(expected), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("cutting", CUTTINGS, ids=["one-step", "n-step", "chunks"])
def test_at_every_row_only_transitions_of_whole_steps_inside_one_episode(cutting: Cutting) -> None:
    """What can be drawn while an episode is in progress is a part of what can be drawn at its end."""
    data = repeated(episodes([5, 9, 3, 12, 6]))
    whole = rows_of(cutting.of(data).every())
    known = {tuple(np.concatenate([np.ravel(column[row]) for column in whole])) for row in range(len(whole[0]))}
    replay = Replay(9, data.observation_shape, 1, cutting=cutting)
    for row in range(len(data.last)):
        replay_rows(replay, data, row, row + 1)
        if len(replay):
            found = rows_of(replay.take(np.arange(len(replay))))
            told = {tuple(np.concatenate([np.ravel(column[each]) for column in found])) for each in range(len(replay))}
            assert told <= known
            assert len(told) == len(replay)
    assert replay.made > replay.capacity  # the ring went round


def test_a_transition_is_there_as_soon_as_its_next_action_is() -> None:
    data = repeated(episodes([6]))
    assert [len(filled(data, 50, Cutting(0.9), rows=rows)) for rows in (1, 2, 3, 7)] == [0, 0, 1, 6]
    assert [len(filled(data, 50, Cutting(0.9, 2, chunk=True), rows=rows)) for rows in (4, 5, 6, 7)] == [0, 1, 2, 5]


def test_on_disk_and_restored_it_draws_the_same(tmp_path: Path) -> None:
    data = repeated(episodes([5, 9, 3, 12, 6]))
    cutting, key = Cutting(0.9, 3), jax.random.key(0)
    memory = filled(data, 9, cutting, rows=30)
    disk = filled(data, 9, cutting, tmp_path / "working", rows=30)
    save(tmp_path / "saved", memory.state())
    again = Replay(9, data.observation_shape, 1, cutting=cutting)
    again.restore(load(tmp_path / "saved"))
    for other in (disk, again):
        replay_rows(other, data, 30, 37)
    replay_rows(memory, data, 30, 37)
    expected = rows_of(memory.sample(key, 64))
    for other in (disk, again):
        for ours, theirs in zip(rows_of(other.sample(key, 64)), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_observations_of_several_parts_are_kept_and_drawn_as_such(tmp_path: Path) -> None:
    data = camera(episodes=3, length=4)
    whole = repeated(data)
    cutting = Cutting(0.9, observation_scale=observation_scale(whole))
    replay = filled(whole, 20, cutting, tmp_path / "working")
    save(tmp_path / "saved", replay.state())
    again = Replay(20, whole.observation_shape, 2, cutting=cutting)
    again.restore(load(tmp_path / "saved"))
    expected = cutting.of(whole).take(jax.numpy.arange(len(whole)))
    for found in (replay, again):
        batch = found.take(np.arange(len(found)))
        for ours, theirs in zip(jax.tree.leaves(batch), jax.tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert isinstance(batch.observation, Parts)
        assert found.example().observation.shape == whole.observation_shape
    np.testing.assert_array_equal(again.newest, whole.observations[-1])


def test_bad_buffers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 4 rows"):
        Replay(3, (2,), 1, cutting=Cutting(horizon=2))
    empty = Replay(5, (2,), 1)
    with pytest.raises(InputError, match="no transition yet"):
        empty.sample(jax.random.key(0), 4)
    save(tmp_path / "saved", filled(episodes([6]), 5, Cutting()).state())
    with pytest.raises(InputError, match="capacity that it was made with"):
        Replay(6, (2,), 1).restore(load(tmp_path / "saved"))
    file = tmp_path / "saved" / "rewards.npy"
    file.write_bytes(file.read_bytes()[:-1] + b"\x07")
    with pytest.raises(InputError, match="damaged or missing"):
        load(tmp_path / "saved")
