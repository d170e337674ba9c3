"""What a user can put right.

This module does not know what went wrong; callers say so in one sentence.
"""

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """A mistake in the input, told in one sentence: what, where, expected, found, what to do.

    The command line prints the sentence on standard error and exits with status 2.
    """


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`" (did you mean 'x'?)"` for the closest of `known`, or the empty string."""
    close = difflib.get_close_matches(word, list(known), n=5, cutoff=0.5)
    swapped = [each for each in close if sorted(each) == sorted(word)]  # a slip of the fingers
    return f" (did you mean {(swapped or close)[0]!r}?)" if close else ""
