"""A summary's numbers are those of a naive loop over the episodes, and survive JSON."""

import json

import numpy as np
import pytest
from tiny_data import line

from guidedflow.data.dataset import Dataset
from guidedflow.data.load import read_dataset
from guidedflow.data.summary import draw, episodes, lines, summarize
from guidedflow.errors import InputError


def test_lengths_and_returns_are_those_of_each_episode():
    dataset = line(episodes=5, length=7)
    pieces = np.split(np.arange(len(dataset.last)), np.flatnonzero(dataset.last)[:-1] + 1)
    lengths, returns = episodes(dataset)
    np.testing.assert_array_equal(lengths, [len(rows) - 1 for rows in pieces])
    np.testing.assert_allclose(returns, [dataset.rewards[rows[:-1]].sum() for rows in pieces], rtol=1e-5)


def test_shares_count_transitions_and_episodes_apart():
    dataset = Dataset(
        name="two",
        observations=np.zeros((6, 1), np.float32),
        actions=np.array([[2.0], [0], [9], [0], [-1], [9]], np.float32),
        rewards=np.array([1, 2, 9, 3, 4, 9], np.float32),
        masks=np.array([0, 1, 0, 1, 0, 0], np.float32),
        last=np.array([0, 0, 1, 0, 0, 1], bool),
    )
    told = json.loads(json.dumps(summarize(dataset), allow_nan=False))
    assert (told["share_terminations"], told["share_terminated_episodes"]) == (0.5, 0.5)
    assert (told["actions"]["share_outside"], told["actions"]["first_outside_row"]) == (0.25, 0)
    assert (told["actions"]["least"], told["actions"]["greatest"]) == (-1, 2)
    assert (told["returns"]["least"], told["returns"]["greatest"]) == (3, 7)
    assert (told["rewards"]["mean"], told["episode_lengths"]["median"]) == (2.5, 2)
    assert "share outside 0.25" in lines(told)["actions"]


def test_a_constant_action_is_named():
    dataset = line()
    dataset.actions[:, 1] = 0.5
    assert summarize(dataset)["actions"]["constant"] == [1]


def test_a_picture_of_the_door_demonstrations(shared_data, tmp_path):
    dataset = read_dataset("door-human-v1", shared_data)
    assert draw(dataset, tmp_path / "deep" / "door.png").read_bytes()[1:4] == b"PNG"
    with pytest.raises(InputError, match="cannot be drawn"):
        draw(dataset, tmp_path / "door.jpgg")
