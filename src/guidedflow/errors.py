"""What a user can put right.

This module does not know what went wrong; callers say so in one sentence.
"""

import difflib
import re
from collections.abc import Iterable


class InputError(Exception):
    """A mistake in the input, told in one sentence: what, where, expected, found, what to do.

    The command line prints the sentence on standard error and exits with status 2.
    """


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`" (did you mean 'x'?)"` for the closest of `known`, or the empty string."""
    closest = nearest(word, known)
    return "" if closest is None else f" (did you mean {closest!r}?)"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` that was probably meant, or None: letters swapped, an abbreviation, or a misspelling."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=5, cutoff=0.5)
    swapped = [each for each in close if sorted(each) == sorted(word)]  # a slip of the fingers
    alike = [each for each in close if difflib.SequenceMatcher(None, word, each).ratio() >= 0.8]
    shortened = sorted((each for each in known if _abbreviates(word, each)), key=len)
    return next(iter([*swapped, *alike, *shortened, *close]), None)


def _abbreviates(word: str, full: str) -> bool:
    """Whether a word is how a longer one begins, or the initials of its parts: `obs`, `lr`."""
    bare, rest = word.strip("-").lower(), full.strip("-").lower()
    parts = [part for part in re.split(r"[-_]", rest) if part]
    initials = "".join(part[0] for part in parts)
    return len(bare) > 1 and (rest.startswith(bare) or (len(parts) > 1 and bare == initials))
