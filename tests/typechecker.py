"""The type checker of the tests: beartype, with an int where a float is asked for, as PEP 484 has it.

What checks a function is made at its first call. Most functions are never called by one process of the tests, and
making all checks takes longer than importing all modules.
"""

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype

_checked = beartype(conf=BeartypeConf(is_pep484_tower=True))


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose arguments and result are checked."""
    made: list[Callable[..., Any]] = []

    def checked(*arguments: Any, **named: Any) -> Any:
        if not made:
            made.append(_checked(function))
        return made[0](*arguments, **named)

    return checked
