"""A word that is nearly right is answered with the right one."""

import pytest

from guidedflow.errors import did_you_mean

TASKS = ["cube-single-noisy", "cube-double-noisy", "scene-play"]


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("cube-singel-noisy", " (did you mean 'cube-single-noisy'?)"),
        ("scene", " (did you mean 'scene-play'?)"),
        ("humanoid", ""),
        ("scnee-play", " (did you mean 'scene-play'?)"),
        ("", ""),
    ],
)
def test_the_closest_known_word_is_proposed(word: str, answer: str) -> None:
    assert did_you_mean(word, TASKS) == answer


def test_known_words_may_come_from_any_iterable() -> None:
    assert did_you_mean("gpf", {"gfp": 1}) == did_you_mean("gpf", iter(["gfp"])) == " (did you mean 'gfp'?)"
    assert did_you_mean("gfp", []) == ""


def test_of_words_that_are_equally_close_the_one_of_the_same_letters_is_proposed() -> None:
    assert did_you_mean("gpf", ["qgf", "gfp", "fql"]) == " (did you mean 'gfp'?)"
