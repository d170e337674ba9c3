"""Labels of reported numbers do not overlap."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidedflow.studies import demo_pictures


@given(st.lists(st.integers(0, 1000), max_size=12), st.integers(1, 200))
def test_labels_are_moved_apart_and_no_further(whole: list[int], gap: int) -> None:
    places = sorted(map(float, whole))
    moved = demo_pictures.apart(places, gap)
    assert all(upper - lower > gap - 1e-6 for lower, upper in pairwise(moved))
    assert sum(moved) == pytest.approx(sum(places))
    if all(upper - lower > gap for lower, upper in pairwise(places)):
        assert moved == pytest.approx(places)
