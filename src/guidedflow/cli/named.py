"""Code that is named on the command line, `MODULE:NAME`, and imported because it was typed.

Nothing is ever imported because a data file or a run's configuration names it.
"""

import dataclasses
import importlib
import re
import sys
from collections.abc import Callable
from typing import Any, cast

from guidedflow.algorithms.contract import Algorithm
from guidedflow.environments.own import Own
from guidedflow.errors import InputError, did_you_mean

NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def is_name(word: str) -> bool:
    """Whether a word is of the form `MODULE:NAME`."""
    return NAME.fullmatch(word) is not None


def imported(name: str, wanted: str) -> Any:
    """The object `MODULE:NAME`, of a module that is installed or lies in the working folder.

    Raises `InputError` for another form, a module that cannot be imported and a name that it does not have; `wanted`
    says what was expected.
    """
    if not is_name(name):
        raise InputError(f"{name!r} does not name {wanted}; expected MODULE:NAME, such as my_robot:make.")
    module, attribute = name.split(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does; simulators, which are other processes, inherit it
    try:
        found = importlib.import_module(module)
    except Exception as error:  # a module of the user's own raises whatever it likes
        raise InputError(
            f"the module {module!r} of {name!r} cannot be imported ({type(error).__name__}: {error}); it must be "
            "installed, or lie in the working folder."
        ) from error
    if not hasattr(found, attribute):
        names = [each for each in vars(found) if not each.startswith("_")]
        raise InputError(f"{module!r} has no {attribute!r}{did_you_mean(attribute, names)}; expected {wanted}.")
    return getattr(found, attribute)


def algorithm_class(name: str) -> type[Algorithm[Any]]:
    """The class of settings of an algorithm; raises `InputError` for what is none."""
    found = imported(name, "the class of an algorithm")
    methods = ("init", "update", "policies")
    if not isinstance(found, type) or not all(callable(getattr(found, each, None)) for each in methods):
        raise InputError(f"{name} is not the class of an algorithm; it must have the methods {', '.join(methods)}.")
    if not dataclasses.is_dataclass(found):
        raise InputError(f"{name} is no class of settings; decorate it by guidedflow.hyperparameters.")
    return cast(type[Algorithm[Any]], found)


def environment(name: str, frame_stack: int, episode_steps: int | None) -> Own:
    """An environment that a function of the user's own makes; raises `InputError` for what is no function."""
    function: Callable[..., Any] = imported(name, "a function that makes a gymnasium.Env")
    if not callable(function):
        raise InputError(
            f"{name} must be a function that makes a gymnasium.Env, but is of type {type(function).__name__}."
        )
    return Own(function, frame_stack, episode_steps)
