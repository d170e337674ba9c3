"""Rank correlations of estimates with measurements."""

import pytest

from guidedflow.errors import InputError
from guidedflow.results.ranking import agreement


def test_equal_and_opposite_rankings() -> None:
    same = agreement([1, 2, 3, 4, 5], [0.1, 0.2, 0.3, 0.4, 0.9])
    assert same is not None
    assert (same.spearman, same.kendall, same.regret) == (pytest.approx(1), pytest.approx(1), 0)
    assert same.spearman_interval == pytest.approx((1, 1))
    opposite = agreement([5, 4, 3, 2, 1], [0.1, 0.2, 0.3, 0.4, 0.9])
    assert opposite is not None
    assert opposite.spearman == pytest.approx(-1)
    assert opposite.regret == pytest.approx(0.8)
    assert same == agreement([1, 2, 3, 4, 5], [0.1, 0.2, 0.3, 0.4, 0.9])


def test_what_says_nothing_is_said_to_say_nothing() -> None:
    assert agreement([1, 2, 3], [1, 2, 3]) is None
    flat = agreement([1, 1, 1, 1], [0.1, 0.2, 0.3, 0.4])
    assert flat is not None
    assert flat.spearman is None
    assert flat.regret == pytest.approx(0.3)  # of equal estimates the worst may be taken
    assert "no rank correlation" in str(flat)
    with pytest.raises(InputError, match="has 4 and 3"):
        agreement([1, 2, 3, 4], [1, 2, 3])
