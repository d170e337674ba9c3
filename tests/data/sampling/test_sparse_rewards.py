"""Rewards of -1 until the task is solved and 0 after, in place of those that the data have."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tiny_data import episodes

from guidedflow.data.dataset import Dataset
from guidedflow.data.ondisk import mapper
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.sampling.cutting import Cutting
from guidedflow.data.sampling.windows import Window, Windows
from guidedflow.errors import InputError
from guidedflow.training.plan import Plan


def solved_at(*rows: int) -> Dataset:
    """Two episodes of five steps whose rewards count what is missing, solved at these rows."""
    dataset = episodes([5, 5])
    masks = np.ones(len(dataset.last), np.float32)
    masks[list(rows)] = 0
    return dataclasses.replace(dataset, rewards=np.arange(len(masks), dtype=np.float32) - 100, masks=masks)


def cut(dataset: Dataset, **settings: object) -> tuple[list[float], list[float]]:
    transitions = Cutting(discount=0.5, rewards="sparse", **settings).of(dataset)  # type: ignore[arg-type]
    return np.asarray(transitions.rewards).tolist(), np.asarray(transitions.discounts).tolist()


def test_a_step_costs_one_until_the_task_is_solved() -> None:
    rewards, discounts = cut(solved_at(2, 3))
    assert rewards == [-1, -1, 0, 0, -1, -1, -1, -1, -1, -1]
    assert discounts == [0.5, 0.5, 0, 0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]


def test_a_chunk_costs_its_discounted_steps_until_the_task_is_solved() -> None:
    rewards, discounts = cut(solved_at(2), horizon=3)
    assert rewards[:3] == [-1.5, -1, 0]  # -1 - 1/2, and 0 at the third step, which solves it
    assert discounts[:3] == [0, 0, 0]
    assert rewards[5] == -1.75
    assert discounts[5] == 0.125


def test_the_rewards_of_the_data_do_not_matter_and_stay_as_they_are() -> None:
    dataset = solved_at(2)
    other = dataclasses.replace(dataset, rewards=-dataset.rewards)
    before = dataset.rewards.copy()
    assert cut(dataset) == cut(other)
    assert np.array_equal(dataset.rewards, before)


def test_windows_of_a_file_have_the_same_rewards(tmp_path: Path) -> None:
    dataset = solved_at(2, 7)
    on_disk = Mapped.open(mapper.write([dataset], tmp_path / "data", "counted"))
    cutting = Cutting(discount=0.5, horizon=2, rewards="sparse")
    whole = cutting.of(dataset)
    with Windows(on_disk, Window(16, updates=10, blocks=4), cutting, seed=0) as windows:
        read = windows.read(np.arange(len(windows.blocks)))
    assert np.array_equal(read.rewards, whole.rewards)
    assert np.array_equal(read.discounts, whole.discounts)


def test_where_nothing_is_solved_they_are_refused() -> None:
    with pytest.raises(InputError, match="has no step that ends its task, so that sparse rewards would all be -1"):
        cut(solved_at())


def test_a_plan_keeps_them_in_its_record() -> None:
    assert Plan(rewards="sparse").cutting.rewards == "sparse"
    assert vars(Plan(rewards="sparse"))["rewards"] == "sparse"
